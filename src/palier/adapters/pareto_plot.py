"""Draws quality against price, with the front of the points that nothing beats, as PNG and SVG.

Knows numbers and labels, not what was measured. Drawn without a display, and the same
points give the same SVG. The price: only the named points carry their names, or nothing could be read.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from palier.domain.pareto import pareto_front


@dataclass(frozen=True, slots=True)
class PlotPoint:
    """A dot; one with a ``name`` is drawn larger, with its name beside it."""

    cost: float
    quality: float
    name: str = ""


@dataclass(frozen=True, slots=True)
class Axes:
    """What stands on the plot."""

    title: str
    cost: str
    quality: str


def draw_pareto(points: Sequence[PlotPoint], axes: Axes, folder: Path, stem: str) -> list[Path]:
    """Write ``<stem>.png`` and ``<stem>.svg`` into ``folder`` and return their paths; ValueError without a point."""
    if not points:
        raise ValueError("No point to draw.")
    import matplotlib as mpl  # half a second to import: only where something is drawn
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 5.5), layout="constrained")
    plot = figure.add_subplot()
    plain, named = [point for point in points if not point.name], [point for point in points if point.name]
    plot.scatter([p.cost for p in plain], [p.quality for p in plain], s=14, color="#9aa5b1", label="tried")
    front = [points[i] for i in pareto_front([(point.cost, point.quality) for point in points])]
    plot.plot([p.cost for p in front], [p.quality for p in front], color="#1f6feb", linewidth=1.2, label="front")
    plot.scatter([p.cost for p in named], [p.quality for p in named], s=48, color="#d1481f", zorder=3)
    for point in named:
        plot.annotate(point.name, (point.cost, point.quality), textcoords="offset points", xytext=(6, 6), fontsize=8)
    plot.set(title=axes.title, xlabel=axes.cost, ylabel=axes.quality)
    plot.grid(alpha=0.3)
    plot.legend(loc="lower right")
    folder.mkdir(parents=True, exist_ok=True)
    written = [folder / f"{stem}.png", folder / f"{stem}.svg"]
    with mpl.rc_context({"svg.hashsalt": "palier"}):  # ids of shapes are random without it
        figure.savefig(written[0], dpi=130)
        figure.savefig(written[1], metadata={"Date": None})
    return written
