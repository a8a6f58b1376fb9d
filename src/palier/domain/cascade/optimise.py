"""The choice of a cascade: the cheapest that is provably not worse than the reference by more than a margin,
or the best within a budget.

Winner's curse: a front looks better on the rows that drew it. So the whole choice is made again on four
fifths of the rows, five times, and judged on the fifth that it has not seen; expectation and guarantee come
from those rows, the cascade itself from all of them. What is chosen is an *aim* (how far above or below the
reference to aim on the rows at hand), tested from careful to cheap. Few rows: labels are shrunk to the
calibrated scores, bounds widen by themselves, and an unproven margin is said, not hidden. What an owner asks for
beside quality (budget, latency, share at the top, bans) is kept by every candidate, so where the reference
itself would break it, the best that keeps it is the careful end. Where the table tells what is believed of several
answers, chains are also drawn that climb by beliefs; the simpler ones, by scores, stay unless those are better beyond
chance. Price paid: the proof is about cascades drawn from four fifths of the rows; the one in use was drawn from all
of them, and is no worse in expectation. Two strategies share the confidence: each may err half as often.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from palier.domain.answering import Cascade, Step
from palier.domain.cascade.guarantee import (
    Estimate,
    Guarantee,
    longest_proven,
    lower_bound,
    mean_estimate,
    upper_cost,
)
from palier.domain.cascade.outcomes import Floats, Ints, OutcomeTable
from palier.domain.cascade.reasons import MIN_ROWS, Facts, why_chosen, why_infeasible
from palier.domain.cascade.replay import Replayed
from palier.domain.cascade.search import Constraints, Point, Searched
from palier.domain.documents import Lang
from palier.errors import InputError

N_FOLDS = 5
N_AIMS = 25
SHRINK_ROWS = 100
"""Labels weigh n rows, calibrated scores weigh this many."""
_LANGUAGES: tuple[Lang, ...] = ("en", "fr")

Status = Literal["proven", "unproven", "infeasible"]


@dataclass(frozen=True)
class Tuned:
    """The choice. ``cascade`` is None when ``status`` is "infeasible": no cascade keeps the constraints.

    ``front`` and ``point`` are in-sample; ``quality`` and ``cost`` (nano-dollars) are cross-fitted estimates, and so
    are ``latency_p95_ms`` and ``top_share`` (of questions that reach the reference rung), None for too few rows.
    ``binding`` names the constraints each of which alone makes the task infeasible.
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
    latency_p95_ms: float | None = None
    top_share: float | None = None
    binding: tuple[str, ...] = ()

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
    latency_ms: Floats
    at_top: Floats


@dataclass(frozen=True)
class _Fold:
    """A front drawn from some rows, the reference on them, and the rows to judge both on.

    ``careful`` is the reference, or, where that breaks a constraint, the best of the front; None without either.
    """

    searched: Searched
    front: tuple[Point, ...]
    reference: Point
    careful: Point | None
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
    best whose upper cost bound keeps it. Other ``constraints`` hold in both cases; where they keep every cascade
    too far below the reference, the best that keeps them is chosen and said to be unproven. Raises InputError
    when no rung serves every language of the table, or a latency is asked for that nobody recorded.
    """
    asked = replace(constraints or Constraints(), budget_nanousd=budget_nanousd)
    if asked.latency_p95_ms is not None and table.latency_ms is None:
        raise InputError(
            f"A p95 of {asked.latency_p95_ms:g} ms is asked for, but no latency was recorded of some outcomes."
        )
    part = rng.permutation(table.n_rows) % N_FOLDS
    draw = _Draw(table, asked, reference_rung(table), 1 - confidence, max_depth)
    may_believe = table.beliefs is not None and not asked.forbidden and bool(table.serves.all())
    error = draw.alpha / 2 if may_believe else draw.alpha
    chosen = _choice(draw, part, margin, error)
    if chosen is None:
        return _infeasible(draw, margin)
    other = _choice(replace(draw, by_beliefs=True), part, margin, error) if may_believe else None
    if other is not None and other.is_better_than(chosen):
        chosen = other
    return _tuned(chosen, _guarantee(chosen, margin, error))


@dataclass(frozen=True)
class _Choice:
    """What one strategy chose, and what it did on rows that the choice had not seen; None for too few rows."""

    draw: "_Draw"
    whole: _Fold
    point: Point
    judged: _Rows | None
    proven: bool

    def is_better_than(self, other: "_Choice") -> bool:
        """Proven where the other is, and cheaper (within a budget: better) on the same rows, beyond chance."""
        if self.judged is None or other.judged is None or self.proven < other.proven:
            return False
        if self.draw.asked.budget_nanousd is not None:
            return lower_bound(self.judged.quality - other.judged.quality, self.draw.alpha) > 0
        dearer = self.judged.cost - other.judged.cost
        bound = upper_cost(dearer.mean(), (dearer**2).mean(), len(dearer), self.draw.alpha)
        return self.proven > other.proven or float(bound) < 0


def _choice(draw: "_Draw", part: Ints, margin: float, error: float) -> _Choice | None:
    """The choice from all rows, judged over the folds ``part`` (n); None when the constraints leave no cascade."""
    rows = np.arange(draw.table.n_rows)
    whole = draw.fold(rows, rows)
    if whole.careful is None:
        return None
    halves = [(np.flatnonzero(part != fold), np.flatnonzero(part == fold)) for fold in range(N_FOLDS)]
    folds = [draw.fold(*half) for half in halves] if draw.table.n_rows >= MIN_ROWS else []
    choose = _choose_aim if draw.asked.budget_nanousd is None else _choose_within
    return _Choice(draw, whole, *choose(whole, folds, margin, error))


def reference_rung(table: OutcomeTable) -> int:
    """The dearest rung by mean cost among those that serve every row."""
    everywhere = [rung for rung in range(table.n_rungs) if table.serves[:, rung].all()]
    if not everywhere:
        raise InputError(f"None of {table.rungs} was recorded for every language: record one that was.")
    return max(everywhere, key=table.mean_cost)


def as_cascade(table: OutcomeTable, point: Point, asked: Constraints | None = None) -> Cascade:
    """The point as the gateway runs it; a language that the table does not hold is served by every rung that may."""
    seen = set(map(str, np.unique(table.row_languages)))
    forbidden = (asked or Constraints()).forbidden
    steps = []
    thresholds = point.thresholds[1:] if point.routed else point.thresholds
    for rung, threshold in zip(point.chain, thresholds, strict=True):
        served, banned = set(table.languages_of(rung)), forbidden.get(table.rungs[rung], ())
        languages = tuple(lang for lang in _LANGUAGES if lang in served or lang not in {*seen, *banned})
        steps.append(Step(rung=table.rungs[rung], threshold=threshold, languages=languages))
    direct = point.thresholds[0] if point.routed else None
    return Cascade(steps=tuple(steps), abstain_below=point.abstain_below, by_beliefs=point.believed, direct_from=direct)


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
    by_beliefs: bool = False

    def fold(self, rows: Ints, held_out: Ints) -> _Fold:
        """The front of ``rows``, to be judged on ``held_out``."""
        seen, unseen = self.table.take(rows), self.table.take(held_out)
        allowed = _without_forbidden(seen, self.asked)
        searched = Searched(
            allowed, _shrunk(allowed), self.asked, self.alpha, self.max_depth, by_beliefs=self.by_beliefs
        )
        quality = float(_shrunk(seen)[:, self.reference].mean())
        alone = Point(seen.mean_cost(self.reference), quality, (self.reference,), (0.0,))
        front = tuple(searched.front())
        best = front[-1] if front else None
        careful = alone if searched.allows_alone(self.reference) else best
        judged_on = _without_forbidden(unseen, self.asked)
        return _Fold(searched, front, alone, careful, judged_on, unseen.quality[:, self.reference])

    def binding(self) -> tuple[str, ...]:
        """The constraints each of which, lifted alone, would leave a cascade; none when only several together do."""
        rows = np.arange(self.table.n_rows)
        lifted = ((name, replace(self, asked=rest)) for name, rest in self.asked.without_each())
        return tuple(name for name, draw in lifted if draw.fold(rows, rows).careful is not None)


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


def _aimed(fold: _Fold, aim: float, otherwise: Point) -> Point:
    """The cheapest point of the fold's front that is ``aim`` above its reference, or its careful end."""
    reaching = [point for point in fold.front if point.quality >= fold.reference.quality + aim]
    if not reaching:
        careful = fold.careful or otherwise
        return careful if careful == fold.reference else _finished(fold, careful)
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
    latency = np.concatenate([rows.latency_ms for rows in done])
    tops = [_reaches(rows, point, fold) for rows, point, fold in zip(done, points, folds, strict=True)]
    return _Rows(quality - reference, quality, cost, latency, np.concatenate(tops))


def _reaches(done: Replayed, point: Point, fold: _Fold) -> Floats:
    """(n): 1 where the climb called the reference rung."""
    top = fold.reference.chain[0]
    if top not in point.chain:
        return np.zeros(fold.held_out.n_rows)
    return np.asarray(done.called[:, point.chain.index(top)], dtype=np.float64)


def _choose_aim(whole: _Fold, folds: Sequence[_Fold], margin: float, alpha: float) -> tuple[Point, _Rows | None, bool]:
    """From careful to cheap, the last aim that is proven; else the cheapest that holds in estimate."""
    end = _aimed(whole, np.inf, whole.reference)
    if not folds:
        return end, None, False
    top = max(point.quality for point in whole.front) - whole.reference.quality
    aims = np.linspace(max(0.0, top), -margin, N_AIMS)
    judged = [_judged(folds, [_aimed(fold, aim, end) for fold in folds]) for aim in aims]
    proven = longest_proven([rows.difference for rows in judged], margin, alpha)
    if any(fold.careful is None for fold in folds):
        proven = 0  # such a fold is judged by a choice that has seen it: good for an estimate, not for a proof
    real = [at for at in range(proven) if _aimed(whole, aims[at], end) != whole.reference]
    if real:
        return _aimed(whole, aims[real[-1]], end), judged[real[-1]], True
    careful = [at for at, aim in enumerate(aims) if aim >= 0 and judged[at].difference.mean() >= -margin]
    if careful:
        return _aimed(whole, aims[careful[-1]], end), judged[careful[-1]], False
    return end, None if end == whole.reference else judged[0], False


def _choose_within(
    whole: _Fold, folds: Sequence[_Fold], margin: float, alpha: float
) -> tuple[Point, _Rows | None, bool]:
    """The best point that keeps the budget; a fold that has none is judged by the whole front's choice, and then
    nothing is proven."""
    best = _finished(whole, whole.front[-1])
    if not folds:
        return best, None, False
    points = [_finished(fold, fold.front[-1]) if fold.front else best for fold in folds]
    rows = _judged(folds, points)
    honest = all(fold.front for fold in folds)
    return best, rows, honest and lower_bound(rows.difference, alpha) >= -margin


def _guarantee(chosen: _Choice, margin: float, error: float) -> Guarantee:
    """What is promised at the confidence asked for; the bound errs by ``error`` at most, for each strategy tried."""
    rows, alpha = chosen.judged, chosen.draw.alpha
    if rows is None:
        return Guarantee(margin, alpha, 0, chosen.proven, -1.0, 0.0)
    bound = lower_bound(rows.difference, error)
    return Guarantee(margin, alpha, len(rows.difference), chosen.proven, bound, float(rows.difference.mean()))


def _tuned(chosen: _Choice, guarantee: Guarantee) -> Tuned:
    draw, whole, point, rows = chosen.draw, chosen.whole, chosen.point, chosen.judged
    table, reference = draw.table, draw.reference
    quality, cost = (mean_estimate(rows.quality), mean_estimate(rows.cost)) if rows else (None, None)
    cascade = as_cascade(whole.searched.table, point, draw.asked)
    names = tuple(step.rung for step in cascade.steps)
    shrunk = SHRINK_ROWS / (table.n_rows + SHRINK_ROWS)
    dear = table.rungs[reference], table.mean_cost(reference)
    facts = Facts(names, *dear, cost, guarantee, table.n_rows, shrunk, by_beliefs=point.believed)
    held_down = whole.careful != whole.reference
    return Tuned(
        "proven" if guarantee.met else "unproven",
        cascade,
        point,
        whole.front,
        table.rungs[reference],
        round(table.mean_cost(reference)),
        mean_estimate(table.quality[:, reference]),
        guarantee,
        quality,
        cost,
        why_chosen(facts, draw.asked, held_down=held_down),
        float(np.quantile(rows.latency_ms, 0.95)) if rows and table.latency_ms is not None else None,
        float(rows.at_top.mean()) if rows else None,
    )


def _infeasible(draw: "_Draw", margin: float) -> Tuned:
    """The explicit answer that nothing keeps the constraints, and which of them is to blame."""
    table, reference = draw.table, draw.reference
    binding = draw.binding()
    return Tuned(
        "infeasible",
        None,
        None,
        (),
        table.rungs[reference],
        round(table.mean_cost(reference)),
        mean_estimate(table.quality[:, reference]),
        Guarantee(margin, draw.alpha, 0, False, -1.0, 0.0),
        None,
        None,
        why_infeasible(table, draw.asked, binding),
        binding=binding,
    )
