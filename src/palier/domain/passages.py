"""Cuts a document into passages along its own structure.

Whole blocks are kept together, a long section is closed at the first block end past a number of words, and short
neighbouring sections share a passage up to that number (their own headings then stand in the text). Only a block of
more than twice that number is cut: a table between rows (each part repeats the header, without which a row means
nothing), a list between its outer items, prose between sentences; code and rows of data never. The price: passages
differ in length, and a long code block is longer than an encoder reads.
"""

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

from palier.domain.blocks import Block, joined
from palier.domain.documents import Document, Lang, Passage, passage_id
from palier.domain.language import passage_language
from palier.domain.validity import validity_of

_SENTENCE_END = re.compile(r"(?<=[.!?…])[\"'»”)\]]*\s+")
_MARKUP = re.compile(r"(?<!\\)(?:[*`]|(?<!\w)_+|_+(?!\w)|</?[a-zA-Z][^>]*>|\{\s*#[^}]*\}|\[\^[^\]]+\])")
"""An underline within a word is a letter, as in CommonMark."""
_ESCAPED = re.compile(r"\\([!-/:-@\[-`{-~])")
_LINK = re.compile(r"!?\[([^\]]*)\]\([^)]*\)")
_FIRST_ITEM = re.compile(r"^[ \t]*(?:[-*+]|\d{1,9}[.)])(?:[ \t]|$)")


@dataclass(frozen=True, slots=True)
class _Piece:
    """Blocks of one passage to be, below a path of headings."""

    path: tuple[Block, ...]
    blocks: tuple[Block, ...]
    is_section: bool
    """True when it holds all that stands directly under its last heading."""

    @property
    def n_words(self) -> int:
        return _n_words(self.blocks)


def split_document(
    document: Document, passage_words: int, languages: Sequence[Lang] = ("en", "fr"), *, overlap_words: int = 0
) -> list[Passage]:
    """The passages of ``document`` in order; at least one for any text that its reader made a block of.

    ``headings`` is the path of headings above the passage without one that repeats the title; ``text`` is whole
    lines of the file (blocks joined by a blank line), ``start_line`` to ``end_line`` point into the file. A passage
    is in another language than its document only where its words say so plainly, and in one of ``languages``. The
    second and later passages of a long section begin with the last ``overlap_words`` words, at most, of the one before:
    whole blocks or whole sentences.
    """
    blocks = _without_empty_sections(document.blocks)
    seen: Counter[tuple[str, str]] = Counter()
    passages = []
    packed = _packed(list(_pieces(blocks, passage_words)), passage_words, document.lang)
    for piece in _overlapping(packed, overlap_words):
        passage = _passage(document, piece, seen)
        lang = _language(piece, document.lang)
        passages.append(replace(passage, lang=lang) if lang in languages else passage)
    return passages


def _without_empty_sections(blocks: Sequence[Block]) -> list[Block]:
    """A heading with nothing below it heads nothing: it is text, or its words would be in no passage."""
    followers: list[Block | None] = [*blocks[1:], None][: len(blocks)]
    is_empty = [
        block.kind == "heading" and (after is None or (after.kind == "heading" and after.level <= block.level))
        for block, after in zip(blocks, followers, strict=True)
    ]
    return [
        replace(block, kind="paragraph", level=0, title="") if empty else block
        for block, empty in zip(blocks, is_empty, strict=True)
    ]


def _passage(document: Document, piece: _Piece, seen: Counter[tuple[str, str]]) -> Passage:
    text, headings = joined(piece.blocks), _joined(piece.path, document.title)
    valid_from, valid_until = validity_of(text)
    passage = Passage(
        passage_id=passage_id(document.document_id, headings, text, seen[headings, text]),
        document_id=document.document_id,
        lang=document.lang,
        title=document.title,
        headings=headings,
        text=text,
        start_line=piece.blocks[0].start_line,
        end_line=piece.blocks[-1].end_line,
        page=piece.blocks[0].page,
        valid_from=valid_from or document.valid_from,
        valid_until=valid_until or document.valid_until,
    )
    seen[headings, text] += 1
    return passage


def _language(piece: _Piece, default: Lang) -> Lang:
    """Read off all but code and metadata, which are English whatever the document."""
    prose = (block.text for block in piece.blocks if block.kind not in {"code", "metadata"})
    return passage_language("\n".join(prose), default)


def plain_heading(text: str) -> str:
    """A heading without emphasis, code marks, link targets and anchors."""
    return " ".join(_ESCAPED.sub(r"\1", _MARKUP.sub("", _LINK.sub(r"\1", text))).split())


def _pieces(blocks: Sequence[Block], words: int) -> Iterator[_Piece]:
    """Each section whole, or in several pieces where it is long; in the order of the file."""
    path: tuple[Block, ...] = ()
    section: list[Block] = []
    for block in blocks:
        if block.kind != "heading":
            section.append(block)
            continue
        yield from _section_pieces(path, section, words)
        section = []
        path = (*(above for above in path if above.level < block.level), block)
    yield from _section_pieces(path, section, words)


def _section_pieces(path: tuple[Block, ...], section: Sequence[Block], words: int) -> Iterator[_Piece]:
    groups: list[list[Block]] = [[]]
    for part in (part for block in section for part in _parts(block, words)):
        n_words = _n_words(groups[-1])
        if n_words >= words or (n_words and n_words + _n_words([part]) > 2 * words):
            groups.append([])
        groups[-1].append(part)
    for group in groups:
        if group:
            yield _Piece(path, tuple(group), is_section=len(groups) == 1)


def _packed(pieces: Sequence[_Piece], words: int, lang: Lang) -> Iterator[_Piece]:
    """Short neighbouring sections of a language together up to ``words`` words; what has its own length stays alone."""
    run: list[_Piece] = []
    for piece in pieces:
        fits = piece.is_section and sum(other.n_words for other in run) + piece.n_words <= words
        if run and not (fits and run[-1].is_section and _language(run[-1], lang) == _language(piece, lang)):
            yield _together(run)
            run = []
        run.append(piece)
    if run:
        yield _together(run)


def _overlapping(pieces: Iterable[_Piece], words: int) -> Iterator[_Piece]:
    """The same pieces; one that goes on with the section of the piece before begins with that one's end."""
    before: _Piece | None = None
    for piece in pieces:
        goes_on = before and piece.path == before.path and not (piece.is_section or before.is_section)
        end = _end_of(before.blocks, words) if before and goes_on else ()
        yield replace(piece, blocks=(*end, *piece.blocks))
        before = piece


def _end_of(blocks: Sequence[Block], words: int) -> tuple[Block, ...]:
    """The last blocks of at most ``words`` words together, and of the prose before them the last whole sentences."""
    end: list[Block] = []
    for block in reversed(blocks):
        left = words - _n_words(end)
        if _n_words([block]) > left:
            starts = [match.end() for match in _SENTENCE_END.finditer(block.text)] if block.kind == "paragraph" else []
            fitting = [at for at in starts if 0 < len(block.text[at:].split()) <= left]
            return (_slice(block, fitting[0], len(block.text)), *end) if fitting else tuple(end)
        end.insert(0, block)
    return tuple(end)


def _together(run: Sequence[_Piece]) -> _Piece:
    """One piece below the headings that all of ``run`` share; the others stand in its text."""
    if len(run) == 1:
        return run[0]
    shared = 0
    while all(len(piece.path) > shared and piece.path[shared] == run[0].path[shared] for piece in run):
        shared += 1
    blocks: list[Block] = []
    for before, piece in zip([None, *run], run, strict=False):
        known = before.path if before else run[0].path[:shared]
        blocks += [heading for heading in piece.path[shared:] if heading not in known]
        blocks += piece.blocks
    return _Piece(run[0].path[:shared], tuple(blocks), is_section=True)


def _joined(path: Sequence[Block], title: str) -> str:
    names = [plain_heading(heading.title) for heading in path]
    return " > ".join(name for name in names if name and name.casefold() != title.casefold())


def _n_words(blocks: Sequence[Block]) -> int:
    return sum(len(block.text.split()) for block in blocks)


def _parts(block: Block, words: int) -> list[Block]:
    """``block`` itself, or its parts of about ``words`` words when it has more than twice as many."""
    if block.kind in {"code", "rows"} or _n_words([block]) <= 2 * words:
        return [block]
    if block.kind == "table":
        return _cut_table(block, words)
    if block.kind == "list" and len(items := _outer_items(block)) > 1:
        return [part for run in _runs(items, words) for part in _cut_prose_if_long(run, words)]
    return _cut_prose(block, words)


def _cut_prose_if_long(block: Block, words: int) -> list[Block]:
    return _cut_prose(block, words) if _n_words([block]) > 2 * words else [block]


def _cut_table(table: Block, words: int) -> list[Block]:
    """Runs of rows, each under the table's header; the lines told are the rows' own."""
    header = table.lines[:2]
    if len(table.lines) <= 3:
        return [table]
    rows = [table.part((row,), i) for i, row in enumerate(table.lines[2:], 2)]
    return [replace(run, header=header) for run in _runs(rows, words)]


def _outer_items(block: Block) -> list[Block]:
    """The items of the outermost level, each with what is nested in it."""
    indents = [len(line) - len(line.lstrip()) for line in block.lines if _FIRST_ITEM.match(line)]
    outer = min(indents)
    starts = [
        i for i, line in enumerate(block.lines) if _FIRST_ITEM.match(line) and len(line) - len(line.lstrip()) == outer
    ]
    ends = [*starts[1:], len(block.lines)]
    return [block.part(tuple(block.lines[start:end]), start) for start, end in zip([0, *starts[1:]], ends, strict=True)]


def _runs(pieces: Sequence[Block], words: int) -> list[Block]:
    """Neighbouring pieces joined until each run (but the last) has ``words`` words."""
    runs: list[list[Block]] = []
    for piece in pieces:
        if not runs or _n_words(runs[-1]) >= words:
            runs.append([])
        runs[-1].append(piece)
    return [_run(pieces) for pieces in runs]


def _run(pieces: Sequence[Block]) -> Block:
    lines = [line for piece in pieces for line in piece.lines]
    while len(lines) > 1 and not lines[-1].strip():
        lines.pop()
    return replace(pieces[0], lines=tuple(lines), last_line=pieces[-1].last_line)


def _cut_prose(block: Block, words: int) -> list[Block]:
    """Runs of sentences. A sentence longer than ``words`` words is cut between words."""
    parts: list[Block] = []
    start = 0
    for cut in _cuts(block.text, words):
        if len(block.text[start:cut].split()) >= words:
            parts.append(_slice(block, start, cut))
            start = cut
    rest = block.text[start:].strip()
    return [*parts, _slice(block, start, len(block.text))] if rest else parts


def _cuts(text: str, words: int) -> Iterator[int]:
    """Offsets at which ``text`` may be cut, in order, its end included."""
    at = 0
    for end in [*(match.end() for match in _SENTENCE_END.finditer(text)), len(text)]:
        for n, word in enumerate(re.finditer(r"\S+\s*", text[at:end]), 1):
            if n % words == 0:
                yield at + word.end()
        at = end
        yield end


def _slice(block: Block, start: int, end: int) -> Block:
    raw = block.text[start:end]
    text = raw.strip()
    return block.part(tuple(text.split("\n")), block.text.count("\n", 0, start + len(raw) - len(raw.lstrip())))
