"""Tests by betting: evidence that may be looked at after every observation, and acted on at once.

A bettor stakes a share of their wealth, chosen from the past only, against a null hypothesis about the mean
of what comes next. If the null is true no bet is worth anything, so the wealth is a nonnegative
supermartingale that starts at 1, and by Ville's inequality it ever reaches 1/alpha with a probability of
alpha at most, however often one looks. I. Waudby-Smith and A. Ramdas, "Estimating means of bounded random
variables by betting", JRSS B 86 (2024): section 4 (the capital process), appendix B (the bet: an
approximation of the one that grows fastest, "aGRAPA").

Knows nothing of rollouts. The price of looking at will: about half again as many observations as a test that
looks once, at a size fixed before.
"""

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

Series = NDArray[np.float64]

BET_CAP = 0.85
"""Largest share of the wealth that one observation may cost. 0.5 and 0.75 are the paper's; larger is faster
where nothing ever fails and slower where something does (docs/decisions/0004-rollout-statistics.md)."""

_PRIOR_VARIANCE = 0.25
_LARGEST_E_VALUE = 1e12  # what is stored stays a JSON number


def log_wealth(values: ArrayLike, null_mean: ArrayLike, bet_cap: float = BET_CAP) -> Series:
    """Logarithm of the wealth after each observation, (n,), against "the mean is ``null_mean`` or less".

    ``values`` (n,) lie in [-1, 1]; NaN is an observation that says nothing and is not bet on. ``null_mean``
    in [-1, 1] is a number, or (n,) numbers of which each was known before its observation. The null is
    E[value_t | past] <= null_mean_t for every t. Raises ValueError for values out of bounds.
    """
    x = np.asarray(values, dtype=np.float64)
    null = np.broadcast_to(np.asarray(null_mean, dtype=np.float64), x.shape)
    known = ~np.isnan(x)
    if np.any(np.abs(x[known]) > 1 + 1e-9):
        raise ValueError(f"Values must lie in [-1, 1], got {x[known].min()} to {x[known].max()}.")
    gains = np.zeros(x.shape)
    gains[known] = _gains(x[known], null[known], bet_cap)
    return np.asarray(np.cumsum(gains), dtype=np.float64)


def _gains(x: Series, null: Series, bet_cap: float) -> Series:
    """Log growth of each bet. The stake maximises (approximately) the expected growth under what was seen
    before; at ``bet_cap / (1 + null)`` the worst value, -1, costs ``bet_cap`` of the wealth."""
    mean, variance = _past_moments(x)
    edge = mean - null
    stake = np.clip(edge / (variance + edge**2), 0.0, bet_cap / np.maximum(1.0 + null, 1e-9))
    return np.asarray(np.log1p(stake * (x - null)), dtype=np.float64)


def _past_moments(x: Series) -> tuple[Series, Series]:
    """Mean and variance of all values *before* each one, with one imagined value of 0 and its variance
    ahead."""
    counts = np.arange(1, len(x) + 1, dtype=np.float64)
    running_mean = np.cumsum(x) / (counts + 1.0)
    squares = _PRIOR_VARIANCE + np.cumsum((x - running_mean) ** 2)
    mean, variance = np.zeros(len(x)), np.full(len(x), _PRIOR_VARIANCE)
    mean[1:] = running_mean[:-1]
    variance[1:] = squares[:-1] / (counts[:-1] + 1.0)
    return mean, variance


def e_value(log_value: float) -> float:
    """A wealth as a plain number, held at 1e12."""
    return float(min(np.exp(min(log_value, 30.0)), _LARGEST_E_VALUE))


def evidence_of_more(values: ArrayLike, bound: ArrayLike, **options: Any) -> Series:
    """Log evidence, (n,), that the mean of ``values`` is above ``bound``."""
    return log_wealth(values, bound, **options)


def evidence_of_less(values: ArrayLike, bound: ArrayLike, **options: Any) -> Series:
    """Log evidence, (n,), that the mean of ``values`` is below ``bound``."""
    return log_wealth(-np.asarray(values, dtype=np.float64), -np.asarray(bound, dtype=np.float64), **options)


def best_so_far(log_values: Series) -> Series:
    """The most evidence that there ever was, (n,): what Ville's inequality bounds."""
    return np.asarray(np.maximum.accumulate(log_values), dtype=np.float64)


def standing(log_values: Series) -> Series:
    """The most evidence so far, as long as it has not all been lost again (a wealth below 1); then the
    present.

    Never more than `best_so_far`, so as safe; what comes later can still take back what was shown early.
    """
    return np.asarray(np.where(log_values >= 0.0, best_so_far(log_values), log_values), dtype=np.float64)
