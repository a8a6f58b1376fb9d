"""Palier's own policy on recorded outcomes, and what every policy must be able to do.

A policy is a family of operating points, cheap to dear. It is *drawn* from some rows, and any of its points
can be *run* on any rows. Palier's: climb a chain of models until going on is not worth it; the final answer is the
one believed most, whichever model gave it. When that is, is a strategy: "trust" looks at P(the best answer seen is
right), "lead" at how far that is ahead of what the chain's last model promises for this question (where that
one would fail too, climbing buys nothing), "gain" at what calling it is learnt to change. A chain may be routed:
questions that promise most of its last model go there at once, without the cheap ones. Chains and thresholds, the
router's among them, are found by the optimiser of `palier.domain.cascade`. Knows beliefs and prices; knows nothing of
test rows: who calls it says which.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import permutations
from typing import Literal, Protocol

import numpy as np

from bench.cascade_data import Floats, Ints
from bench.cascade_gains import Gains, final_quality
from palier.adapters.beliefs.learning import Beliefs
from palier.domain.cascade.guarantee import upper_cost
from palier.domain.cascade.search import Ending, Point, best_points
from palier.domain.cascade.sweep import StepRows

CELLS = 4096
USD = 1e9
Strategy = Literal["trust", "lead", "gain"]


@dataclass(frozen=True)
class Outcome:
    """What a policy did on some rows: quality 0..1 and cost in USD per row."""

    quality: Floats
    cost: Floats


class Operating(Protocol):
    """One operating point of a policy."""

    def run(self, rows: Ints) -> Outcome: ...


class Policy(Protocol):
    """A family of operating points, drawn from rows by rising cost."""

    @property
    def name(self) -> str: ...

    def draw(self, rows: Ints) -> Sequence[Operating]: ...


@dataclass(frozen=True)
class StepAt:
    """Per row, one step of a way: how little there is to gain by going on (0..1), and quality and sum of costs if the
    way ends here."""

    content: Floats
    quality: Floats
    cost: Floats


Way = tuple[int, ...]
"""A chain of models; one that begins with ROUTED may be left for its last model before the first call."""
ROUTED = -1
ROUTED_DEPTH = 2
"""Longer chains are not routed: four thresholds over a few thousand rows would choose chance."""


class Steps:
    """The beliefs as steps of ways; what a set of answers was worth is worked out once."""

    def __init__(self, beliefs: Beliefs, strategy: Strategy = "lead", gains: Gains | None = None) -> None:
        self.beliefs = beliefs
        self.strategy = strategy
        self.gains = gains
        self._worth: dict[frozenset[int], tuple[Floats, Floats]] = {}

    def along(self, way: Way) -> list[StepAt]:
        """What stopping after each step of ``way`` means; the step of a router comes first and asks nobody."""
        routed, chain = way[0] == ROUTED, way[1:] if way[0] == ROUTED else way
        steps = [self._direct(chain)] if routed else []
        for depth in range(len(chain)):
            seen = frozenset(chain[: depth + 1])
            quality, cost = self._worth_of(seen)
            steps.append(StepAt(self._content(seen, chain[-1]), quality, cost))
        return steps

    def _worth_of(self, seen: frozenset[int]) -> tuple[Floats, Floats]:
        """Quality of the answer believed most, and the sum of costs."""
        if seen not in self._worth:
            cost = self.beliefs.data.cost[:, sorted(seen)].sum(axis=1)
            self._worth[seen] = final_quality(self.beliefs, seen), cost
        return self._worth[seen]

    def _content(self, seen: frozenset[int], last: int) -> Floats:
        trust = np.clip(self.beliefs.posterior(seen).max(axis=1), 0.0, 1.0)
        if self.strategy == "trust" or last in seen:
            return trust
        if self.strategy == "lead":
            return (1 + trust - self.beliefs.prior[:, last]) / 2
        assert self.gains is not None
        return (1 - self.gains.of(seen, last)) / 2

    def _direct(self, chain: Sequence[int]) -> StepAt:
        """The router: content to go to the last model at once where it promises most beyond the first."""
        prior, data, last = self.beliefs.prior, self.beliefs.data, chain[-1]
        content = (1 + prior[:, last] - prior[:, chain[0]]) / 2
        return StepAt(content, data.correct[:, last], data.cost[:, last])


@dataclass(frozen=True)
class Climb:
    """A way with its thresholds."""

    steps: Steps
    point: Point

    def run(self, rows: Ints) -> Outcome:
        n = len(rows)
        quality, cost, still = np.zeros(n), np.zeros(n), np.ones(n, dtype=np.bool_)
        for step, threshold in zip(self.steps.along(self.point.chain), self.point.thresholds, strict=True):
            quality[still], cost[still] = step.quality[rows][still], step.cost[rows][still]
            still &= step.content[rows] < threshold
        return Outcome(quality, cost)


@dataclass(frozen=True)
class Palier:
    """All ordered chains of useful models up to ``max_depth``, routed or not, all thresholds; or ``only`` some ways."""

    steps: Steps
    max_depth: int = 3
    name: str = "palier"
    only: tuple[Way, ...] | None = None

    @cached_property
    def ways(self) -> list[Way]:
        if self.only is not None:
            return list(self.only)
        models = self.steps.beliefs.useful
        depths = range(1, min(self.max_depth, len(models)) + 1)
        chains = [chain for depth in depths for chain in permutations(models, depth)]
        return chains + [(ROUTED, *chain) for chain in chains if 1 < len(chain) <= ROUTED_DEPTH]

    def draw(self, rows: Ints) -> list[Climb]:
        return [Climb(self.steps, point) for point in self.points(rows)]

    def points(self, rows: Ints) -> list[Point]:
        """The front over ``rows``; costs in nano-dollars."""
        return best_points(self.ways, lambda way: self._endings(way, rows), lambda means: means[:, 1] >= 0, CELLS)

    def _endings(self, way: Way, rows: Ints) -> Iterator[Ending]:
        steps = [
            StepRows(step.content[rows], np.stack([step.quality[rows], step.cost[rows]], axis=1))
            for step in self.steps.along(way)
        ]
        yield Ending(steps, 0.0)


def upper(cost: Floats, alpha: float) -> float:
    """One-sided upper bound of the mean of ``cost`` at confidence 1 - alpha."""
    mean, squared = np.array(cost.mean()), np.array((cost**2).mean())
    return float(upper_cost(mean, squared, len(cost), alpha))
