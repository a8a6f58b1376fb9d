"""How far scores that promise a quality lie from what comes, over bins of equal count."""

import numpy as np
from numpy.typing import NDArray

N_BINS = 10
ROWS_PER_BIN = 10

Floats = NDArray[np.float64]


def score_bins(scores: Floats) -> list[NDArray[np.int64]]:
    """Row numbers by rising score, in bins of equal count: ten, or as many as have ten rows each, or one.

    Equal scores are in one bin, or the order of the rows would be taken for an error: bins may be larger, and fewer.
    """
    n_bins = min(N_BINS, max(1, len(scores) // ROWS_PER_BIN))
    order = np.argsort(scores, kind="stable")
    ends = np.cumsum([len(part) for part in np.array_split(order, n_bins)])[:-1]
    rising = scores[order]
    parts = np.split(order, np.unique(np.searchsorted(rising, rising[ends - 1], side="right")))
    return [rows for rows in parts if len(rows)]


def calibration_error(scores: Floats, quality: Floats) -> float:
    """ECE: the mean distance of a bin's mean score from its mean quality (both 0 to 1), weighted by rows."""
    gaps = [abs(scores[rows].mean() - quality[rows].mean()) * len(rows) for rows in score_bins(scores)]
    return float(sum(gaps) / len(scores))


def calibration_error_by_chance(scores: Floats, quality: Floats) -> float:
    """The ECE to expect of scores that are right in the mean of every bin, since quality scatters about them.

    A normal variable is sqrt(2 / pi) standard deviations away from its mean, on average. An ECE near this is no
    finding; more rows are the only remedy. Rows count as independent: where several answer one question, or ask about
    one article, chance does more.
    """
    noise = [_deviation(quality[rows] - scores[rows]) * len(rows) ** 0.5 for rows in score_bins(scores)]
    return float(sum(noise) * (2 / np.pi) ** 0.5 / len(scores))


def _deviation(values: Floats) -> float:
    """The sample's standard deviation; 0 of a single value."""
    return float(values.std(ddof=1)) if len(values) > 1 else 0.0
