"""The choice of a cascade: the cheapest that is provably not worse than the reference by more than a margin,
or the best within a budget.

Winner's curse: a front looks better on the rows that drew it. So the whole choice is made again on four
fifths of the rows, five times, and judged on the fifth that it has not seen; expectation and guarantee come
from those rows, the cascade itself from all of them. What is chosen is an *aim* (how far above or below the
reference to aim on the rows at hand), tested from careful to cheap. Few rows: labels are shrunk to the
calibrated scores, bounds widen by themselves, and an unproven margin is said, not hidden. Price paid: the
proof is about cascades drawn from four fifths of the rows; the one in use was drawn from all of them, and is
no worse in expectation.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from palier.domain.answering import Cascade, Step
from palier.domain.cascade.guarantee import Estimate, Guarantee, longest_proven, lower_bound, mean_estimate
from palier.domain.cascade.outcomes import Floats, Ints, OutcomeTable
from palier.domain.cascade.search import Constraints, Point, Searched
from palier.domain.documents import Lang
from palier.errors import InputError

N_FOLDS = 5
N_AIMS = 25
SHRINK_ROWS = 100
"""Labels weigh n rows, calibrated scores weigh this many."""
MIN_ROWS = 20
"""Below this nothing is chosen from the rows: the reference answers alone."""
_LANGUAGES: tuple[Lang, ...] = ("en", "fr")

Status = Literal["proven", "unproven", "infeasible"]


@dataclass(frozen=True)
class Tuned:
    """The choice. ``cascade`` is None when ``status`` is "infeasible": no cascade keeps the constraints.

    ``front`` and ``point`` are in-sample; ``quality`` and ``cost`` (nano-dollars) are cross-fitted estimates.
    """

    status: Status
    cascade: Cascade | None
    point: Point | None
    front: tuple[Point, ...]
    reference: str
    reference_cost_nanousd: int
    reference_quality: Estimate
    guarantee: Guarantee
    quality: Estimate | None
    cost: Estimate | None
    reason: str

    @property
    def expected(self) -> dict[str, Estimate]:
        """What to expect of new questions: quality, cost in nano-dollars, and the reference's quality."""
        found = {
            "quality": self.quality,
            "cost_nanousd": self.cost,
            "reference_quality": self.reference_quality,
        }
        return {name: value for name, value in found.items() if value is not None}


@dataclass(frozen=True)
class _Rows:
    """Held-out rows of one candidate, pooled over the folds."""

    difference: Floats
    quality: Floats
    cost: Floats


@dataclass(frozen=True)
class _Fold:
    """A front drawn from some rows, the reference on them, and the rows to judge both on."""

    searched: Searched
    front: tuple[Point, ...]
    reference: Point
    held_out: OutcomeTable
    held_out_reference: Floats


def tune(
    table: OutcomeTable,
    *,
    budget_nanousd: int | None,
    margin: float,
    confidence: float,
    max_depth: int,
    rng: np.random.Generator,
    constraints: Constraints | None = None,
) -> Tuned:
    """Choose a cascade from recorded outcomes.

    Without a budget: the cheapest whose quality is, at ``confidence``, not below the reference's (the dearest
    rung that serves every row) by more than ``margin``; when none is, the cheapest that aims at the
    reference's own quality, and ``guarantee.met`` is False. With a budget (mean nano-dollars a question): the
    best whose upper cost bound keeps it. Raises InputError when no rung serves every language of the table.
    """
    asked = replace(constraints or Constraints(), budget_nanousd=budget_nanousd)
    reference = reference_rung(table)
    draw = _Draw(table, asked, reference, 1 - confidence, max_depth)
    rows = np.arange(table.n_rows)
    whole = draw.fold(rows, rows)
    if not whole.front:
        return _infeasible(whole, table, margin)
    folds = _folds(draw, rng) if table.n_rows >= MIN_ROWS else []
    choose = _choose_aim if budget_nanousd is None else _choose_within
    point, judged, proven = choose(whole, folds, margin, 1 - confidence)
    return _tuned(table, whole, point, judged, _guarantee(judged, margin, 1 - confidence, met=proven))


def reference_rung(table: OutcomeTable) -> int:
    """The dearest rung by mean cost among those that serve every row."""
    everywhere = [rung for rung in range(table.n_rungs) if table.serves[:, rung].all()]
    if not everywhere:
        raise InputError(f"None of {table.rungs} was recorded for every language: record one that was.")
    return max(everywhere, key=table.mean_cost)


def as_cascade(table: OutcomeTable, point: Point) -> Cascade:
    """The point as the gateway runs it; a language that the table does not hold is served by every rung."""
    seen = set(map(str, np.unique(table.row_languages)))
    steps = []
    for rung, threshold in zip(point.chain, point.thresholds, strict=True):
        served = set(table.languages_of(rung))
        languages = tuple(lang for lang in _LANGUAGES if lang in served or lang not in seen)
        steps.append(Step(rung=table.rungs[rung], threshold=threshold, languages=languages))
    return Cascade(steps=tuple(steps), abstain_below=point.abstain_below)


def abstain_below(score: Floats, quality: Floats, abstain_quality: Floats) -> float:
    """The score under which "I don't know" was worth more than the answer, 0 when the gain may be chance.

    The gain must exceed its own standard error: an assistant that falls silent for no reason is worse than
    one that is now and then wrong.
    """
    order = np.argsort(score, kind="stable")
    gain = (abstain_quality - quality)[order]
    total = np.cumsum(gain)
    ends = np.flatnonzero(np.append(np.diff(score[order]) > 0, True))
    end = ends[int(np.argmax(total[ends]))]
    if total[end] <= np.sqrt(np.cumsum(gain**2)[end]):
        return 0.0
    ordered = score[order]
    above = ordered[end + 1] if end + 1 < len(ordered) else ordered[end]
    return float(np.nextafter((ordered[end] + above) / 2, 1.0))


@dataclass(frozen=True)
class _Draw:
    """How a front is drawn from rows of one table, under what the owner asks for."""

    table: OutcomeTable
    asked: Constraints
    reference: int
    alpha: float
    max_depth: int

    def fold(self, rows: Ints, held_out: Ints) -> _Fold:
        """The front of ``rows``, to be judged on ``held_out``."""
        seen, unseen = self.table.take(rows), self.table.take(held_out)
        allowed = _without_forbidden(seen, self.asked)
        searched = Searched(allowed, _shrunk(allowed), self.asked, self.alpha, self.max_depth)
        quality = float(_shrunk(seen)[:, self.reference].mean())
        alone = Point(seen.mean_cost(self.reference), quality, (self.reference,), (0.0,))
        judged_on = _without_forbidden(unseen, self.asked)
        return _Fold(searched, tuple(searched.front()), alone, judged_on, unseen.quality[:, self.reference])


def _without_forbidden(table: OutcomeTable, asked: Constraints) -> OutcomeTable:
    """The table without the rungs that an owner forbids a language: as if never recorded there."""
    if not asked.forbidden:
        return table
    quality = table.quality.copy()
    for name, languages in asked.forbidden.items():
        quality[np.isin(table.row_languages, languages), table.rungs.index(name)] = np.nan
    return replace(table, quality=quality)


def _shrunk(table: OutcomeTable) -> Floats:
    """Labels drawn towards the calibrated scores, the more so the fewer rows there are."""
    weight = table.n_rows / (table.n_rows + SHRINK_ROWS)
    return np.asarray(weight * table.quality + (1 - weight) * table.score)


def _folds(draw: _Draw, rng: np.random.Generator) -> list[_Fold]:
    part = rng.permutation(draw.table.n_rows) % N_FOLDS
    return [draw.fold(np.flatnonzero(part != fold), np.flatnonzero(part == fold)) for fold in range(N_FOLDS)]


def _aimed(fold: _Fold, aim: float) -> Point:
    """The cheapest point of the fold's front that is ``aim`` above its reference, or the reference."""
    reaching = [point for point in fold.front if point.quality >= fold.reference.quality + aim]
    if not reaching:
        return fold.reference
    return _finished(fold, min(reaching, key=lambda point: point.cost_nanousd))


def _finished(fold: _Fold, point: Point) -> Point:
    """The point with the score below which to abstain."""
    table = fold.searched.table
    if table.abstain_quality is None:
        return point
    done = point.replay(table)
    return replace(point, abstain_below=abstain_below(done.score, done.quality, table.abstain_quality))


def _judged(folds: Sequence[_Fold], points: Sequence[Point]) -> _Rows:
    """What each fold's point did on the rows it has not seen."""
    done = [point.replay(fold.held_out) for fold, point in zip(folds, points, strict=True)]
    quality = np.concatenate([rows.quality for rows in done])
    reference = np.concatenate([fold.held_out_reference for fold in folds])
    cost = np.concatenate([rows.cost_nanousd for rows in done]).astype(np.float64)
    return _Rows(quality - reference, quality, cost)


def _choose_aim(whole: _Fold, folds: Sequence[_Fold], margin: float, alpha: float) -> tuple[Point, _Rows | None, bool]:
    """From careful to cheap, the last aim that is proven; else the cheapest that holds in estimate."""
    if not folds:
        return whole.reference, None, False
    top = max(point.quality for point in whole.front) - whole.reference.quality
    aims = np.linspace(max(0.0, top), -margin, N_AIMS)
    judged = [_judged(folds, [_aimed(fold, aim) for fold in folds]) for aim in aims]
    proven = longest_proven([rows.difference for rows in judged], margin, alpha)
    real = [at for at in range(proven) if _aimed(whole, aims[at]) != whole.reference]
    if real:
        return _aimed(whole, aims[real[-1]]), judged[real[-1]], True
    careful = [at for at, aim in enumerate(aims) if aim >= 0 and judged[at].difference.mean() >= -margin]
    if not careful:
        return whole.reference, None, False
    return _aimed(whole, aims[careful[-1]]), judged[careful[-1]], False


def _choose_within(
    whole: _Fold, folds: Sequence[_Fold], margin: float, alpha: float
) -> tuple[Point, _Rows | None, bool]:
    """The best point that keeps the budget; a fold that has none is judged by the whole front's choice."""
    best = _finished(whole, whole.front[-1])
    if not folds:
        return best, None, False
    points = [_finished(fold, fold.front[-1]) if fold.front else best for fold in folds]
    rows = _judged(folds, points)
    return best, rows, lower_bound(rows.difference, alpha) >= -margin


def _guarantee(rows: _Rows | None, margin: float, alpha: float, *, met: bool) -> Guarantee:
    if rows is None:
        return Guarantee(margin, alpha, 0, met, -1.0, 0.0)
    bound = lower_bound(rows.difference, alpha)
    return Guarantee(margin, alpha, len(rows.difference), met, bound, float(rows.difference.mean()))


def _tuned(
    table: OutcomeTable,
    whole: _Fold,
    point: Point,
    rows: _Rows | None,
    guarantee: Guarantee,
) -> Tuned:
    reference = whole.reference.chain[0]
    quality, cost = (mean_estimate(rows.quality), mean_estimate(rows.cost)) if rows else (None, None)
    tuned = Tuned(
        "proven" if guarantee.met else "unproven",
        as_cascade(whole.searched.table, point),
        point,
        whole.front,
        table.rungs[reference],
        round(table.mean_cost(reference)),
        mean_estimate(table.quality[:, reference]),
        guarantee,
        quality,
        cost,
        "",
    )
    return replace(tuned, reason=_reason(tuned, table, whole.searched.constraints))


def _infeasible(whole: _Fold, table: OutcomeTable, margin: float) -> Tuned:
    """The explicit answer that nothing keeps the constraints."""
    cheapest = min(range(table.n_rungs), key=table.mean_cost)
    budget, reference = whole.searched.constraints.budget_nanousd, whole.reference.chain[0]
    spent = f"{table.rungs[cheapest]} costs {table.mean_cost(cheapest) / 1e6:.6g} USD per 1,000 questions"
    asked = "" if budget is None else f", the budget is {budget / 1e6:.6g}: raise it, or add a cheaper rung"
    return Tuned(
        "infeasible",
        None,
        None,
        (),
        table.rungs[reference],
        round(table.mean_cost(reference)),
        mean_estimate(table.quality[:, reference]),
        Guarantee(margin, whole.searched.alpha, 0, False, -1.0, 0.0),
        None,
        None,
        f"No cascade keeps the constraints. The cheapest rung {spent}{asked}.",
    )


def _reason(tuned: Tuned, table: OutcomeTable, asked: Constraints) -> str:
    """One or two plain sentences: what was chosen, what it costs and keeps, how sure we are."""
    assert tuned.cascade is not None
    rungs = [step.rung for step in tuned.cascade.steps]
    way = f"{rungs[0]} alone" if len(rungs) == 1 else ", then ".join(rungs)
    if tuned.cost is None or tuned.quality is None:
        few = f"{table.n_rows} questions are too few to choose from (at least {MIN_ROWS})"
        return f"{way}: {few if table.n_rows < MIN_ROWS else 'no other cascade comes near the reference'}."
    if rungs == [tuned.reference]:
        return f"{way}: no cheaper cascade can be relied on to keep its quality ({table.n_rows} questions)."
    share = tuned.cost.value / max(1, tuned.reference_cost_nanousd)
    change = 100 * tuned.guarantee.difference
    what = f"{way}: costs {share:.0%} of {tuned.reference} and changes quality by {change:+.1f} points"
    worst = f"at worst {100 * tuned.guarantee.bound:+.1f} at {1 - tuned.guarantee.alpha:.0%} confidence"
    promise = f"the margin of {100 * tuned.guarantee.margin:g} points is " + (
        "proven" if tuned.guarantee.met else "NOT proven: more golden questions would narrow this"
    )
    spent = asked.budget_nanousd
    budget = "" if spent is None else f"within {spent / 1e6:.4g} USD per 1,000; "
    return f"{what} ({budget}{worst}, {tuned.guarantee.n} questions); {promise}."
