"""Markdown tables as a reader can read them: each cell behind the name of its column, as rows of CSV are told.

Under a header ten rows away a small model does not see what "12:00 - 21:30" is the hour of. Knows lines and pipes; a
pipe inside a cell starts a cell. The price: a table grows by its header for each row, and empty cells are not told.
"""

import re
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

_RULE = re.compile(r"^\s*\|?(\s*:?-+:?\s*\|)+(\s*:?-+:?\s*)?$")
ADDED = -1

_Piece = tuple[str, int]
"""Characters, and where the first of them stands in the text, or ADDED."""


def spelled_out(text: str) -> tuple[str, NDArray[np.int64]]:
    """``text`` with its tables row by row as "column: cell; column: cell", and for each character of that its place in
    ``text``, or ADDED where it stands in none. Places only rise; a table's header stays, its rule goes.
    """
    pieces = list(_pieces(text)) if "|" in text else [(text, 0)]
    places = [
        np.full(len(said), ADDED) if place == ADDED else np.arange(place, place + len(said)) for said, place in pieces
    ]
    return "".join(said for said, _ in pieces), np.concatenate(places).astype(np.int64)


def _pieces(text: str) -> Iterator[_Piece]:
    header: list[str] | None = None
    above, place = "", 0
    for line in text.splitlines(keepends=True):
        if header is not None and "|" in line:
            yield from _row(line, place, header)
        elif "|" in above and _RULE.match(line):
            header = [said for said, _ in _cells(above, 0)]
        else:
            header = None
            yield line, place
        above, place = line, place + len(line)


def _row(line: str, place: int, header: list[str]) -> Iterator[_Piece]:
    before = ""
    for column, (said, start) in enumerate(_cells(line, place)):
        if said:
            name = header[column] if column < len(header) else ""
            yield f"{before}{name}: " if name else before, ADDED
            yield said, start
            before = "; "
    yield "\n", ADDED


def _cells(line: str, place: int) -> Iterator[_Piece]:
    """The cells between the outer pipes of ``line``, which begins at ``place``, without white space around them."""
    start = line.find("|") + 1 if line.lstrip().startswith("|") else 0
    end = len(line.rstrip())
    end -= line[:end].endswith("|") and end > start
    for cell in line[start:end].split("|"):
        yield cell.strip(), place + start + len(cell) - len(cell.lstrip())
        start += len(cell) + 1
