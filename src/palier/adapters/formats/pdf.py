"""PDF, by pdfplumber: text in reading order, ruled tables, headings by the size of their type, and pages.

Lines that stand at the top or the bottom of most pages are left out; a word cut at a line's end is joined. A file
without any text (a scan) is refused: recognising letters is another tool's work. The price: what a PDF does not say is
guessed from where the letters stand, so a table without rules reads as lines, and bold alone makes no heading; a
compound cut at its own hyphen loses it.
"""

import io
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import pdfplumber
from pdfminer.layout import LTChar, LTTextBox, LTTextLine
from pdfminer.pdfdocument import PDFPasswordIncorrect
from pdfplumber.utils.exceptions import PdfminerException
from pdfplumber.utils.text import LIGATURES

from palier.adapters.formats import FileContent, UnreadableFileError, content_of
from palier.domain.blocks import Block, heading, numbered, pipe_table

HEADING_RATIO = 1.15
"""Larger than the body's type by this much, a short line is a heading."""
_MAX_HEADING_WORDS = 25
_MARGIN_SHARE = 0.09
_UNKNOWN_LETTER = re.compile(r"\(cid:\d+\)")
_MAX_UNKNOWN_SHARE = 0.1
_LIGATURES = str.maketrans(LIGATURES)
_BULLET = re.compile(r"^(?![-–—]\d)(?:[•◦▪●○■‣–—·*-]|(?=\d{1,2}[.)]\s))\s*(?=\S)")


@dataclass(frozen=True, slots=True)
class _Line:
    """A line of type; ``size`` in points, ``top`` as a share of the page's height, ``box`` tells paragraphs apart."""

    text: str
    size: float
    top: float
    box: int


@dataclass(frozen=True, slots=True)
class _Page:
    """Lines and tables of one page in reading order."""

    number: int
    parts: list[_Line | Block]

    @property
    def lines(self) -> list[_Line]:
        return [part for part in self.parts if isinstance(part, _Line)]


def read_pdf(raw: bytes) -> FileContent:
    """The document as blocks with their pages; its title is the first of its largest headings, else the file's title
    property. Raises UnreadableFileError.
    """
    try:
        with pdfplumber.open(io.BytesIO(raw), laparams={"all_texts": True}) as pdf:
            named = pdf.metadata.get("Title")
            pages = [_read_page(page) for page in pdf.pages]
    except PdfminerException as error:
        if isinstance(error.args[0] if error.args else None, PDFPasswordIncorrect):
            raise UnreadableFileError("is protected by a password; save it without one") from error
        raise UnreadableFileError(f"is not a PDF that can be read ({type(error.args[0]).__name__}); mend it") from error
    _refuse_without_text(pages)
    used = _type_of(pages)
    blocks = _merged_lists(list(_blocks(_without_margins(pages, used.body), used)))
    return content_of(numbered(blocks), _title(blocks) or (named if isinstance(named, str) else ""))


def _refuse_without_text(pages: Sequence[_Page]) -> None:
    text = "".join(part.text for page in pages for part in page.parts)
    if not text.strip():
        raise UnreadableFileError(f"holds no text on its {len(pages)} page(s), so it is a scan; run OCR over it")
    unknown = len(_UNKNOWN_LETTER.findall(text))
    if unknown > _MAX_UNKNOWN_SHARE * len(_UNKNOWN_LETTER.sub("x", text)):
        raise UnreadableFileError("has fonts that do not tell which letters they draw; print it to PDF again")


def _read_page(page: Any) -> _Page:
    """``page`` is pdfplumber's; closed after reading, since it keeps every letter."""
    tables = _tables(page)
    parts: list[_Line | Block] = []
    for number, box in enumerate(_boxes(page.layout)):
        for line in (line for line in box if isinstance(line, LTTextLine) and line.get_text().strip()):
            table = next((at for at, (bounds, _) in enumerate(tables) if _inside(line, bounds, page)), None)
            if table is None:
                parts.append(_Line(_text(line), _size(line), 1 - line.y1 / page.height, number))
            elif tables[table][1] not in parts:
                parts.append(tables[table][1])
    page.close()
    return _Page(page.page_number, parts)


def _boxes(layout: Iterable[Any]) -> Iterator[LTTextBox]:
    """Text boxes in pdfminer's reading order, those inside figures too."""
    for item in layout:
        if isinstance(item, LTTextBox):
            yield item
        elif isinstance(item, Iterable) and not isinstance(item, LTTextLine):
            yield from _boxes(item)


def _tables(page: Any) -> list[tuple[tuple[float, float, float, float], Block]]:
    """Ruled tables of at least two rows and columns: x0, top, x1, bottom, and the table."""
    found = []
    for table in page.find_tables():
        rows = [[cell or "" for cell in row] for row in table.extract() if any(row)]
        if len(rows) > 1 and max(map(len, rows)) > 1:
            found.append((table.bbox, Block("table", pipe_table(rows), 1, page=page.page_number)))
    return found


def _inside(line: LTTextLine, bounds: tuple[float, float, float, float], page: Any) -> bool:
    x0, top, x1, bottom = bounds
    left, above = page.bbox[:2]  # pdfplumber counts from the paper's corner, pdfminer from the page's
    middle_x, middle_y = left + float(line.x0 + line.x1) / 2, above + float(page.height) - float(line.y0 + line.y1) / 2
    return bool(x0 <= middle_x <= x1 and top <= middle_y <= bottom)


def _text(line: LTTextLine) -> str:
    """The line's words; type that joins letters ("ﬁ") says them one by one, as pdfplumber does in tables."""
    return " ".join(line.get_text().split()).translate(_LIGATURES)


def _size(line: LTTextLine) -> float:
    sizes = Counter(round(2 * letter.size) / 2 for letter in line if isinstance(letter, LTChar))
    return sizes.most_common(1)[0][0] if sizes else 0.0


def _without_margins(pages: Sequence[_Page], body: float) -> Iterator[_Page]:
    """Pages without what repeats at their edges in type no larger than the body's; figures (of pages) may differ."""
    edges = Counter(key for page in pages for key in {_edge(line, body) for line in page.lines})
    repeated = {key for key, n in edges.items() if key and n >= 3 and 2 * n >= len(pages)}
    for page in pages:
        kept = [part for part in page.parts if isinstance(part, Block) or _edge(part, body) not in repeated]
        yield _Page(page.number, kept)


def _edge(line: _Line, body: float) -> str:
    """What is compared between pages; empty for a line that is not at an edge."""
    is_at_edge = line.top < _MARGIN_SHARE or line.top > 1 - _MARGIN_SHARE
    return re.sub(r"\d+", "#", line.text) if is_at_edge and line.size <= body else ""


@dataclass(frozen=True, slots=True)
class _Type:
    """Which sizes of type a document uses: that of most letters, and those of headings with their levels."""

    body: float
    levels: dict[float, int]

    def is_heading(self, line: _Line) -> bool:
        return line.size in self.levels and _could_be_heading(line, self.body)


def _type_of(pages: Sequence[_Page]) -> _Type:
    sizes: Counter[float] = Counter()
    for line in (line for page in pages for line in page.lines):
        sizes[line.size] += len(line.text)
    body = sizes.most_common(1)[0][0] if sizes else 0.0
    large = {line.size for page in pages for line in page.lines if _could_be_heading(line, body)}
    return _Type(body, {size: min(level, 6) for level, size in enumerate(sorted(large, reverse=True), 1)})


def _could_be_heading(line: _Line, body: float) -> bool:
    is_short = len(line.text.split()) <= _MAX_HEADING_WORDS
    return is_short and line.size >= HEADING_RATIO * body and any(letter.isalpha() for letter in line.text)


def _blocks(pages: Iterable[_Page], used: _Type) -> Iterator[Block]:
    for page in pages:
        for run in _runs(page.parts, used):
            yield from _run_blocks(run, used, page.number)


def _runs(parts: Sequence[_Line | Block], used: _Type) -> list[list[_Line] | Block]:
    """Lines of one box and one kind together; a table alone."""
    runs: list[list[_Line] | Block] = []
    for part in parts:
        last = runs[-1] if runs else None
        if isinstance(part, Block):
            runs.append(part)
        elif isinstance(last, list) and _go_together(last[-1], part, used):
            last.append(part)
        else:
            runs.append([part])
    return runs


def _go_together(above: _Line, line: _Line, used: _Type) -> bool:
    if used.is_heading(above) or used.is_heading(line):
        return above.size == line.size and above.box == line.box and used.is_heading(above) and used.is_heading(line)
    return above.box == line.box


def _run_blocks(run: list[_Line] | Block, used: _Type, page: int) -> Iterator[Block]:
    if isinstance(run, Block):
        yield run
        return
    texts = [line.text for line in run]
    if used.is_heading(run[0]):
        yield heading(used.levels[run[0].size], _flowing(texts), 1, page)
        return
    starts = [0, *(i for i, text in enumerate(texts) if i and _BULLET.match(text)), len(texts)]
    yield from (_item(texts[start:end], page) for start, end in pairwise(starts))


def _item(texts: Sequence[str], page: int) -> Block:
    text = _flowing(texts)
    if match := _BULLET.match(text):
        return Block("list", (text if match[0] == "" else f"- {text[match.end() :]}",), 1, page=page)
    return Block("paragraph", (text,), 1, page=page)


def _flowing(texts: Sequence[str]) -> str:
    """Lines as one: a word that a hyphen cuts at a line's end is joined."""
    return re.sub(r"(?<=[^\W\d_])[-\u00ad] (?=[a-zà-ÿ])", "", " ".join(texts)) if len(texts) > 1 else texts[0]


def _merged_lists(blocks: Sequence[Block]) -> list[Block]:
    """Neighbouring items of a page as one list."""
    merged: list[Block] = []
    for block in blocks:
        last = merged[-1] if merged else None
        if last is not None and last.kind == block.kind == "list" and last.page == block.page:
            merged[-1] = Block("list", (*last.lines, *block.lines), 1, page=block.page)
        else:
            merged.append(block)
    return merged


def _title(blocks: Sequence[Block]) -> str:
    headings = [block for block in blocks if block.kind == "heading"]
    return min(headings, key=lambda block: block.level).title if headings else ""
