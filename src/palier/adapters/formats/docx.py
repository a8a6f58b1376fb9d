"""DOCX, by python-docx: paragraphs, headings and lists by their styles, and tables, in the order of the document.

Macros, headers, footers, comments, text boxes and tables of contents are left out; of tracked changes, what is inserted
counts and what is deleted does not. A DOCX has no pages until it is printed, so places are lines of its text here. The
price: a heading that is only large and bold is a paragraph.
"""

import io
import re
import zipfile
from collections.abc import Iterator, Sequence
from itertools import chain

from docx import Document
from docx.document import Document as WordDocument
from docx.opc.constants import RELATIONSHIP_TYPE
from docx.opc.exceptions import PackageNotFoundError
from docx.oxml.document import CT_Body
from docx.table import Table, _Cell
from docx.text.paragraph import Paragraph

from palier.adapters.formats import FileContent, UnreadableFileError, content_of
from palier.domain.blocks import Block, heading, numbered, pipe_table

MAX_UNPACKED_BYTES = 200_000_000
"""A small file can unpack to any size."""
_HEADING = re.compile(r"heading (\d)", re.IGNORECASE)
_CODE = re.compile(r"code|preformatted|source|macro", re.IGNORECASE)
_WRAPPERS = " | ".join(
    f".//w:{name}" for name in ("sdt", "sdtContent", "ins", "moveTo", "fldSimple", "smartTag", "customXml")
)
_EMPTY_CONTROLS = (
    ".//w:sdt[w:sdtPr/w:showingPlcHdr or w:sdtPr/w:docPartObj/w:docPartGallery[@w:val='Table of Contents']]"
)


def read_docx(raw: bytes) -> FileContent:
    """The document as blocks; its title is the first paragraph of style Title, else its first heading, else the
    file's title property. Raises UnreadableFileError.
    """
    document = _open(raw)
    _unwrap(document.element.body)
    blocks = _merged([block for part in document.iter_inner_content() for block in _blocks(part)])
    return content_of(numbered(blocks), _title(document, blocks))


def _open(raw: bytes) -> WordDocument:
    try:
        with zipfile.ZipFile(io.BytesIO(raw)) as archive:
            size = sum(part.file_size for part in archive.infolist())
        if size > MAX_UNPACKED_BYTES:
            raise UnreadableFileError(f"unpacks to {size} bytes, more than {MAX_UNPACKED_BYTES}; split it")
        return Document(io.BytesIO(raw))
    except (zipfile.BadZipFile, PackageNotFoundError) as error:
        raise UnreadableFileError("is not a DOCX file: damaged, or protected by a password") from error


def _unwrap(body: CT_Body) -> None:
    """Takes off what lies around text in Word (content controls, fields, insertions): python-docx passes over what
    is within. A control that still shows its prompt holds nothing.
    """
    for control in body.xpath(_EMPTY_CONTROLS):
        control.getparent().remove(control)
    for wrapper in body.xpath(_WRAPPERS):
        for child in list(wrapper):
            wrapper.addprevious(child)
        wrapper.getparent().remove(wrapper)


def _title(document: WordDocument, blocks: Sequence[Block]) -> str:
    written = (" ".join(part.text.split()) for part in document.paragraphs if _style(part) == "Title")
    headings = (block.title for block in blocks if block.kind == "heading")
    return next(filter(None, chain(written, headings)), "") or _title_property(document)


def _title_property(document: WordDocument) -> str:
    """Looked for first, since python-docx makes up "Word Document" where the file has no properties."""
    is_told = any(rel.reltype == RELATIONSHIP_TYPE.CORE_PROPERTIES for rel in document.part.package.rels.values())
    return document.core_properties.title if is_told else ""


def _blocks(part: Paragraph | Table) -> Iterator[Block]:
    if isinstance(part, Table):
        yield from _table(part)
    elif part.text.strip():
        yield _paragraph(part)


def _paragraph(paragraph: Paragraph) -> Block:
    name = _style(paragraph)
    text = paragraph.text.strip("\n")
    line = " ".join(text.split())
    if match := _HEADING.match(name):
        return heading(min(6, max(1, int(match[1]))), line)
    if name == "Title":
        return heading(1, line)
    if _CODE.search(name):
        return Block("code", tuple(text.rstrip().split("\n")), 1)
    if name.startswith("List") or paragraph._p.xpath("./w:pPr/w:numPr"):
        return Block("list", (f"{'  ' * _depth(paragraph, name)}- {line}",), 1)
    return Block("paragraph", tuple(filter(None, (" ".join(part.split()) for part in text.split("\n")))), 1)


def _style(paragraph: Paragraph) -> str:
    return (paragraph.style.name if paragraph.style is not None else None) or ""


def _depth(paragraph: Paragraph, name: str) -> int:
    """How deep a list item is nested: told by its numbering, or by a style such as "List Bullet 2"."""
    levels = paragraph._p.xpath("./w:pPr/w:numPr/w:ilvl/@w:val")
    if levels:
        return int(levels[0])
    return int(name[-1]) - 1 if name[-1:].isdigit() else 0


def _table(table: Table) -> Iterator[Block]:
    """A table of one column only lays out the page; merged cells stand in each row that they cover."""
    rows = [[_cell(cell) for cell in row.cells] for row in table.rows]
    rows = [row for row in rows if any(row)]
    if rows and max(map(len, rows)) > 1:
        yield Block("table", pipe_table(rows), 1)
        return
    for row in table.rows:
        for cell in row.cells[:1]:
            yield from (block for part in cell.iter_inner_content() for block in _blocks(part))


def _cell(cell: _Cell) -> str:
    return " ".join(" ".join(_words(part) for part in cell.iter_inner_content()).split())


def _words(part: Paragraph | Table) -> str:
    """All words of a paragraph, or of a table within a cell."""
    return " ".join(_cell(cell) for row in part.rows for cell in row.cells) if isinstance(part, Table) else part.text


def _merged(blocks: list[Block]) -> list[Block]:
    """Neighbouring list items as one list, neighbouring lines of code as one fenced block."""
    runs: list[list[Block]] = []
    for block in blocks:
        if runs and block.kind in {"list", "code"} and runs[-1][-1].kind == block.kind:
            runs[-1].append(block)
        else:
            runs.append([block])
    return [_one(run) for run in runs]


def _one(run: list[Block]) -> Block:
    if run[0].kind not in {"list", "code"}:
        return run[0]
    lines = tuple(line for block in run for line in block.lines)
    return Block(run[0].kind, ("```", *lines, "```") if run[0].kind == "code" else lines, 1)
