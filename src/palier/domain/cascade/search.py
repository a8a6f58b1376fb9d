"""All ordered chains of rungs, swept over all thresholds, brought down to one Pareto front.

Chains up to depth 3 are complete; a deeper one grows from the chains that stand on the front so far (a beam),
which may miss a chain whose beginning is poor. Knows a table and constraints; knows nothing of references,
margins or confidence about quality. A limit holds for the *upper bound* of what was seen (mean cost, share of
late questions, share that reaches a rung), so that new questions keep it too. Price paid: with few rows a
limit is reached before it is touched: 30 rows cannot show a p95 at all.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import permutations

import numpy as np

from palier.domain.cascade.guarantee import upper_cost, upper_share
from palier.domain.cascade.outcomes import Bools, Floats, Ints, OutcomeTable
from palier.domain.cascade.replay import Replayed, believed_steps, chain_steps, replay, replay_believed
from palier.domain.cascade.sweep import StepRows, Sweep, pareto, sweep
from palier.domain.money import NANOUSD_PER_USD

CELLS = 4096
COMPLETE_DEPTH = 3
ROUTED_DEPTH = 2
"""Longer chains are not routed: four thresholds over a few thousand rows would choose chance."""
LATE_SHARE = 0.05
"""A p95 limit is a limit on the share of late questions."""


@dataclass(frozen=True)
class Constraints:
    """What an owner asks for: several at once, each optional.

    ``budget_nanousd``: mean per question. ``latency_p95_ms``: of the whole climb. ``max_share``: share of
    questions that may reach a rung. ``forbidden``: languages whose questions never go to a rung.
    """

    budget_nanousd: int | None = None
    latency_p95_ms: float | None = None
    max_share: Mapping[str, float] = field(default_factory=dict)
    forbidden: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    def without_each(self) -> Iterator[tuple[str, "Constraints"]]:
        """Each constraint's name with what is left when it is lifted."""
        if self.budget_nanousd is not None:
            yield "budget", replace(self, budget_nanousd=None)
        if self.latency_p95_ms is not None:
            yield "latency", replace(self, latency_p95_ms=None)
        for name in self.max_share:
            yield f"share of {name}", replace(self, max_share={k: v for k, v in self.max_share.items() if k != name})
        for name in self.forbidden:
            kept = {k: v for k, v in self.forbidden.items() if k != name}
            yield f"ban of {name}", replace(self, forbidden=kept)


@dataclass(frozen=True, slots=True)
class Point:
    """One operating point: means of cost (nano-dollars) and quality over the rows it was swept on.

    ``believed``: it climbs by beliefs and promises, not by scores. ``routed``: its first threshold is that of the step
    before the first call.
    """

    cost_nanousd: float
    quality: float
    chain: tuple[int, ...]
    thresholds: tuple[float, ...]
    abstain_below: float = 0.0
    believed: bool = False
    routed: bool = False

    def replay(self, table: OutcomeTable) -> Replayed:
        """The point's decisions on ``table``, its "I don't know" counted where its worth is known."""
        if self.believed:
            done = replay_believed(table, self.chain, self.thresholds, routed=self.routed)
        else:
            done = replay(table, self.chain, self.thresholds)
        if table.abstain_quality is None or self.abstain_below <= 0:
            return done
        return replace(done, quality=np.where(done.score < self.abstain_below, table.abstain_quality, done.quality))


@dataclass(frozen=True, slots=True)
class Ending:
    """One way through a chain: its steps, the threshold that its last step bears, and what its points are."""

    steps: list[StepRows]
    last: float
    believed: bool = False
    routed: bool = False


@dataclass(frozen=True)
class Searched:
    """A table prepared for the search, and how it is to be searched."""

    table: OutcomeTable
    quality: Floats
    constraints: Constraints
    alpha: float
    max_depth: int
    cells: int = CELLS
    by_beliefs: bool = False
    """Whether chains climb by beliefs and promises, which the table then holds; every rung serves every row."""

    def front(self) -> list[Point]:
        """The Pareto front by rising cost; empty when the constraints leave nothing."""
        chains = chain_list(self.table, min(self.max_depth, COMPLETE_DEPTH))
        points = best_points(chains, self._endings, self._keeps_constraints, self.cells)
        for _ in range(COMPLETE_DEPTH, self.max_depth):
            grown = {(*point.chain, rung) for point in points for rung in range(self.table.n_rungs)}
            chains += [chain for chain in sorted(grown) if len(set(chain)) == len(chain)]
            points = best_points(chains, self._endings, self._keeps_constraints, self.cells)
        return points

    def allows_alone(self, rung: int) -> bool:
        """Whether the rung serves every row and, all by itself, keeps the constraints."""
        if not self.table.serves[:, rung].all():
            return False
        means = self._steps((rung,), trust_last=True)[0].totals.mean(axis=0)
        return bool(self._keeps_constraints(means[None, :])[0])

    def _endings(self, chain: tuple[int, ...]) -> Iterator[Ending]:
        """By scores, a chain's two ends: the last answer is trusted, or the best-scored one of all. By beliefs, the
        chain as it is and, where it is short, behind a router."""
        if len(chain) == 1:
            yield Ending(self._steps(chain, trust_last=True), 0.0)
        elif not self.by_beliefs:
            yield Ending(self._steps(chain, trust_last=True), 0.0)
            yield Ending(self._steps(chain, trust_last=False), 1.0)
        elif frozenset(chain) in (self.table.beliefs or {}):
            for routed in (False, True)[: 2 if len(chain) <= ROUTED_DEPTH else 1]:
                yield Ending(self._believed_steps(chain, routed=routed), 0.0, believed=True, routed=routed)

    def _steps(self, chain: tuple[int, ...], *, trust_last: bool) -> list[StepRows]:
        steps = chain_steps(
            self.table,
            chain,
            self.quality,
            trust_last=trust_last,
            latency_limit_ms=self.constraints.latency_p95_ms,
        )
        return self._with_shares(steps, [chain[: depth + 1] for depth in range(len(chain))])

    def _believed_steps(self, chain: tuple[int, ...], *, routed: bool) -> list[StepRows]:
        limit = self.constraints.latency_p95_ms
        steps = believed_steps(self.table, chain, self.quality, routed=routed, latency_limit_ms=limit)
        asked = [chain[: depth + 1] for depth in range(len(chain))]
        return self._with_shares(steps, [chain[-1:], *asked] if routed else asked)

    def _with_shares(self, steps: list[StepRows], asked: Sequence[tuple[int, ...]]) -> list[StepRows]:
        """The steps with one more metric for each capped rung: whether it was among those ``asked`` by then."""
        capped = [self.table.rungs.index(name) for name in self.constraints.max_share]
        reached = [[self.table.serves[:, c] * (c in rungs) for c in capped] for rungs in asked]
        return [
            StepRows(step.score, np.column_stack([step.totals, *shares]))
            for step, shares in zip(steps, reached, strict=True)
        ]

    def _keeps_constraints(self, means: Floats) -> Bools:
        keeps = np.ones(len(means), dtype=np.bool_)
        if self.constraints.latency_p95_ms is not None:
            keeps &= upper_share(means[:, 3], self.table.n_rows, self.alpha) <= LATE_SHARE
        for column, share in enumerate(self.constraints.max_share.values(), start=4):
            reached = means[:, column]  # a chain without the rung never reaches it, however few rows there are
            keeps &= (reached <= 0) | (upper_share(reached, self.table.n_rows, self.alpha) <= share)
        if self.constraints.budget_nanousd is not None:
            bound = upper_cost(means[:, 1], means[:, 2], self.table.n_rows, self.alpha)
            keeps &= bound * NANOUSD_PER_USD <= self.constraints.budget_nanousd
        return np.asarray(keeps)


def chain_list(table: OutcomeTable, max_depth: int) -> list[tuple[int, ...]]:
    """All ordered chains of at most ``max_depth`` rungs that leave no row without an answer."""
    chains = (
        chain
        for depth in range(1, min(max_depth, table.n_rungs) + 1)
        for chain in permutations(range(table.n_rungs), depth)
    )
    served: dict[frozenset[int], bool] = {}
    return [chain for chain in chains if _serves_all(table, frozenset(chain), served)]


def _serves_all(table: OutcomeTable, rungs: frozenset[int], known: dict[frozenset[int], bool]) -> bool:
    if rungs not in known:
        known[rungs] = bool(table.serves[:, sorted(rungs)].any(axis=1).all())
    return known[rungs]


def best_points(
    chains: Iterable[tuple[int, ...]],
    endings: Callable[[tuple[int, ...]], Iterable[Ending]],
    keeps: Callable[[Floats], Bools],
    cells: int = CELLS,
) -> list[Point]:
    """The Pareto front over chains, by rising cost; of equals the shorter chain stays.

    ``endings`` gives a chain's ways through; the first two metrics of their steps are quality and cost in USD.
    ``keeps`` says which combinations (rows of mean metrics) are allowed.
    """
    fronts = [
        _front_of(chain, ending, cells, keeps)
        for chain in sorted(chains, key=lambda chain: (len(chain), chain))
        for ending in endings(chain)
    ]
    if not fronts:
        return []
    cost = np.concatenate([front.cost for front in fronts])
    quality = np.concatenate([front.quality for front in fronts])
    owner = np.repeat(np.arange(len(fronts)), [len(front.cost) for front in fronts])
    position = np.concatenate([np.arange(len(front.cost)) for front in fronts])
    return [fronts[owner[i]].point(int(position[i])) for i in pareto(cost, quality)]


@dataclass(frozen=True)
class _ChainFront:
    """The front of one chain: costs, qualities, and where in the sweep they stand."""

    chain: tuple[int, ...]
    ending: Ending
    swept: Sweep
    cost: Floats
    quality: Floats
    at: Ints

    def point(self, position: int) -> Point:
        thresholds = (*self.swept.thresholds(int(self.at[position])), self.ending.last)
        means = float(self.cost[position]), float(self.quality[position])
        kind = {"believed": self.ending.believed, "routed": self.ending.routed}
        return Point(*means, self.chain, thresholds, **kind)


def _front_of(chain: tuple[int, ...], ending: Ending, cells: int, keeps: Callable[[Floats], Bools]) -> _ChainFront:
    swept = sweep(ending.steps, cells)
    means = swept.means.reshape(-1, swept.means.shape[-1])
    allowed = np.flatnonzero(keeps(means))
    quality, cost = means[allowed, 0], means[allowed, 1] * NANOUSD_PER_USD
    front = pareto(cost, quality)
    swept, ending = replace(swept, means=swept.means[..., :0].copy()), replace(ending, steps=[])
    return _ChainFront(chain, ending, swept, cost[front], quality[front], allowed[front])
