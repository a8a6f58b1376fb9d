"""A report as one HTML file that needs nothing beside it: sections of tables and drawings, in light and dark.

The only home of Jinja. It knows tables and figures, not what they say; every text is escaped, since answers and
questions come from documents. The price of one file: drawings are inside it, so a page is some hundred kilobytes.
"""

import base64
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from palier.domain.bootstrap import Interval

TEMPLATE = "report.html.j2"


@dataclass(frozen=True, slots=True)
class Table:
    """``columns`` head the table; the first cell of each row heads the row. The caption says what is counted."""

    caption: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]


@dataclass(frozen=True, slots=True)
class Figure:
    """A drawing as SVG text; the caption says how to read it, ``alt`` in words what it shows."""

    caption: str
    svg: str
    alt: str

    @property
    def source(self) -> str:
        """The drawing as the address of an image: apart from the page, so that ids in two drawings never meet."""
        return f"data:image/svg+xml;base64,{base64.b64encode(self.svg.encode('utf-8')).decode('ascii')}"


@dataclass(frozen=True, slots=True)
class Section:
    """A heading, a sentence or two, and what there is to see, in this order."""

    key: str
    title: str
    lead: str
    parts: Sequence[Table | Figure] = ()


@dataclass(frozen=True, slots=True)
class Page:
    """The whole report; ``facts`` stand above all sections."""

    title: str
    lead: str
    facts: Sequence[tuple[str, str]]
    sections: Sequence[Section] = field(default_factory=tuple)


def render(page: Page) -> str:
    """The page as HTML."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    folder = FileSystemLoader(Path(__file__).parent)
    environment = Environment(
        loader=folder, autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    return environment.get_template(TEMPLATE).render(page=page)


def said(interval: Interval | None, digits: int = 3) -> str:
    """A number with its interval and its count, or a dash. Lines break between the three, not inside of them."""
    if interval is None:
        return "–"
    value, low, high = (f"{number:.{digits}f}" for number in (interval.value, interval.low, interval.high))
    return f"{value} ({low}\u00a0to\u00a0{high}), n\u00a0{interval.n}"
