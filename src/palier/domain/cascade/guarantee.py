"""How sure we may be that a cascade is not worse than the reference by more than a margin.

Paired differences d = quality(cascade) - quality(reference), each within -1..1. The lower bound is Student's,
after the correction of conformal risk control (Angelopoulos et al. 2022, section 2): one more row with the
worst possible loss, d = -1, is counted among the n. With few rows that row weighs much, which is the point.
Candidates are tested in a fixed order, from careful to cheap, until the first fails (Learn then Test,
Angelopoulos et al. 2021, fixed-sequence testing), so that having many candidates costs no confidence. Price
paid: Student's bound is asymptotic; betting bounds would be exact and lose about a third of the saving; the
cascade benchmark counts violations instead.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

from palier.domain.cascade.outcomes import Floats

WORST = -1.0


@dataclass(frozen=True, slots=True)
class Guarantee:
    """``met``: with probability 1 - alpha the quality is at least the reference's minus ``margin``.

    ``bound`` is the lower bound of the mean difference, ``difference`` its estimate, over ``n`` rows.
    """

    margin: float
    alpha: float
    n: int
    met: bool
    bound: float
    difference: float
    method: str = "cross-fitted paired differences, worst row added, Student lower bound, fixed-sequence testing"


@dataclass(frozen=True, slots=True)
class Estimate:
    """A mean over ``n`` rows and its 95 % interval."""

    value: float
    low: float
    high: float
    n: int


def lower_bound(difference: Floats, alpha: float, n_new: float = np.inf) -> float:
    """One-sided lower bound of the mean of ``difference`` (values in -1..1) at confidence 1 - alpha.

    It bounds the mean of ``n_new`` new rows, which have chance of their own; of all there will ever be, if not told.
    """
    widened = np.append(difference, WORST)
    n = len(widened)
    spread = float(widened.std(ddof=1)) * np.sqrt(1 / n + 1 / n_new)
    return float(max(WORST, widened.mean() - stats.t.ppf(1 - alpha, n - 1) * spread))


def upper_cost(mean: Floats, mean_squared: Floats, n: int, alpha: float) -> Floats:
    """One-sided upper bounds of mean costs from first and second moments over ``n`` rows."""
    variance = np.maximum(mean_squared - mean**2, 0.0) * (n / max(1, n - 1))
    return np.asarray(mean + stats.t.ppf(1 - alpha, max(1, n - 1)) * np.sqrt(variance / n))


def upper_share(share: Floats, n: int, alpha: float) -> Floats:
    """One-sided upper bounds of shares seen among ``n`` rows (Wilson 1927): above zero even where none was seen."""
    z = float(stats.norm.ppf(1 - alpha))
    centre, spread = share + z**2 / (2 * n), z * np.sqrt(np.maximum(share * (1 - share), 0.0) / n + (z / (2 * n)) ** 2)
    return np.asarray(np.minimum((centre + spread) / (1 + z**2 / n), 1.0))


def longest_proven(differences: Sequence[Floats], margin: float, alpha: float, n_new: float = np.inf) -> int:
    """How many candidates, tested in the given order, are proven before the first that is not; see `lower_bound`."""
    for position, difference in enumerate(differences):
        if lower_bound(difference, alpha, n_new) < -margin:
            return position
    return len(differences)


def mean_estimate(values: Floats) -> Estimate:
    """Mean with a Student 95 % interval; an infinite one for fewer than two rows."""
    n = len(values)
    if n < 2:
        return Estimate(float(values.mean()), -np.inf, np.inf, n)
    half = float(stats.t.ppf(0.975, n - 1) * values.std(ddof=1) / np.sqrt(n))
    mean = float(values.mean())
    return Estimate(mean, mean - half, mean + half, n)
