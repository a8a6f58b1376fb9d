"""Blocks: the one structure that every kind of file is brought to before passages are cut.

Knows headings, paragraphs, lists, tables, code, rows and metadata, and where each stood in its file; not which format
the file had. The price: what a format has beyond these (footnotes, figures, type faces) is lost at its reader.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

BlockKind = Literal["paragraph", "heading", "table", "list", "code", "rows", "metadata"]
"""``rows`` are rows of data, one to a line, each readable without a header and never cut."""


@dataclass(frozen=True, slots=True)
class Block:
    """Some whole lines; ``level`` and ``title`` are set for headings.

    ``header`` repeats lines from further up (of a table that was cut) and does not count as the block's own.
    ``last_line`` is set where the lines are not the file's own (of HTML, of CSV): the block then stands somewhere
    between ``start_line`` and ``last_line`` of the file. ``page`` counts from 1.
    """

    kind: BlockKind
    lines: tuple[str, ...]
    start_line: int
    level: int = 0
    title: str = ""
    header: tuple[str, ...] = ()
    last_line: int | None = None
    page: int | None = None

    @property
    def end_line(self) -> int:
        return self.start_line + len(self.lines) - 1 if self.last_line is None else self.last_line

    @property
    def text(self) -> str:
        return "\n".join((*self.header, *self.lines))

    def part(self, lines: tuple[str, ...], offset: int) -> "Block":
        """``lines`` of this block, the first of which is its line number ``offset`` (from 0)."""
        start = self.start_line + offset if self.last_line is None else self.start_line
        return replace(self, lines=lines, start_line=start)


def joined(blocks: Sequence[Block]) -> str:
    """Blocks as text: a blank line between two of them, but none between rows of data."""
    text = ""
    for before, block in zip([None, *blocks], blocks, strict=False):
        if before is not None:
            text += "\n" if before.kind == block.kind == "rows" else "\n\n"
        text += block.text
    return text


def numbered(blocks: Sequence[Block]) -> tuple[Block, ...]:
    """The same blocks with the lines that they have in ``joined(blocks)``: for formats that have no lines."""
    placed: list[Block] = []
    line = 1
    for block in blocks:
        line -= bool(placed) and placed[-1].kind == block.kind == "rows"
        placed.append(replace(block, start_line=line, last_line=None))
        line += len(block.lines) + 1
    return tuple(placed)


def heading(level: int, title: str, line: int = 0, page: int | None = None) -> Block:
    """A heading of ``level`` 1 to 6, written as in Markdown."""
    return Block("heading", (f"{'#' * level} {title}",), line, level, title, page=page)


def pipe_table(cells: Sequence[Sequence[str]]) -> tuple[str, ...]:
    """Rows of cells as the lines of a Markdown table, its first row the header; short rows are filled up."""
    width = max(len(row) for row in cells)
    lines = [f"| {' | '.join(_cell(cell) for cell in [*row, *[''] * (width - len(row))])} |" for row in cells]
    return (lines[0], "|" + "---|" * width, *lines[1:])


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "/")
