"""The report's drawings as SVG text: reliability, learning curves, slices, noise.

Knows numbers and labels, not where they came from. Letters and axes take the colour of the reader's theme, light or
dark, and the same numbers give the same drawing. The price: text stays text, so its width depends on the reader's
fonts.
"""

import io
import re
from collections.abc import Mapping, Sequence
from typing import Any

from palier.adapters.evaluation.scorer_measures import Bin, CurvePoint
from palier.domain.bootstrap import Interval

BLUE, ORANGE, GREY = "#3b82d6", "#d1632a", "#8a94a0"
"""Told apart by brightness as well, and readable on white and on near-black."""
_LINES = ((BLUE, "o", "-"), (ORANGE, "s", "--"), (GREY, "^", ":"))
"""Colour, marker and line of each measure: colours alone do not tell all people which is which."""
LONGEST_NAME = 36
_INK = "#123456"
"""Stands for the theme's colour until the file is written; drawn with nothing else."""
_THEME = "<style>svg{color:#1b1f24}@media(prefers-color-scheme:dark){svg{color:#e6e8ea}}</style>"


def reliability(bins: Sequence[Bin]) -> str:
    """Mean quality of answers against the score that promised it, with the line where both agree."""
    figure, plot = _figure(5.2, 4.2)
    plot.plot([0, 1], [0, 1], color=GREY, linewidth=1, linestyle="--", label="score = quality")
    scores = [one.score for one in bins]
    _points(plot, scores, [one.quality for one in bins], (BLUE, "o", "none"), "answers, in bins of equal count")
    plot.set(xlim=(0, 1), ylim=(0, 1), xlabel="score", ylabel="quality (0 to 1), with 95 % interval")
    return _svg(figure, plot)


def curve(points: Sequence[CurvePoint], names: Mapping[str, str]) -> str:
    """Measures (``names`` by key, as the legend says them) against the share of the data."""
    figure, plot = _figure(5.2, 3.6)
    for key, style in zip(names, _LINES, strict=False):
        known = [(100 * point.share, point.measures[key]) for point in points]
        drawn = [(x, one) for x, one in known if one is not None]
        _points(plot, [x for x, _ in drawn], [one for _, one in drawn], style, names[key])
    plot.set(xlim=(0, 105), ylim=(0, 1), xlabel="share of the training data, %", ylabel="measure (0 to 1)")
    return _svg(figure, plot)


def bars(rows: Mapping[str, Interval], label: str, reference: float | None = None) -> str:
    """Horizontal dots with intervals, one per name, from top to bottom; a line at ``reference``.

    Names may be the user's own words: what is longer than `LONGEST_NAME` is cut.
    """
    figure, plot = _figure(5.2, 0.9 + 0.34 * len(rows))
    places = range(len(rows))
    middles, halves = _spans(list(rows.values()))
    plot.errorbar(middles, places, xerr=halves, fmt="none", ecolor=BLUE, capsize=3)
    plot.plot([interval.value for interval in rows.values()], places, marker="o", linestyle="none", color=BLUE)
    named = [name if len(name) <= LONGEST_NAME else f"{name[: LONGEST_NAME - 1]}…" for name in rows]
    plot.set_yticks(range(len(rows)), named, parse_math=False)  # names may hold a "$"
    plot.set_ylim(len(rows) - 0.5, -0.5)
    if reference is not None:
        plot.axvline(reference, color=GREY, linestyle="--", linewidth=1, label=f"all questions: {reference:.2f}")
    plot.set(xlim=(0, 1), xlabel=label)
    return _svg(figure, plot)


def _figure(width: float, height: float) -> tuple[Any, Any]:
    from matplotlib.figure import Figure  # half a second to import: only where something is drawn

    figure = Figure(figsize=(width, height), layout="constrained")
    return figure, figure.add_subplot()


def _points(
    plot: Any, x: Sequence[float], y: Sequence[Interval | float], style: tuple[str, str, str], label: str
) -> None:
    """Each of ``y`` as a dot at its value, and from end to end of its interval where it has one."""
    colour, marker, line = style
    values = [one.value if isinstance(one, Interval) else one for one in y]
    plot.plot(x, values, marker=marker, linestyle=line, color=colour, label=label)
    known = [(place, one) for place, one in zip(x, y, strict=True) if isinstance(one, Interval)]
    middles, halves = _spans([interval for _, interval in known])
    plot.errorbar([place for place, _ in known], middles, yerr=halves, fmt="none", ecolor=colour, capsize=3)


def _spans(intervals: Sequence[Interval]) -> tuple[list[float], list[float]]:
    """Middles and half lengths: bars are drawn apart from the dots, so that a value outside its interval is seen."""
    middles = [(one.low + one.high) / 2 for one in intervals]
    return middles, [(one.high - one.low) / 2 for one in intervals]


def _svg(figure: Any, plot: Any) -> str:
    import matplotlib as mpl

    for spine in plot.spines.values():
        spine.set_color(_INK)
    plot.tick_params(colors=_INK)
    plot.xaxis.label.set_color(_INK)
    plot.yaxis.label.set_color(_INK)
    plot.grid(alpha=0.3, color=GREY)
    if plot.get_legend_handles_labels()[1]:  # above the axes, where it covers nothing
        figure.legend(frameon=False, labelcolor=_INK, loc="outside upper left", fontsize=9, ncols=3)
    text = io.StringIO()
    # Ids of shapes are random without a salt; letters stay letters, to be read aloud and found.
    with mpl.rc_context({"svg.hashsalt": "palier", "svg.fonttype": "none"}):
        figure.savefig(text, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    drawing = text.getvalue().replace(_INK, "currentColor")
    drawing = drawing[drawing.index("<svg") :]
    return re.sub(r"(<svg[^>]*>)", rf"\1{_THEME}", drawing, count=1)
