"""Rollouts simulated: how often a good release is sent back, a bad one let through, and after how many
requests.

Our rule is the domain's own code, looked at after every request; `bench/rollout_rivals.py` re-implements
others. The same random traffic is given to every rule. Without data the traffic is made up
(`rollout_traffic.made_up_pool`); with ledgers in JSON lines its rows are. One request a second is assumed
where seconds are given.

The price: outcomes of our rule are read off evidence that was computed once over the whole traffic instead of
again at each look. That is the same thing (a test compares it with the real machinery, look by look).
"""

import zlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from bench.rollout_rivals import RIVALS
from bench.rollout_traffic import (
    SCENARIOS,
    SLO_MS,
    Outcomes,
    Scenario,
    Traffic,
    draw_traffic,
    made_up_pool,
    recorded_pool,
)
from palier.domain.bootstrap import mean_interval
from palier.domain.comparison import METRICS, Comparison, Observation, compare, losses_of
from palier.domain.rollout import Rollout, assign_arm
from palier.domain.sequential import evidence_of_less, evidence_of_more
from palier.params import RolloutParams

Result = Literal["rolled_back", "promoted", "inconclusive"]
START = datetime(2026, 1, 1, tzinfo=UTC)

RULES = RolloutParams(
    shadow_requests=40,
    canary_shares=(0.2, 0.5),
    requests_per_share=60,
    max_requests=2000,
    alpha=0.05,
    quality_margin=0.05,
    error_margin=0.02,
    latency_margin=0.15,
    latency_slo_ms=SLO_MS,
    cost_margin=0.5,
)
"""As in params.yaml."""

MOSTLY_SHADOW = RULES.model_copy(update={"shadow_requests": 150, "requests_per_share": 15, "canary_shares": (0.3,)})
"""The quickest way for little traffic: most of the evidence from copies, then a short canary."""


@dataclass(frozen=True)
class Ending:
    """How a simulated rollout ended and after how many served requests."""

    result: Result
    n_requests: int


def play_ours(traffic: Traffic, rules: RolloutParams) -> Ending:
    """Our rule, looked at after every request."""
    played = play_arms(traffic, rules)
    comparisons = compare(played.observations, played.canary_started_at)
    worse, fine = _crossings(comparisons, rules)
    n = min(len(traffic.keys), rules.max_requests)
    n_served = np.arange(1, n + 1)
    n_known = np.searchsorted([_completed_by(pair) for pair in comparisons], n_served, side="right")
    is_worse = np.concatenate([[False], worse])[n_known]
    is_ready = np.concatenate([[False], fine])[n_known] & (n_served >= played.ready_after)
    first_worse, first_ready = _first(is_worse, n), _first(is_ready, n)
    if first_worse <= min(first_ready, n):
        return Ending("rolled_back", first_worse)
    return Ending("promoted", first_ready) if first_ready <= n else Ending("inconclusive", n)


def _first(claims: NDArray[np.bool_], n: int) -> int:
    """The first request, counted from 1, after which the claim holds; n + 1 when it never does."""
    return int(claims.argmax()) + 1 if claims.any() else n + 1


def _completed_by(pair: Comparison) -> int:
    """How many requests had been served when this comparison became complete."""
    return 1 + max(int(seen.request_id) for seen in (*pair.champion, pair.challenger))


def _crossings(comparisons: list[Comparison], rules: RolloutParams) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Per comparison: has any metric been found worse; are all metrics fine now."""
    margins = dict(
        zip(METRICS, (rules.error_margin, rules.quality_margin, rules.latency_margin, rules.cost_margin), strict=True)
    )
    worse = np.zeros(len(comparisons), dtype=np.bool_)
    fine = np.ones(len(comparisons), dtype=np.bool_)
    for metric in METRICS:
        seen = losses_of(metric, comparisons, margins[metric], rules.latency_slo_ms)
        worse |= evidence_of_more(seen.losses, seen.margins) >= np.log(len(METRICS) / rules.alpha)
        fine &= evidence_of_less(seen.losses, seen.margins) >= np.log(1 / rules.alpha)
    return worse, fine


@dataclass(frozen=True)
class Played:
    """Traffic after assignment: what the ledger would hold. ``ready_after`` requests all shares have had
    theirs."""

    observations: list[Observation]
    canary_started_at: datetime
    ready_after: int


def play_arms(traffic: Traffic, rules: RolloutParams) -> Played:
    """Shadow, then each share until the challenger had its requests, then the last share to the end."""
    n = min(len(traffic.keys), rules.max_requests)
    stages = _stages(traffic, rules)
    champion, challenger = _observed(traffic.champion, n), _observed(traffic.challenger, n)
    observations: list[Observation] = []
    step, n_at_share, ready_after = 0, 0, n + 1
    for i in range(n):
        if i < rules.shadow_requests:
            observations += [champion[i], replace(challenger[i], arm="shadow")]
            continue
        if assign_arm(str(traffic.keys[i]), stages[step]) == "champion":
            observations.append(champion[i])
            continue
        observations.append(replace(challenger[i], arm="challenger"))
        n_at_share += 1
        if n_at_share >= rules.requests_per_share:
            if step + 1 < len(stages):
                step, n_at_share = step + 1, 0
            else:
                ready_after = min(ready_after, i + 1)
    return Played(observations, START + timedelta(seconds=rules.shadow_requests), ready_after)


def _stages(traffic: Traffic, rules: RolloutParams) -> list[Rollout]:
    """The rollout at each of its shares, under an id that follows from the traffic."""
    rollout_id = f"rollout-{zlib.crc32(traffic.champion.score.tobytes()):08x}"
    return [Rollout(rollout_id, "a", "b", "canary", share, START, START, rules) for share in rules.canary_shares]


def _observed(outcomes: Outcomes, n: int) -> list[Observation]:
    return [
        Observation(str(i), "champion", START + timedelta(seconds=i), score, bool(failed), latency, int(cost))
        for i, (score, failed, latency, cost) in enumerate(
            zip(
                outcomes.score[:n].tolist(),
                outcomes.is_error[:n].tolist(),
                outcomes.latency_ms[:n].tolist(),
                outcomes.cost_nanousd[:n].tolist(),
                strict=True,
            )
        )
    ]


def play_all(rule: Callable[[Traffic], Ending], scenario: Scenario, pool: Outcomes, setting: "Setting") -> list[Ending]:
    """The rule on ``n_simulations`` independent rollouts; the same traffic for every rule."""
    endings = []
    for number in range(setting.n_simulations):
        rng = np.random.default_rng([setting.seed, zlib.crc32(repr(scenario).encode()), number])
        endings.append(rule(draw_traffic(pool, scenario, setting.n_requests, rng)))
    return endings


@dataclass(frozen=True)
class Setting:
    """How much is simulated."""

    n_simulations: int
    seed: int
    n_requests: int = RULES.max_requests


def rules_to_compare() -> dict[str, Callable[[Traffic], Ending]]:
    """Ours with the params of params.yaml and with a long shadow phase, and the others."""
    ours = {
        "palier": lambda traffic: play_ours(traffic, RULES),
        "palier_mostly_shadow": lambda traffic: play_ours(traffic, MOSTLY_SHADOW),
    }
    rivals = {name: _as_rule(rival) for name, rival in RIVALS.items()}
    return ours | rivals


def _as_rule(rival: Callable[[Traffic], tuple[str, int]]) -> Callable[[Traffic], Ending]:
    def rule(traffic: Traffic) -> Ending:
        result, n_requests = rival(traffic)
        return Ending(result, n_requests)  # type: ignore[arg-type]  # the rivals speak the same three words

    return rule


def summarise(endings: list[Ending], rng: np.random.Generator) -> dict[str, Any]:
    """Shares of endings with their intervals, medians, and how many had been promoted by 200, 400 and
    1000."""
    summary: dict[str, Any] = {
        result: mean_interval([float(seen.result == result) for seen in endings], rng).rounded()
        for result in ("rolled_back", "promoted", "inconclusive")
    }
    counts = [seen.n_requests for seen in endings]
    summary["requests_median"] = float(np.median(counts))
    summary["requests_p90"] = float(np.quantile(counts, 0.9))
    summary["seconds_median"] = summary["requests_median"]
    for limit in (200, 400, 1000):
        by_then = [float(seen.result == "promoted" and seen.n_requests <= limit) for seen in endings]
        summary[f"promoted_by_{limit}"] = round(float(np.mean(by_then)), 4)
    return summary


def run(data: list[Path], out: Path, *, n_simulations: int = 1000, seed: int = 7) -> dict[str, Any]:
    """Simulate every rule on every scenario and write the report to ``out``; the report.

    ``data``: ledgers in JSON lines, or nothing for made-up traffic.
    """
    setting = Setting(n_simulations, seed)
    pool = recorded_pool(data) if data else made_up_pool(np.random.default_rng([seed, 0]))
    rng = np.random.default_rng([seed, 1])
    results: dict[str, Any] = {}
    for rule_name, rule in rules_to_compare().items():
        for scenario_name, scenario in SCENARIOS.items():
            summary = summarise(play_all(rule, scenario, pool, setting), rng)
            results.setdefault(rule_name, {})[scenario_name] = summary
            print(f"{rule_name:22} {scenario_name:16} {_line(summary)}", flush=True)
    params = {
        "n_simulations": n_simulations,
        "seed": seed,
        "requests_per_s": 1,
        "palier": RULES.model_dump(mode="json"),
    }
    params["palier_mostly_shadow"] = MOSTLY_SHADOW.model_dump(mode="json")
    return write_report("rollout", data, params, results, out)


def _line(summary: dict[str, Any]) -> str:
    shares = " ".join(f"{name} {summary[name]['value']:.3f}" for name in ("rolled_back", "promoted", "inconclusive"))
    return f"{shares} requests {summary['requests_median']:.0f} (90 %: {summary['requests_p90']:.0f})"
