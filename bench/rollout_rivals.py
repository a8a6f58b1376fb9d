"""Other people's rollout rules, re-implemented from their public documentation for the rollout benchmark.

Each takes traffic and gives ("rolled_back" | "promoted" | "inconclusive", served requests until then). They are
given what they ask for: thresholds that fit the champion (its true mean less the margin), which our rule is not told.
Where a rule works by the clock, one request a second is assumed. No line here is theirs, and none of their other
features (webhooks, manual gates, mesh routing) is judged.
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from scipy.stats import mannwhitneyu, norm

from bench.rollout_traffic import SLO_MS, Outcomes, Traffic

Column = NDArray[np.float64]
Rival = Callable[[Traffic], tuple[str, int]]

SCORE_MARGIN = 0.05
INTERVAL = 60
"""Requests between two checks of the rules that work by the clock (their usual interval is a minute)."""


def naive_z(traffic: Traffic, level: float = 0.05, n_first: int = 20, n_last: int = 460) -> tuple[str, int]:
    """Half the traffic each; after every request a one-sided z-test on score and errors at 5 %; the first p below
    it sends the challenger back. What people do who watch a dashboard. Promoted at ``n_last`` requests."""
    n = min(n_last, len(traffic.keys))
    is_challenger = np.arange(n) % 2 == 1
    critical = float(norm.ppf(1 - level))
    alarms = np.zeros(n, dtype=np.bool_)
    for sign, name in ((1.0, "score"), (-1.0, "is_error")):
        values = sign * np.where(is_challenger, _column(traffic.challenger, name)[:n], _column(traffic.champion, name)[:n])
        alarms |= _running_z(values, is_challenger) > critical
    alarms[:n_first] = False
    return ("rolled_back", int(alarms.argmax()) + 1) if alarms.any() else ("promoted", n)


def _running_z(values: Column, is_challenger: NDArray[np.bool_]) -> Column:
    """z of (champion - challenger) after each request; 0 while a side has fewer than two or no variance."""
    means, variances = [], []
    for side in (~is_challenger, is_challenger):
        count = np.maximum(np.cumsum(side), 1)
        mean = np.cumsum(np.where(side, values, 0.0)) / count
        square = np.cumsum(np.where(side, values**2, 0.0)) / count
        means.append(mean)
        variances.append(np.maximum(square - mean**2, 0.0) / count)
    spread = np.sqrt(variances[0] + variances[1])
    return np.divide(means[0] - means[1], spread, out=np.zeros_like(spread), where=spread > 0)


def flagger(traffic: Traffic, threshold: int = 5, step: float = 0.1, top: float = 0.5) -> tuple[str, int]:
    """Weights 10 %, 20 % ... 50 %. At each interval: success rate at least 99 %, 99th percentile of latency within
    the objective (a champion that is slower gets the objective that it keeps), mean score over its threshold. Each
    failed check is counted and holds the weight; at five the canary is sent back."""
    slo = max(SLO_MS, float(np.quantile(traffic.champion.latency_ms, 0.99)) * 1.25)
    floor = float(traffic.champion.score.mean()) - SCORE_MARGIN
    n_failed, weight, at = 0, step, 0
    rng = _assignment(traffic)
    while at + INTERVAL <= len(traffic.keys):
        rows = np.arange(at, at + INTERVAL)[rng.random(INTERVAL) < weight]
        at += INTERVAL
        if not len(rows):
            continue
        seen = traffic.challenger.take(rows)
        is_healthy = 1 - seen.is_error.mean() >= 0.99 and np.quantile(seen.latency_ms, 0.99) <= slo
        if not (is_healthy and seen.score.mean() >= floor):
            n_failed += 1
            if n_failed >= threshold:
                return "rolled_back", at
            continue
        weight += step
        if weight > top + 1e-9:
            return "promoted", at
    return "inconclusive", at


def argo(traffic: Traffic, failure_limit: int = 3) -> tuple[str, int]:
    """Steps of 20 % and 50 %, five intervals each, with an analysis in the background: success rate at least 95 %,
    mean score over its threshold. More than ``failure_limit`` failed measurements of one metric abort."""
    floor = float(traffic.champion.score.mean()) - SCORE_MARGIN
    failures = {"success": 0, "score": 0}
    rng = _assignment(traffic)
    for number in range(10):
        at = number * INTERVAL
        rows = np.arange(at, at + INTERVAL)[rng.random(INTERVAL) < (0.2 if number < 5 else 0.5)]
        if not len(rows):
            continue
        seen = traffic.challenger.take(rows)
        failures["success"] += bool(1 - seen.is_error.mean() < 0.95)
        failures["score"] += bool(seen.score.mean() < floor)
        if max(failures.values()) > failure_limit:
            return "rolled_back", at + INTERVAL
    return "promoted", 10 * INTERVAL


def kayenta(traffic: Traffic, passing: float = 95.0, marginal: float = 75.0) -> tuple[str, int]:
    """A baseline and a canary of the same size (half each here), judged on all data so far at five intervals. Per
    metric a Mann-Whitney U test at 98 % confidence in the direction that hurts; the score is the share of metrics
    that pass. Below 75 it fails at once; at the end 95 is needed."""
    score = 100.0
    for number in range(1, 6):
        n = number * 2 * INTERVAL
        is_challenger = np.arange(n) % 2 == 1
        verdicts = [
            _is_unharmed(sign * _column(traffic.champion, name)[:n][~is_challenger],
                         sign * _column(traffic.challenger, name)[:n][is_challenger])
            for sign, name in ((1.0, "score"), (-1.0, "is_error"), (-1.0, "latency_ms"), (-1.0, "cost_nanousd"))
        ]
        score = 100.0 * float(np.mean(verdicts))
        if score < marginal:
            return "rolled_back", n
    return ("promoted" if score >= passing else "rolled_back"), 10 * INTERVAL


def _is_unharmed(baseline: Column, canary: Column, confidence: float = 0.98) -> bool:
    if np.ptp(np.concatenate([baseline, canary])) == 0:
        return True
    return bool(mannwhitneyu(baseline, canary, alternative="greater").pvalue >= (1 - confidence) / 2)


def _column(outcomes: Outcomes, name: str) -> Column:
    return np.asarray(getattr(outcomes, name), dtype=np.float64)


def _assignment(traffic: Traffic) -> np.random.Generator:
    """Chance for who is routed where: fixed by the traffic, so that a run can be repeated."""
    return np.random.default_rng(int(traffic.champion.cost_nanousd[:50].sum()))


RIVALS: dict[str, Rival] = {"naive_z": naive_z, "flagger": flagger, "argo": argo, "kayenta": kayenta}
