"""Other people's rollout rules, re-implemented from their public documentation for the rollout benchmark.

Each takes traffic and gives ("rolled_back" | "promoted" | "inconclusive", served requests until then). They
are given what they ask for: thresholds that fit the champion (its true mean less the margin), which our rule
is not told. Where a rule works by the clock, one request a second is assumed. No line here is theirs, and
none of their other features (webhooks, manual gates, mesh routing) is judged.
"""

from collections.abc import Callable
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy.stats import mannwhitneyu, norm

from bench.rollout_traffic import SLO_MS, Outcomes, Traffic

Column = NDArray[np.float64]
Result = Literal["rolled_back", "promoted", "inconclusive"]
Ended = tuple[Result, int]
Rival = Callable[[Traffic], Ended]

INTERVAL = 60
"""Requests between two checks of the rules that work by the clock (their usual interval is a minute)."""
MARGINS = {"is_error": 0.02, "score": 0.05, "is_silent": 0.1, "is_slow": 0.15, "cost": 0.5}
"""How much worse a mean may be; of the cost, as a share of the champion's."""


def naive_z(traffic: Traffic, level: float = 0.05, n_first: int = 20, n_last: int = 460) -> Ended:
    """Half the traffic each; after every request a one-sided z-test per metric at 5 %; the first p below it
    sends the challenger back. What people do who watch a dashboard. Promoted at ``n_last`` requests."""
    n = min(n_last, len(traffic.keys))
    is_challenger = np.arange(n) % 2 == 1
    critical = float(norm.ppf(1 - level))
    alarms = np.zeros(n, dtype=np.bool_)
    for name in MARGINS:
        values = np.where(is_challenger, harm(traffic.challenger, name)[:n], harm(traffic.champion, name)[:n])
        alarms |= _running_z(values, is_challenger) > critical
    alarms[:n_first] = False
    return ("rolled_back", int(alarms.argmax()) + 1) if alarms.any() else ("promoted", n)


def harm(seen: Outcomes, name: str) -> Column:
    """A metric turned so that more is worse, (n,)."""
    columns = {
        "is_error": seen.is_error,
        "score": -seen.score,
        "is_silent": seen.is_silent,
        "is_slow": (seen.latency_ms > SLO_MS).astype(np.float64),
        "cost": seen.cost_nanousd,
    }
    return columns[name]


def _limits(champion: Outcomes) -> dict[str, float]:
    """The largest mean harm that is allowed: the champion's true one and the margin."""
    means = {name: float(harm(champion, name).mean()) for name in MARGINS}
    return {
        name: mean * (1 + MARGINS[name]) if name == "cost" else mean + MARGINS[name] for name, mean in means.items()
    }


def _running_z(values: Column, is_challenger: NDArray[np.bool_]) -> Column:
    """z of (challenger - champion) after each request; 0 while there is no variance."""
    means, variances = [], []
    for side in (~is_challenger, is_challenger):
        count = np.maximum(np.cumsum(side), 1)
        mean = np.cumsum(np.where(side, values, 0.0)) / count
        square = np.cumsum(np.where(side, values**2, 0.0)) / count
        means.append(mean)
        variances.append(np.maximum(square - mean**2, 0.0) / count)
    spread = np.sqrt(variances[0] + variances[1])
    return np.divide(means[1] - means[0], spread, out=np.zeros_like(spread), where=spread > 1e-12)


def flagger(traffic: Traffic, threshold: int = 5, step: float = 0.1, top: float = 0.5) -> Ended:
    """Weights 10 %, 20 % ... 50 %. At each interval every metric's mean over the canary's requests of that
    interval must be within its limit. An interval with a failed check is counted and holds the weight; the
    fifth sends the canary back."""
    limits = _limits(traffic.champion)
    n_failed, weight, at = 0, step, 0
    rng = _assignment(traffic)
    while at + INTERVAL <= len(traffic.keys):
        rows = np.arange(at, at + INTERVAL)[rng.random(INTERVAL) < weight]
        at += INTERVAL
        if not len(rows):
            continue  # no traffic, no check
        if _failures(traffic, rows, limits):
            n_failed += 1
            if n_failed >= threshold:
                return "rolled_back", at
        else:
            weight += step
            if weight > top + 1e-9:
                return "promoted", at
    return "inconclusive", at


def argo(traffic: Traffic, failure_limit: int = 3) -> Ended:
    """Steps of 20 % and 50 %, five intervals each, with an analysis in the background of the same checks.
    More than ``failure_limit`` failed measurements of one metric abort."""
    limits = _limits(traffic.champion)
    counts = dict.fromkeys(MARGINS, 0)
    rng = _assignment(traffic)
    for number in range(10):
        at = number * INTERVAL
        rows = np.arange(at, at + INTERVAL)[rng.random(INTERVAL) < (0.2 if number < 5 else 0.5)]
        for name in _failures(traffic, rows, limits):
            counts[name] += 1
        if max(counts.values()) > failure_limit:
            return "rolled_back", at + INTERVAL
    return "promoted", 10 * INTERVAL


def _failures(traffic: Traffic, rows: NDArray[np.int64], limits: dict[str, float]) -> list[str]:
    seen = traffic.challenger.take(rows)
    return [name for name, limit in limits.items() if len(rows) and float(harm(seen, name).mean()) > limit]


def kayenta(traffic: Traffic, passing: float = 95.0, marginal: float = 75.0) -> Ended:
    """A baseline and a canary of the same size (half of the traffic each), judged on all data so far at five
    intervals. Per metric a Mann-Whitney U test at 98 % confidence in the direction that hurts; the score is
    the share of metrics that pass. Below 75 it fails at once; at the end 95 is needed."""
    score = 100.0
    for number in range(1, 6):
        n = number * 2 * INTERVAL
        is_challenger = np.arange(n) % 2 == 1
        verdicts = [
            _is_unharmed(
                harm(traffic.champion, name)[:n][~is_challenger], harm(traffic.challenger, name)[:n][is_challenger]
            )
            for name in MARGINS
        ]
        score = 100.0 * float(np.mean(verdicts))
        if score < marginal:
            return "rolled_back", n
    return ("promoted" if score >= passing else "rolled_back"), 10 * INTERVAL


def _is_unharmed(baseline: Column, canary: Column, confidence: float = 0.98) -> bool:
    if np.ptp(np.concatenate([baseline, canary])) == 0:
        return True
    return bool(mannwhitneyu(baseline, canary, alternative="less").pvalue >= (1 - confidence) / 2)


def _assignment(traffic: Traffic) -> np.random.Generator:
    """Chance for who is routed where: fixed by the traffic, so that a run can be repeated."""
    return np.random.default_rng(int(traffic.champion.cost_nanousd[:50].sum()))


RIVALS: dict[str, Rival] = {"naive_z": naive_z, "flagger": flagger, "argo": argo, "kayenta": kayenta}
