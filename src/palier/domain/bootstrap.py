"""95 % intervals for averages, by the percentile bootstrap (Efron & Tibshirani 1993, chapter 13).

Knows only numbers: what a value means is the caller's business. Price: values are taken as independent, unless the
caller names groups (`grouped_interval`); and where all values are alike, as in a share of 0 or 1, an interval has no
width: then n says how much was seen (of n trials without an event, 3 / n is the upper end).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

_CELLS_PER_BLOCK = 4_000_000
"""Resampled values held at once: bounds memory on long inputs."""


@dataclass(frozen=True, slots=True)
class Interval:
    """A mean over ``n`` values with the ends of its interval."""

    value: float
    low: float
    high: float
    n: int

    def rounded(self, digits: int = 4) -> dict[str, float | int]:
        """As the benchmark files write it."""
        return {
            "value": round(self.value, digits),
            "low": round(self.low, digits),
            "high": round(self.high, digits),
            "n": self.n,
        }


def mean_interval(
    values: Sequence[float] | NDArray[np.floating],
    rng: np.random.Generator,
    samples: int = 1000,
    confidence: float = 0.95,
) -> Interval:
    """Mean of ``values`` and its percentile interval from ``samples`` resamples.

    Raises ValueError on an empty input: an average over nothing is not a number to report.
    """
    data = np.asarray(values, dtype=np.float64)
    if data.size == 0:
        raise ValueError("No values to average: check the filters that led here.")
    means = np.concatenate([data[picks].mean(axis=1) for picks in _resamples(data.size, samples, rng)])
    tail = (1 - confidence) / 2
    low, high = np.quantile(means, [tail, 1 - tail])
    return Interval(float(data.mean()), float(low), float(high), int(data.size))


def statistic_interval(
    n: int,
    statistic: Callable[[NDArray[np.int64]], float],
    rng: np.random.Generator,
    samples: int = 1000,
    confidence: float = 0.95,
) -> Interval:
    """``statistic`` of the rows 0..n-1 and its percentile interval: for what is no average of its rows (an F1, an AUC).

    It is given row numbers, those of a resample with repeats. Resamples where it is not defined (NaN) are left out.
    Raises ValueError without rows.
    """
    if n == 0:
        raise ValueError("No rows to measure: check the filters that led here.")
    drawn = np.array([statistic(rng.integers(0, n, size=n)) for _ in range(samples)])
    value = statistic(np.arange(n))
    if np.isnan(drawn).all():
        return Interval(value, value, value, n)
    tail = (1 - confidence) / 2
    low, high = np.nanquantile(drawn, [tail, 1 - tail])
    return Interval(value, float(low), float(high), n)


def grouped_interval(
    groups: Sequence[object] | NDArray[np.generic],
    statistic: Callable[[NDArray[np.int64]], float],
    rng: np.random.Generator,
    samples: int = 1000,
) -> Interval:
    """`statistic_interval` over whole groups: ``groups`` (n,) names each row's, and the interval's ``n`` counts them.

    For answers to one question, or texts of one family: drawn one by one, rows that are right or wrong together would
    count as so many trials (Davison & Hinkley 1997, section 3.8). Raises ValueError without rows.
    """
    numbers = np.unique(np.asarray(groups), return_inverse=True)[1]
    ends = np.cumsum(np.bincount(numbers))
    rows = np.split(np.argsort(numbers, kind="stable"), ends[:-1])
    return statistic_interval(
        len(ends), lambda drawn: statistic(np.concatenate([rows[group] for group in drawn])), rng, samples
    )


def _resamples(n: int, samples: int, rng: np.random.Generator) -> list[NDArray[np.int64]]:
    """Index blocks of shape (rows, n), rows adding up to ``samples``."""
    rows = max(1, min(samples, _CELLS_PER_BLOCK // n))
    sizes = [rows] * (samples // rows) + ([samples % rows] if samples % rows else [])
    return [rng.integers(0, n, size=(size, n)) for size in sizes]
