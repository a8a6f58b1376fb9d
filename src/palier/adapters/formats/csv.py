"""CSV: each row as one line "column: value; column: value", so that it can be found and read without the header.

The delimiter is the one under which all rows have as many fields as the header. A file with ragged rows is refused
with the first of them: filling up or cutting off would put values under wrong names. The price: numbers and dates
stay text as written.
"""

import csv
import io
from collections.abc import Sequence

from palier.adapters.formats import FileContent, UnreadableFileError, content_of, decode_utf8
from palier.domain.blocks import Block

_DELIMITERS = ",;\t|"
_Row = tuple[int, int, list[str]]
"""First line, last line, fields."""


def read_csv(raw: bytes) -> FileContent:
    """One ``rows`` block per row that says something, at its lines in the file; raises UnreadableFileError."""
    text = decode_utf8(raw)
    (_, _, header), *rows = _even_rows(text)
    if not rows:
        raise UnreadableFileError("holds a header row and no rows under it")
    names = [" ".join(name.split()) or f"column {i}" for i, name in enumerate(header, 1)]
    blocks = [Block("rows", (_told(names, fields),), first, last_line=last) for first, last, fields in rows]
    return content_of([block for block in blocks if block.text], title="")


def _told(names: Sequence[str], fields: Sequence[str]) -> str:
    values = (" ".join(field.split()) for field in fields)
    return "; ".join(f"{name}: {value}" for name, value in zip(names, values, strict=True) if value)


def _even_rows(text: str) -> list[_Row]:
    """All rows, cut at the delimiter that gives the most columns and the same number in each row."""
    refused: UnreadableFileError | None = None
    best: list[_Row] = []
    for delimiter in sorted(_DELIMITERS, key=lambda mark: -text.split("\n", 1)[0].count(mark)):
        try:
            rows = _rows(text, delimiter)
        except UnreadableFileError as reason:  # quoted fields are not valid under a delimiter that is not the file's
            refused = refused or reason
            continue
        width = len(rows[0][2])
        uneven = next((row for row in rows if len(row[2]) != width), None)
        if uneven is None and (not best or width > len(best[0][2])):
            best = rows
        elif uneven is not None and width > 1:
            refused = refused or _ragged(uneven, width, delimiter)
    if refused and (not best or len(best[0][2]) == 1):
        raise refused
    return best


def _ragged(uneven: _Row, width: int, delimiter: str) -> UnreadableFileError:
    told = f"line {uneven[0]} has {len(uneven[2])} fields, the header has {width} ({delimiter!r})"
    return UnreadableFileError(f"has ragged rows: {told}; quote fields that hold the delimiter")


def _rows(text: str, delimiter: str) -> list[_Row]:
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    rows, first = [], 1
    try:
        for fields in reader:
            if any(field.strip() for field in fields):
                rows.append((first, reader.line_num, fields))
            first = reader.line_num + 1
    except csv.Error as error:
        raise UnreadableFileError(f"is not valid CSV: {error}, near line {reader.line_num}") from error
    if not rows:
        raise UnreadableFileError("holds no text")
    return rows
