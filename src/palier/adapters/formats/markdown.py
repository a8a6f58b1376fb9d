"""Markdown, and plain text read as Markdown: CommonMark with pipe tables, and YAML front matter.

Takes markdown-it's word for where each outermost block begins and ends, and the file's own lines for what it says:
links, emphasis and HTML stay as they are written, and inline markup is not parsed at all. The price: a heading inside
a quotation or a list is not a heading, and what other dialects indent (admonitions) is code, as CommonMark has it.
"""

from collections.abc import Iterator, Sequence
from functools import cache
from re import compile as pattern

from markdown_it import MarkdownIt
from markdown_it.token import Token
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from palier.adapters.formats import FileContent, UnreadableFileError, decode_utf8
from palier.domain.blocks import Block, BlockKind
from palier.domain.passages import plain_heading
from palier.domain.validity import iso_date

_METADATA_KEY = pattern(r"^[A-Za-z_][\w .-]*:(?:\s|$)")
_KINDS: dict[str, BlockKind] = {
    "fence": "code",
    "code_block": "code",
    "table_open": "table",
    "bullet_list_open": "list",
    "ordered_list_open": "list",
}
"""What is not here and is no heading is prose: paragraphs, quotations, HTML, definitions of links."""


def read_markdown(raw: bytes) -> FileContent:
    """The text with line feeds and in NFC, and its blocks; the title is the first heading's where the front matter has
    none. Raises UnreadableFileError.
    """
    text = decode_utf8(raw)
    fields = _front_matter(text)
    blocks, title = read_blocks(text), fields.get("title")
    valid_from, valid_until = _date(fields, "valid_from"), _date(fields, "valid_until")
    if valid_from and valid_until and valid_from > valid_until:
        raise UnreadableFileError(f"has front matter that is valid from {valid_from} until {valid_until}, so on no day")
    return FileContent(
        text=text,
        title=str(title).strip() if title else first_heading(blocks),
        blocks=blocks,
        valid_from=valid_from,
        valid_until=valid_until,
    )


def read_blocks(text: str) -> tuple[Block, ...]:
    """The blocks of a Markdown text in order, with their lines in it; blank lines and rules belong to none."""
    lines = text.split("\n")
    n = front_matter_lines(lines)
    # Blank lines in its place: what follows keeps its line numbers.
    tokens = _parser().parse("\n" * n + "\n".join(lines[n:]))
    return (*_metadata(lines, n), *_together(_with_prose_between(_outermost(tokens, lines), tokens, lines), lines))


def first_heading(blocks: Sequence[Block]) -> str:
    """Plain words of the first heading, or nothing."""
    return plain_heading(next((block.title for block in blocks if block.kind == "heading" and block.title), ""))


def front_matter_lines(lines: Sequence[str]) -> int:
    """How many lines the YAML front matter takes, its two rules included; 0 when there is none.

    A first line `---` alone is not enough: a rule above prose looks the same, so a key must follow.
    """
    if not lines or lines[0].rstrip() != "---":
        return 0
    end = next((i for i, line in enumerate(lines[1:], 1) if line.rstrip() in {"---", "..."}), 0)
    inner = [line for line in lines[1:end] if line.strip() and not line.lstrip().startswith("#")]
    return end + 1 if inner and _METADATA_KEY.match(inner[0]) else 0


@cache
def _parser() -> MarkdownIt:
    """Finds blocks only; what is inside of a line is nobody's business here, and takes most of the time."""
    parser = MarkdownIt("commonmark").enable("table")
    parser.core.ruler.enableOnly(["normalize", "block"])
    return parser


def _outermost(tokens: Sequence[Token], lines: Sequence[str]) -> Iterator[Block]:
    for i, token in enumerate(tokens):
        if token.level or token.map is None or token.nesting < 0 or token.type == "hr":
            continue
        if token.type == "heading_open":
            title = " ".join(tokens[i + 1].content.split())
            yield _block("heading", lines, *token.map, level=int(token.tag[1]), title=title)
        else:
            yield _block(_KINDS.get(token.type, "paragraph"), lines, *token.map)


def _with_prose_between(blocks: Iterator[Block], tokens: Sequence[Token], lines: Sequence[str]) -> Iterator[Block]:
    """``blocks``, and as prose what the parser took in without a block: where links lead is worth finding too."""
    rules = {token.map[0] for token in tokens if token.type == "hr" and token.map}
    n = front_matter_lines(lines)
    for block in (*blocks, None):
        start = _start(block) if block else len(lines)
        yield from _prose(lines, [i for i in range(n, start) if lines[i].strip() and i not in rules])
        if block:
            yield block
            n = block.end_line


def _prose(lines: Sequence[str], places: Sequence[int]) -> Iterator[Block]:
    starts = [i for i in places if i - 1 not in places]
    ends = [i + 1 for i in places if i + 1 not in places]
    yield from (_block("paragraph", lines, start, end) for start, end in zip(starts, ends, strict=True))


def _together(blocks: Iterator[Block], lines: Sequence[str]) -> Iterator[Block]:
    """Lists that only change their bullets are one: a passage should not end between them."""
    held: Block | None = None
    for block in blocks:
        if held and held.kind == block.kind == "list" and not any(map(str.strip, lines[held.end_line : _start(block)])):
            held = _block("list", lines, _start(held), block.end_line)
            continue
        if held:
            yield held
        held = block
    if held:
        yield held


def _start(block: Block) -> int:
    return block.start_line - 1


def _block(kind: BlockKind, lines: Sequence[str], start: int, end: int, *, level: int = 0, title: str = "") -> Block:
    """Lines ``start`` to before ``end`` (from 0), without the blank ones at their end."""
    while end > start + 1 and not lines[end - 1].strip():
        end -= 1
    return Block(kind, tuple(lines[start:end]), start + 1, level, title)


def _metadata(lines: Sequence[str], n: int) -> Iterator[Block]:
    """Front matter that says more than a title (dates of validity, say) is content, so it becomes a block."""
    kept = [i for i in range(1, n - 1) if lines[i].strip() and not lines[i].startswith(("title:", "lang"))]
    if kept:
        yield Block("metadata", tuple(lines[kept[0] : kept[-1] + 1]), kept[0] + 1)


def _front_matter(text: str) -> dict[object, object]:
    lines = text.split("\n")
    n = front_matter_lines(lines)
    try:
        fields = YAML(typ="safe", pure=True).load("\n".join(lines[1 : n - 1])) if n else {}
    except (YAMLError, ValueError) as error:
        line = getattr(getattr(error, "problem_mark", None), "line", 0) + 2
        raise UnreadableFileError(f"has front matter that is not valid YAML, near line {line}") from error
    return fields if isinstance(fields, dict) else {}


def _date(fields: dict[object, object], name: str) -> str | None:
    value = fields.get(name)
    if value is None or value == "":
        return None
    told = iso_date(value)
    if told is None:
        raise UnreadableFileError(f"has front matter whose {name} is {value!r}, not a date; write it as 2026-12-31")
    return told
