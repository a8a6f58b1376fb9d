"""Markdown tables as a reader can read them: each row as a sentence, each cell behind the name of its column.

Under a header ten rows away a small model does not see what "12:00 - 21:30" is the hour of; and what has read prose
alone finds more in "Day Monday, Hours closed." than between pipes or colons. Knows lines and pipes; a pipe inside a
cell starts a cell. The price: a table grows by its header for each row, empty cells are not told, and the header itself
can answer nothing.
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
    """``text`` with the rows of its tables as "column cell, column cell.", and for each character of that its place in
    ``text``, or ADDED where it stands in none. Places only rise.
    """
    pieces = list(_pieces(text)) if "|" in text else [(text, 0)]
    places = [
        np.full(len(said), ADDED) if place == ADDED else np.arange(place, place + len(said)) for said, place in pieces
    ]
    return "".join(said for said, _ in pieces), np.concatenate([*places, []]).astype(np.int64)


def _pieces(text: str) -> Iterator[_Piece]:
    lines = text.splitlines(keepends=True)
    header: list[str] | None = None
    is_rule, place = False, 0
    for line, below in zip(lines, [*lines[1:], ""], strict=True):
        if "|" in line and _RULE.match(below):
            header, is_rule = [said for said, _ in _cells(line, 0)], True
        elif is_rule:
            is_rule = False
        elif header is not None and "|" in line:
            yield from _row(line, place, header)
        else:
            header = None
            yield line, place
        place += len(line)


def _row(line: str, place: int, header: list[str]) -> Iterator[_Piece]:
    told = [(column, *cell) for column, cell in enumerate(_cells(line, place)) if cell[0]]
    for number, (column, said, start) in enumerate(told):
        name = header[column] if column < len(header) else ""
        yield ", " * (number > 0) + f"{name} " * bool(name), ADDED
        yield said, start
    yield "." * bool(told) + "\n", ADDED


def _cells(line: str, place: int) -> Iterator[_Piece]:
    """The cells between the outer pipes of ``line``, which begins at ``place``, without white space around them."""
    start = line.find("|") + 1 if line.lstrip().startswith("|") else 0
    end = len(line.rstrip())
    end -= line[:end].endswith("|") and end > start
    for cell in line[start:end].split("|"):
        yield cell.strip(), place + start + len(cell) - len(cell.lstrip())
        start += len(cell) + 1
