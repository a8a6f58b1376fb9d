"""Champion and challenger side by side: ledger rows become comparisons, and comparisons become losses per
metric.

A loss says how much worse the challenger did, from -1 (far better) to 1 (far worse). Two kinds of comparison:

* shadow: one request, answered by both (the same question, so much of the noise cancels);
* canary: arrivals in order. A challenger request stands against the mean of the champion requests since the last
  comparison, or, if there were none, against the next one: at a share of 0.2 against four of the same hour.

Which requests are compared depends on the assignment alone, never on how a request went, so each loss is fair given the
past. Knows nothing of verdicts and phases.
"""

from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from palier.domain.sequential import Series

Metric = Literal["errors", "quality", "silence", "latency", "cost"]
METRICS: tuple[Metric, ...] = ("errors", "quality", "silence", "latency", "cost")

COST_CAP = 10
"""A cost counts up to this multiple of the champion's mean cost: the test needs bounded values."""
COST_WARM_UP = 20
"""Champion requests that this mean is taken from; costs are not judged before."""


@dataclass(frozen=True, slots=True)
class Observation:
    """What a rollout is judged by: one ledger row without its texts. ``arm`` is champion, challenger or
    shadow. ``is_silent``: the caller was told "I don't know", or refused by a guard."""

    request_id: str
    arm: str
    created_at: datetime
    score: float | None
    is_error: bool
    is_silent: bool
    latency_ms: float
    cost_nanousd: int


@dataclass(frozen=True, slots=True)
class Comparison:
    """One challenger request, or shadow copy, and the one or more champion requests that it is held
    against."""

    champion: tuple[Observation, ...]
    challenger: Observation


@dataclass(frozen=True, slots=True)
class Losses:
    """One metric over all comparisons: ``losses`` (n,) in [-1, 1], NaN where nothing can be said; ``margins``
    (n,) is how large their mean may be. The means are of the plain values, each request counted once."""

    losses: Series
    margins: Series
    champion_mean: float | None
    challenger_mean: float | None


def compare(observations: Iterable[Observation], canary_started_at: datetime | None) -> list[Comparison]:
    """All comparisons, in the order in which they became complete.

    ``observations`` are in order of arrival. Requests from before ``canary_started_at`` are compared with
    their shadow copies, later ones with the other arm's neighbours: the time of the request decides, so that
    no request is ever used twice.
    """
    comparisons: list[Comparison] = []
    halves: dict[str, Observation] = {}
    champions: list[Observation] = []
    challengers: deque[Observation] = deque()
    for seen in observations:
        if canary_started_at is None or seen.created_at < canary_started_at:
            other = halves.pop(seen.request_id, None)
            if other is None:
                halves[seen.request_id] = seen
            else:
                champion, shadow = (other, seen) if seen.arm == "shadow" else (seen, other)
                comparisons.append(Comparison((champion,), shadow))
        elif seen.arm != "shadow":
            (challengers if seen.arm == "challenger" else champions).append(seen)
            if champions and challengers:
                comparisons.append(Comparison(tuple(champions), challengers.popleft()))
                champions = []
    return comparisons


def losses_of(metric: Metric, comparisons: Sequence[Comparison], margin: float, latency_slo_ms: float) -> Losses:
    """The losses of one metric; see `Losses`. ``margin`` is a share, for costs of the champion's mean
    cost."""
    value = _READERS[metric]
    slo = latency_slo_ms
    champion = np.array([value(seen, slo) for pair in comparisons for seen in pair.champion], dtype=np.float64)
    challenger = np.array([value(pair.challenger, slo) for pair in comparisons], dtype=np.float64)
    sizes = np.array([len(pair.champion) for pair in comparisons], dtype=np.int64)
    if metric == "cost":
        losses, margins = _cost_losses(champion, sizes, challenger, margin)
    else:
        difference = challenger - _means(champion, sizes)
        losses = -difference if metric == "quality" else difference
        margins = np.full(len(comparisons), margin)
    return Losses(losses, margins, _known_mean(champion), _known_mean(challenger))


def _score(seen: Observation, _slo_ms: float) -> float:
    """An error is worth nothing; an answer that nobody scored says nothing. What is withheld keeps its score: how
    much is withheld is a metric of its own."""
    return 0.0 if seen.is_error else float("nan") if seen.score is None else seen.score


_READERS: dict[Metric, Callable[[Observation, float], float]] = {
    "errors": lambda seen, _slo_ms: float(seen.is_error),
    "quality": _score,
    "silence": lambda seen, _slo_ms: float(seen.is_silent),
    "latency": lambda seen, slo_ms: float(seen.latency_ms > slo_ms),
    "cost": lambda seen, _slo_ms: float(seen.cost_nanousd),
}


def _means(values: Series, sizes: NDArray[np.int64]) -> Series:
    """The mean of each run of ``sizes`` (n,) values, (n,)."""
    return np.add.reduceat(values, _starts(sizes)) / sizes if len(sizes) else values


def _starts(sizes: NDArray[np.int64]) -> NDArray[np.int64]:
    return np.concatenate([np.zeros(1, dtype=np.int64), np.cumsum(sizes)[:-1]])


def _known_mean(values: Series) -> float | None:
    known = values[~np.isnan(values)]
    return float(known.mean()) if len(known) else None


def _cost_losses(
    champion: Series, sizes: NDArray[np.int64], challenger: Series, margin: float
) -> tuple[Series, Series]:
    """Costs as shares of a cap, `COST_CAP` times the mean of the champion's first requests, and cut there.

    The margin follows the champion's mean (cut) cost as it was known before each comparison. A champion that
    costs nothing is taken to cost one nano-dollar.
    """
    n = len(sizes)
    n_before = _starts(sizes) if n else sizes
    first = int(np.searchsorted(n_before, COST_WARM_UP))
    if first >= n:
        return np.full(n, np.nan), np.zeros(n)
    cap = COST_CAP * max(float(champion[: n_before[first]].mean()), 1.0)
    cut = np.minimum(champion, cap)
    mean_before = np.concatenate([[0.0], np.cumsum(cut)])[n_before] / np.maximum(n_before, 1)
    losses = (np.minimum(challenger, cap) - _means(cut, sizes)) / cap
    losses[:first] = np.nan
    return losses, np.minimum(margin * np.maximum(mean_before, 1.0) / cap, 0.99)
