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
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.report import Report, metric, tell
from bench.rollout_rivals import RIVALS, Result, Rival
from bench.rollout_traffic import (
    SCENARIOS,
    SLO_MS,
    Outcomes,
    Scenario,
    Traffic,
    count_rows,
    draw_traffic,
    made_up_pool,
    recorded_pool,
)
from palier.domain.comparison import METRICS, Comparison, Observation, compare, losses_of
from palier.domain.rollout import Rollout, assign_arm, margins_of
from palier.domain.sequential import best_so_far, evidence_of_less, evidence_of_more, standing
from palier.params import RolloutParams, load_params
from palier.settings import repository_root

N_REQUESTS = 2000
"""Served requests after which a rollout without an ending counts as inconclusive."""
START = datetime(2026, 1, 1, tzinfo=UTC)

LONG_SHADOW = {"shadow_requests": 200, "canary_shares": (0.2, 0.5), "requests_per_share": 20}
"""Most of the evidence from copies of requests, then a short canary: for little traffic."""


@dataclass(frozen=True)
class Ending:
    """How a simulated rollout ended and after how many served requests."""

    result: Result
    n_requests: int


def play_ours(traffic: Traffic, rules: RolloutParams) -> Ending:
    """Our rule, looked at after every request."""
    n_all = min(len(traffic.keys), rules.max_requests)
    for n in (150, 500):  # most endings come early: do not play what nobody would see
        ending = _play_until(min(n, n_all), traffic, rules)
        if ending.result != "inconclusive":
            return ending
    return _play_until(n_all, traffic, rules)


def _play_until(n: int, traffic: Traffic, rules: RolloutParams) -> Ending:
    """The ending within the first ``n`` requests; inconclusive when there is none."""
    played = play_arms(n, traffic, rules)
    comparisons = compare(played.observations, played.canary_started_at)
    worse, fine = _crossings(comparisons, rules)
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
    margins = margins_of(rules)
    worse = np.zeros(len(comparisons), dtype=np.bool_)
    fine = np.ones(len(comparisons), dtype=np.bool_)
    for name in METRICS:
        seen = losses_of(name, comparisons, margins[name], rules.latency_slo_ms)
        worse |= best_so_far(evidence_of_more(seen.losses, seen.margins)) >= np.log(len(METRICS) / rules.alpha)
        fine &= standing(evidence_of_less(seen.losses, seen.margins)) >= np.log(1 / rules.alpha)
    return worse, fine


@dataclass(frozen=True)
class Played:
    """Traffic after assignment: what the ledger would hold. ``ready_after`` requests all shares have had
    theirs."""

    observations: list[Observation]
    canary_started_at: datetime
    ready_after: int


def play_arms(n: int, traffic: Traffic, rules: RolloutParams) -> Played:
    """The first ``n`` requests: shadow, then each share until the challenger had its requests there, then the
    last share."""
    stages = stages_of(traffic, rules)
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


def stages_of(traffic: Traffic, rules: RolloutParams) -> list[Rollout]:
    """The rollout at each of its shares, under an id that follows from the traffic."""
    rollout_id = f"rollout-{zlib.crc32(traffic.champion.score.tobytes()):08x}"
    return [Rollout(rollout_id, "a", "b", "canary", share, START, START, rules) for share in rules.canary_shares]


def _observed(outcomes: Outcomes, n: int) -> list[Observation]:
    return [
        Observation(
            str(i), "champion", START + timedelta(seconds=i), score, bool(failed), bool(silent), latency, int(cost)
        )
        for i, (score, failed, silent, latency, cost) in enumerate(
            zip(
                outcomes.score[:n].tolist(),
                outcomes.is_error[:n].tolist(),
                outcomes.is_silent[:n].tolist(),
                outcomes.latency_ms[:n].tolist(),
                outcomes.cost_nanousd[:n].tolist(),
                strict=True,
            )
        )
    ]


Rule = Callable[[Traffic], Ending]


def play_all(rule: Rule, scenario: Scenario, pool: Outcomes, n_simulations: int, seed: int) -> list[Ending]:
    """The rule on independent rollouts; the same traffic for every rule."""
    endings = []
    for number in range(n_simulations):
        rng = np.random.default_rng([seed, zlib.crc32(repr(scenario).encode()), number])
        endings.append(rule(draw_traffic(pool, scenario, N_REQUESTS, rng)))
    return endings


def rules_to_compare(rules: RolloutParams) -> dict[str, Rule]:
    """Ours as it is set and with a long shadow phase, and the others."""
    long_shadow = rules.model_copy(update=LONG_SHADOW)
    ours: dict[str, Rule] = {
        "palier": lambda traffic: play_ours(traffic, rules),
        "palier_long_shadow": lambda traffic: play_ours(traffic, long_shadow),
    }
    return ours | {name: _as_rule(rival) for name, rival in RIVALS.items()}


def _as_rule(rival: Rival) -> Rule:
    return lambda traffic: Ending(*rival(traffic))


def summarise(endings: list[Ending], rng: np.random.Generator) -> dict[str, Any]:
    """Shares of endings with their intervals, medians, and how many had been promoted by 200, 400 and
    1000."""
    summary: dict[str, Any] = {
        result: metric([float(seen.result == result) for seen in endings], rng)
        for result in ("rolled_back", "promoted", "inconclusive")
    }
    counts = [seen.n_requests for seen in endings]
    summary["requests_median"] = summary["seconds_median"] = float(np.median(counts))
    summary["requests_p90"] = float(np.quantile(counts, 0.9))
    for limit in (200, 400, 1000):
        by_then = [float(seen.result == "promoted" and seen.n_requests <= limit) for seen in endings]
        summary[f"promoted_by_{limit}"] = metric(by_then, rng)
    return summary


def run(data: list[Path], out: Path, *, n_simulations: int = 1000, seed: int = 7) -> dict[str, Any]:
    """Simulate every rule on every scenario under the repository's params.yaml; the report, written to
    ``out`` too.

    ``data``: ledgers in JSON lines, or nothing for made-up traffic.
    """
    rules = load_params(repository_root() / "params.yaml").rollout.model_copy(update={"latency_slo_ms": SLO_MS})
    pool = recorded_pool(data) if data else made_up_pool(np.random.default_rng([seed, 0]))
    told = {"n_simulations": n_simulations, "seed": seed, "requests_per_s": 1, "n_requests": N_REQUESTS}
    report = Report("rollout", told | {"palier": rules.model_dump(mode="json"), "palier_long_shadow": LONG_SHADOW})
    for path in data:
        report.add_data(path, count_rows(path))
    results: dict[str, dict[str, Any]] = {}
    rng = np.random.default_rng([seed, 1])
    for name, rule in rules_to_compare(rules).items():
        results[name] = {}
        for scenario_name, scenario in SCENARIOS.items():
            summary = summarise(play_all(rule, scenario, pool, n_simulations, seed), rng)
            results[name][scenario_name] = summary
            tell(f"{name:20} {scenario_name:16} {_line(summary)}")
    return report.write(out, results)


def _line(summary: dict[str, Any]) -> str:
    shares = " ".join(f"{name} {summary[name]['value']:.3f}" for name in ("rolled_back", "promoted", "inconclusive"))
    return f"{shares} requests {summary['requests_median']:.0f} (90 %: {summary['requests_p90']:.0f})"
