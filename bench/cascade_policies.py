"""Palier's own policy on recorded outcomes, and what every policy must be able to do.

A policy is a family of operating points, cheap to dear. It is *drawn* from some rows, and any of its points
can be *run* on any rows. Palier's: climb a chain of models until the posterior of the best answer seen
reaches the step's threshold; the final answer is the one believed most, whichever model gave it. Chains and
thresholds are found by the optimiser of `palier.domain.cascade`. A chain may skip: its first model for questions that
look too hard for it, or its middle one where the first answer is believed so little that only the last can help.
Knows beliefs and prices; knows nothing of test rows: who calls it says which.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import permutations
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from bench.cascade_beliefs import Beliefs
from bench.cascade_data import Floats, Ints
from palier.domain.cascade.guarantee import upper_cost
from palier.domain.cascade.search import Point, best_points
from palier.domain.cascade.sweep import NOT_SERVED, StepRows

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


Way = tuple[int, ...]
"""A chain of models; a negative number at its end names a skip: -1 - its place in SKIPS."""


@dataclass(frozen=True)
class Skip:
    """Step ``step`` is left out for the ``share`` of questions where it promises least."""

    step: int
    share: float


SKIPS = (Skip(0, 0.2), Skip(0, 0.45), Skip(1, 0.2), Skip(1, 0.45), Skip(0, 0.7), Skip(0, 0.8), Skip(0, 0.9))
FEW_MODELS, N_COARSE = 4, 4
"""With few models all skips are tried (the last ones make it nearly a router), with more only the first four."""


def split_way(way: Way) -> tuple[tuple[int, ...], Skip | None]:
    """The chain and the skip of a way."""
    return (way[:-1], SKIPS[-1 - way[-1]]) if way[-1] < 0 else (way, None)


class Steps:
    """The beliefs as steps of chains, for every set of answers seen; each set is worked out once."""

    def __init__(self, beliefs: Beliefs) -> None:
        self.beliefs = beliefs
        self._known: dict[frozenset[int], SetRows] = {}

    def at(self, answers: frozenset[int]) -> SetRows:
        """What was believed, right and paid when exactly ``answers`` were seen; never enough when there are none."""
        if not answers:
            none = np.zeros(self.beliefs.data.n_rows)
            return SetRows(none + NOT_SERVED, none, none)
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

    def along(self, way: Way) -> list[SetRows]:
        """What was seen after each step of ``way``; a skipped step adds nothing and never suffices."""
        chain, skip = split_way(way)
        if skip is None:
            return [self.at(frozenset(chain[: depth + 1])) for depth in range(len(chain))]
        skipped = self._skips(chain, skip)
        without = [model for at, model in enumerate(chain) if at != skip.step]
        found = []
        for depth in range(len(chain)):
            all_seen = self.at(frozenset(chain[: depth + 1]))
            fewer = self.at(frozenset(without[: depth + (depth < skip.step)]))
            score = NOT_SERVED if depth == skip.step else fewer.score
            found.append(
                SetRows(
                    np.where(skipped, score, all_seen.score),
                    np.where(skipped, fewer.quality, all_seen.quality),
                    np.where(skipped, fewer.cost, all_seen.cost),
                )
            )
        return found

    def _skips(self, chain: Sequence[int], skip: Skip) -> NDArray[np.bool_]:
        """(n): the share of rows where the skipped step promises least; the cut comes from training rows."""
        prior, train = self.beliefs.prior, self.beliefs.fold_of_row < self.beliefs.n_folds
        promise = prior[:, chain[0]] - prior[:, chain[-1]] if skip.step == 0 else self.at(frozenset(chain[:1])).score
        return promise < np.quantile(promise[train], skip.share)


@dataclass(frozen=True)
class Climb:
    """A chain with its skip and its thresholds."""

    steps: Steps
    point: Point

    def run(self, rows: Ints) -> Outcome:
        n = len(rows)
        quality, cost, still = np.zeros(n), np.zeros(n), np.ones(n, dtype=np.bool_)
        for seen, threshold in zip(self.steps.along(self.point.chain), self.point.thresholds, strict=True):
            quality[still], cost[still] = seen.quality[rows][still], seen.cost[rows][still]
            still &= seen.score[rows] < threshold
        return Outcome(quality, cost)


@dataclass(frozen=True)
class Palier:
    """All ordered chains and skips up to ``max_depth``, all thresholds; or ``only`` some chains."""

    steps: Steps
    max_depth: int = 3
    name: str = "palier"
    only: tuple[Way, ...] | None = None

    @cached_property
    def ways(self) -> list[Way]:
        if self.only is not None:
            return list(self.only)
        models = range(self.steps.beliefs.data.n_models)
        depths = range(1, min(self.max_depth, len(models)) + 1)
        chains = [chain for depth in depths for chain in permutations(models, depth)]
        tried = SKIPS if len(models) <= FEW_MODELS else SKIPS[:N_COARSE]
        skips = [(*chain, -1 - at) for chain in chains for at, skip in enumerate(tried) if skip.step < len(chain) - 1]
        return chains + skips

    def draw(self, rows: Ints) -> list[Climb]:
        return [Climb(self.steps, point) for point in self.points(rows)]

    def points(self, rows: Ints) -> list[Point]:
        """The front over ``rows``; costs in nano-dollars."""
        return best_points(self.ways, lambda chain: self._endings(chain, rows), lambda means: means[:, 1] >= 0, CELLS)

    def _endings(self, way: Way, rows: Ints) -> Iterator[tuple[list[StepRows], float]]:
        yield (
            [
                StepRows(seen.score[rows], np.stack([seen.quality[rows], seen.cost[rows]], axis=1))
                for seen in self.steps.along(way)
            ],
            0.0,
        )


def upper(cost: Floats, alpha: float) -> float:
    """One-sided upper bound of the mean of ``cost`` at confidence 1 - alpha."""
    mean, squared = np.array(cost.mean()), np.array((cost**2).mean())
    return float(upper_cost(mean, squared, len(cost), alpha))
