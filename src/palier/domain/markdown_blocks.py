"""Markdown read line by line into blocks, as far as cutting passages needs it.

Knows headings, fenced code, tables, lists, paragraphs and front matter; links, emphasis and HTML stay as they are
written. Every block remembers its lines, counted from 1 in the whole file. The price of not using a full parser:
indented code is a paragraph, and a heading inside a quotation or a list is not a heading.
"""

import re
from collections.abc import Sequence

from palier.domain.blocks import Block, BlockKind

_HEADING = re.compile(r"^ {0,3}(#{1,6})(?:[ \t]+(.*?))?(?:[ \t]+#+)?[ \t]*$")
_FENCE = re.compile(r"^[ \t]*(`{3,}|~{3,})")
_LIST_ITEM = re.compile(r"^[ \t]*(?:[-*+]|\d{1,9}[.)])[ \t]+\S")
_RULE = re.compile(r"^ {0,3}(?:(?:\*[ \t]*){3,}|(?:-[ \t]*){3,}|(?:_[ \t]*){3,})$")
_TABLE_RULE = re.compile(r"^[ \t]*\|?[ \t]*:?-+:?[ \t]*(?:\|[ \t]*:?-+:?[ \t]*)*\|?[ \t]*$")
_UNDERLINE = re.compile(r"^ {0,3}(=+|-+)[ \t]*$")
_METADATA_KEY = re.compile(r"^[A-Za-z_][\w .-]*:(?:\s|$)")


def front_matter_lines(lines: Sequence[str]) -> int:
    """How many lines the YAML front matter takes, its two rules included; 0 when there is none.

    A first line `---` alone is not enough: a rule above prose looks the same, so a key must follow.
    """
    if not lines or lines[0].rstrip() != "---":
        return 0
    end = next((i for i, line in enumerate(lines[1:], 1) if line.rstrip() in {"---", "..."}), 0)
    inner = [line for line in lines[1:end] if line.strip() and not line.lstrip().startswith("#")]
    return end + 1 if inner and _METADATA_KEY.match(inner[0]) else 0


def read_blocks(text: str) -> list[Block]:
    """The blocks of a Markdown text in order; blank lines and rules between them belong to none."""
    lines = text.split("\n")
    blocks: list[Block] = []
    at = front_matter_lines(lines)
    if at:
        blocks += _metadata(lines, at)
    while at < len(lines):
        if not lines[at].strip() or _RULE.match(lines[at]):
            at += 1
            continue
        block = _next_block(lines, at)
        blocks.append(block)
        at += len(block.lines)
    return blocks


def _metadata(lines: Sequence[str], n: int) -> list[Block]:
    """Front matter that says more than a title (dates of validity, say) is content, so it becomes a block."""
    kept = [i for i in range(1, n - 1) if lines[i].strip() and not lines[i].startswith(("title:", "lang"))]
    if not kept:
        return []
    return [Block("metadata", tuple(lines[kept[0] : kept[-1] + 1]), kept[0] + 1)]


def _next_block(lines: Sequence[str], at: int) -> Block:
    """The block that begins at index ``at``, which is not blank."""
    if match := _HEADING.match(lines[at]):
        return Block("heading", (lines[at],), at + 1, len(match[1]), (match[2] or "").strip())
    if match := _FENCE.match(lines[at]):
        return _block("code", lines, at, _end_of_fence(lines, at, match[1]))
    if _starts_table(lines, at):
        return _block("table", lines, at, _end_of_table(lines, at))
    if _LIST_ITEM.match(lines[at]):
        return _block("list", lines, at, _end_of_list(lines, at))
    end = _end_of_paragraph(lines, at)
    if end < len(lines) and end - at == 1 and (match := _UNDERLINE.match(lines[end])):
        return Block("heading", tuple(lines[at : end + 1]), at + 1, 1 if match[1][0] == "=" else 2, lines[at].strip())
    return _block("paragraph", lines, at, end)


def _block(kind: BlockKind, lines: Sequence[str], at: int, end: int) -> Block:
    while end > at + 1 and not lines[end - 1].strip():
        end -= 1
    return Block(kind, tuple(lines[at:end]), at + 1)


def _end_of_fence(lines: Sequence[str], at: int, mark: str) -> int:
    """One past the closing fence; an unclosed fence runs to the end, as CommonMark has it."""
    for i in range(at + 1, len(lines)):
        bare = lines[i].strip()
        if len(bare) >= len(mark) and not bare.strip(mark[0]):
            return i + 1
    return len(lines)


def _starts_table(lines: Sequence[str], at: int) -> bool:
    return "|" in lines[at] and at + 1 < len(lines) and "-" in lines[at + 1] and bool(_TABLE_RULE.match(lines[at + 1]))


def _end_of_table(lines: Sequence[str], at: int) -> int:
    return next((i for i in range(at + 2, len(lines)) if "|" not in lines[i]), len(lines))


def _end_of_list(lines: Sequence[str], at: int) -> int:
    """A list goes on over blank lines as long as an item or an indented line follows."""
    for i in range(at + 1, len(lines)):
        line = lines[i]
        if not line.strip():
            continue
        if _breaks_paragraph(lines, i) and not _LIST_ITEM.match(line) and not line.startswith((" ", "\t")):
            return i
        after_blank = not lines[i - 1].strip()
        if after_blank and not line.startswith((" ", "\t")) and not _LIST_ITEM.match(line):
            return i
    return len(lines)


def _end_of_paragraph(lines: Sequence[str], at: int) -> int:
    for i in range(at + 1, len(lines)):
        if not lines[i].strip() or _UNDERLINE.match(lines[i]) or _breaks_paragraph(lines, i):
            return i
    return len(lines)


def _breaks_paragraph(lines: Sequence[str], at: int) -> bool:
    line = lines[at]
    starts = _HEADING.match(line) or _FENCE.match(line) or _RULE.match(line) or _LIST_ITEM.match(line)
    return bool(starts) or _starts_table(lines, at)
