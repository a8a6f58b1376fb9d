"""Every combination of thresholds of one chain, in one stroke of numpy.

A chain of k steps accepts at step i when that step's score reaches t_i. With L_i the sum, over rows that were
accepted at none of the steps 1..i, of what going on costs (or brings) beyond stopping at i,

    total(t) = sum of stopping at once  +  sum over i of L_i(t_1..t_i),

and each L_i is a cumulated histogram over the ranks of i scores. So all combinations cost one histogram per
step. Exact over the given candidate thresholds; and where a chain's scores have no more distinct values than
`cells` allows, the candidates are all that can make a difference. Knows nothing of rungs: steps are arrays.
Price paid: where there are more distinct scores, candidates lie at their quantiles: 4,096 for two steps, 64 x
64 for three.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from palier.domain.cascade.outcomes import Floats, Ints

NOT_SERVED = -1.0
"""Score of a row that a step passes over: below every threshold, so never accepted."""


@dataclass(frozen=True)
class StepRows:
    """One step as arrays: ``score`` (n), and ``totals`` (n, M), the metrics of a row if the climb ends here.

    Metrics are anything that adds up over rows: quality, cost so far, cost squared, too-late (0 or 1).
    """

    score: Floats
    totals: Floats


@dataclass(frozen=True)
class Sweep:
    """Means over rows of M metrics, for every combination of thresholds.

    ``means`` has the shape (K_1, ..., K_(k-1), M); ``candidates[i]`` are the K_i thresholds of step i.
    """

    candidates: tuple[Floats, ...]
    means: Floats

    def thresholds(self, flat: int) -> tuple[float, ...]:
        """The thresholds of a position in the flattened combinations."""
        at = np.unravel_index(flat, self.means.shape[:-1])
        return tuple(float(grid[i]) for grid, i in zip(self.candidates, at, strict=True))


def threshold_candidates(score: Floats, most: int) -> Floats:
    """Ascending thresholds within 0..1: all that differ in effect, or ``most`` of them at quantiles.

    The first accepts every served row; the last, 1.0, accepts certainty only. Between, each lies half-way
    between two neighbouring scores, where a new question is least likely to fall on it by chance.
    """
    served = np.sort(score[score >= 0])
    if not len(served):  # a rung that serves none of these rows: any threshold does the same
        return np.array([0.0, 1.0])
    distinct = served[np.append(np.diff(served) > 0, True)]
    middles = distinct[:-1] + np.diff(distinct) / 2
    middles = np.where(middles > distinct[:-1], middles, distinct[1:])
    inner = middles[(middles > 0) & (middles < 1)]
    if len(inner) + 2 > most:
        at = served[np.linspace(0, len(served) - 1, most).astype(np.int64)[1:-1]]
        inner = np.unique(inner[np.clip(np.searchsorted(inner, at), 0, len(inner) - 1)])
    return np.concatenate(([0.0], inner, [1.0]))


def sweep(steps: Sequence[StepRows], cells: int) -> Sweep:
    """Means of all metrics for all threshold combinations; at most about ``cells`` combinations.

    The last step of ``steps`` has no threshold here: its ``totals`` say what a row is worth when no earlier
    step accepted.
    """
    free = steps[:-1]
    n, n_metrics = steps[0].totals.shape
    most = max(3, int(cells ** (1 / len(free)))) if free else 1
    candidates = tuple(threshold_candidates(step.score, most) for step in free)
    shape = tuple(len(grid) for grid in candidates)
    sums = np.broadcast_to(steps[0].totals.sum(axis=0), (*shape, n_metrics)).copy()
    flat = np.zeros(n, dtype=np.int64)
    for depth, step in enumerate(free):
        size = shape[depth] + 1
        flat = flat * size + _rank(step.score, candidates[depth])
        gain = steps[depth + 1].totals - step.totals
        cumulated = _cumulated(flat, gain, tuple(count + 1 for count in shape[: depth + 1]))
        sums += cumulated.reshape(cumulated.shape[:-1] + (1,) * (len(free) - depth - 1) + (n_metrics,))
    return Sweep(candidates, sums / n)


def _rank(score: Floats, candidates: Floats) -> Ints:
    """For each row, the first candidate that does not accept it (``len(candidates)`` when all do)."""
    return np.searchsorted(candidates, score, side="right")


def _cumulated(flat: Ints, gain: Floats, shape: tuple[int, ...]) -> Floats:
    """Sums of ``gain`` over rows not accepted at each combination; shape without each axis' last slot."""
    n_cells = int(np.prod(shape))
    layers = [np.bincount(flat, weights=gain[:, m], minlength=n_cells).reshape(shape) for m in range(gain.shape[1])]
    cumulated = np.stack(layers, axis=-1).astype(np.float64, copy=False)
    for axis in range(len(shape)):
        np.cumsum(cumulated, axis=axis, out=cumulated)
    inner: Floats = cumulated[tuple(slice(0, size - 1) for size in shape)]
    return inner


def pareto(cost: Floats, quality: Floats) -> Ints:
    """Indices of the points that no other point beats, by rising cost; quality rises strictly along them."""
    order = np.lexsort((-quality, cost))
    best = np.maximum.accumulate(quality[order])
    keep = np.append(len(cost) > 0, best[1:] > best[:-1])[: len(cost)]
    front: Ints = order[keep]
    return front
