"""Palier's own policy on recorded outcomes, and what every policy must be able to do.

A policy is a family of operating points, cheap to dear. It is *drawn* from some rows, and any of its points
can be *run* on any rows. Palier's: climb a chain of models until the posterior of the best answer seen
reaches the step's threshold; the final answer is the one believed most, whichever model gave it. Chains and
thresholds are found by the optimiser of `palier.domain.cascade`. Knows beliefs and prices; knows nothing of
test rows: who calls it says which.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import permutations
from typing import Protocol

import numpy as np

from bench.cascade_beliefs import Beliefs
from bench.cascade_data import Floats, Ints
from palier.domain.cascade.guarantee import upper_cost
from palier.domain.cascade.search import Point, best_points
from palier.domain.cascade.sweep import StepRows

CELLS = 4096
USD = 1e9


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
class SetRows:
    """Per row, when a set of answers was seen: the best posterior, that answer's quality, the sum of costs."""

    score: Floats
    quality: Floats
    cost: Floats


class Steps:
    """The beliefs as steps of chains, for every set of answers seen; each set is worked out once."""

    def __init__(self, beliefs: Beliefs) -> None:
        self.beliefs = beliefs
        self._known: dict[frozenset[int], SetRows] = {}

    def at(self, answers: frozenset[int]) -> SetRows:
        """What was believed, right and paid when exactly ``answers`` were seen."""
        if answers not in self._known:
            data, models = self.beliefs.data, np.array(sorted(answers))
            posterior = self.beliefs.posterior(answers)
            best = models[posterior.argmax(axis=1)]
            self._known[answers] = SetRows(
                np.clip(posterior.max(axis=1), 0.0, 1.0),
                data.correct[np.arange(data.n_rows), best],
                data.cost[:, models].sum(axis=1),
            )
        return self._known[answers]


@dataclass(frozen=True)
class Climb:
    """A chain with its thresholds."""

    steps: Steps
    point: Point

    def run(self, rows: Ints) -> Outcome:
        n = len(rows)
        quality, cost, still = np.zeros(n), np.zeros(n), np.ones(n, dtype=np.bool_)
        for depth in range(1, len(self.point.chain) + 1):
            seen = self.steps.at(frozenset(self.point.chain[:depth]))
            quality[still], cost[still] = seen.quality[rows][still], seen.cost[rows][still]
            still &= seen.score[rows] < self.point.thresholds[depth - 1]
        return Outcome(quality, cost)


@dataclass(frozen=True)
class Palier:
    """All ordered chains up to ``max_depth``, all thresholds; or ``only`` some chains."""

    steps: Steps
    max_depth: int = 3
    name: str = "palier"
    only: tuple[tuple[int, ...], ...] | None = None

    @cached_property
    def chains(self) -> list[tuple[int, ...]]:
        if self.only is not None:
            return list(self.only)
        models = range(self.steps.beliefs.data.n_models)
        depths = range(1, min(self.max_depth, len(models)) + 1)
        return [chain for depth in depths for chain in permutations(models, depth)]

    def draw(self, rows: Ints) -> list[Climb]:
        return [Climb(self.steps, point) for point in self.points(rows)]

    def points(self, rows: Ints) -> list[Point]:
        """The front over ``rows``; costs in nano-dollars."""
        return best_points(self.chains, lambda chain: self._endings(chain, rows), lambda means: means[:, 1] >= 0, CELLS)

    def _endings(self, chain: tuple[int, ...], rows: Ints) -> Iterator[tuple[list[StepRows], float]]:
        steps = []
        for depth in range(1, len(chain) + 1):
            seen = self.steps.at(frozenset(chain[:depth]))
            totals = np.stack([seen.quality[rows], seen.cost[rows]], axis=1)
            steps.append(StepRows(seen.score[rows], totals))
        yield steps, 0.0


def upper(cost: Floats, alpha: float) -> float:
    """One-sided upper bound of the mean of ``cost`` at confidence 1 - alpha."""
    mean, squared = np.array(cost.mean()), np.array((cost**2).mean())
    return float(upper_cost(mean, squared, len(cost), alpha))
