"""The benchmark's short cut gives what the real machinery gives, look by look, and its report has the
shape."""

import json
from dataclasses import replace
from datetime import timedelta

import numpy as np
import pytest

from bench.rollout import START, Ending, play_all, play_ours, rules_to_compare, stages_of, summarise
from bench.rollout_rivals import MARGINS, RIVALS
from bench.rollout_traffic import SCENARIOS, Scenario, draw_traffic, made_up_pool, recorded_pool
from palier.domain.comparison import Observation
from palier.domain.rollout import Rollout, assign_arm, judge, margins_of, next_step
from palier.errors import InputError
from palier.params import load_params
from palier.settings import repository_root


@pytest.fixture(scope="module")
def pool():
    return made_up_pool(np.random.default_rng(1))


@pytest.fixture(scope="module")
def rules():
    whole = load_params(repository_root() / "params.yaml").rollout
    return whole.model_copy(update={"shadow_requests": 30, "requests_per_share": 8, "max_requests": 260})


def play_for_real(traffic, rules, rollout_id):
    """`judge` and `next_step` after every request, as the gateway's loop would."""
    rollout = Rollout(rollout_id, "a", "b", "shadow", 0.0, START, START, rules)
    seen = []
    for i in range(rules.max_requests):
        at = START + timedelta(seconds=i)
        arms = ["champion", "shadow"] if rollout.phase == "shadow" else [assign_arm(str(traffic.keys[i]), rollout)]
        for arm in arms:
            side = traffic.champion if arm == "champion" else traffic.challenger
            cost, failed, silent = int(side.cost_nanousd[i]), bool(side.is_error[i]), bool(side.is_silent[i])
            score, latency = float(side.score[i]), float(side.latency_ms[i])
            seen.append(Observation(str(i), arm, at, score, failed, silent, latency, cost))
        step = next_step(rollout, judge(seen, rollout, rules), rules, at + timedelta(seconds=0.5))
        rollout = step[0] if step else rollout
        if not rollout.is_running:
            return Ending(rollout.phase, i + 1)
    raise AssertionError("a rollout ends at max_requests at the latest")


@pytest.mark.parametrize(
    "name", ["identical", "equal", "score_minus_0.2", "errors_plus_0.1", "silence_plus_0.2", "cost_times_3"]
)
def test_the_short_cut_is_the_same_as_looking_after_every_request(pool, rules, name):

    for seed in range(3):
        traffic = draw_traffic(pool, SCENARIOS[name], 400, np.random.default_rng([seed, 9]))
        rollout_id = stages_of(traffic, rules)[0].rollout_id
        assert play_ours(traffic, rules) == play_for_real(traffic, rules, rollout_id)


def test_a_promotion_is_reached_by_both_ways(pool, rules):
    quick = rules.model_copy(update={"shadow_requests": 180, "canary_shares": (0.5,)})
    flawless = replace(pool, is_error=np.zeros_like(pool.is_error))
    traffic = draw_traffic(flawless, Scenario(same_answer=1.0), 400, np.random.default_rng(4))

    ending = play_ours(traffic, quick)
    assert ending.result == "promoted"
    assert ending == play_for_real(traffic, quick, stages_of(traffic, quick)[0].rollout_id)


def test_a_scenario_changes_the_mean_score_by_what_it_says(pool):
    traffic = draw_traffic(pool, Scenario(score_drop=0.2), 100_000, np.random.default_rng(0))
    drop = traffic.champion.score.mean() - traffic.challenger.score.mean()
    assert drop == pytest.approx(0.2, abs=0.01)


def test_more_silence_is_as_much_as_the_scenario_says_and_leaves_the_scores_alone(pool):
    traffic = draw_traffic(pool, Scenario(silence=0.1, same_answer=1.0), 100_000, np.random.default_rng(0))
    more = traffic.challenger.is_silent.mean() - traffic.champion.is_silent.mean()
    assert more == pytest.approx(0.1, abs=0.01)
    assert (traffic.challenger.score == traffic.champion.score).all()


def test_a_release_that_says_nothing_is_never_promoted_and_one_just_at_the_margin_seldom(pool, rules):
    """Its scores, costs and times are the champion's. At the margin a promotion is the error that alpha bounds."""
    quick = rules.model_copy(update={"shadow_requests": 180, "max_requests": 400})
    silent = play_all(lambda traffic: play_ours(traffic, quick), SCENARIOS["silence_all"], pool, 20, 5)
    assert {ending.result for ending in silent} == {"rolled_back"}
    at_margin = play_all(lambda traffic: play_ours(traffic, quick), SCENARIOS["silence_at_margin"], pool, 60, 5)
    promoted = sum(ending.result == "promoted" for ending in at_margin) / len(at_margin)
    assert promoted <= rules.alpha + 3 * np.sqrt(rules.alpha * (1 - rules.alpha) / len(at_margin))


@pytest.mark.parametrize("name", sorted(RIVALS))
def test_every_rule_sends_a_challenger_back_that_always_fails(pool, name):
    traffic = draw_traffic(pool, SCENARIOS["errors_all"], 2000, np.random.default_rng(0))
    result, n_requests = RIVALS[name](traffic)
    assert result == "rolled_back"
    assert 0 < n_requests <= 300


def test_a_recorded_ledger_becomes_a_pool_without_shadows_and_unscored_rows(tmp_path):
    rows = [
        {"arm": "champion", "score": 0.5, "error": None, "abstained": True, "latency_ms": 10.0, "cost_nanousd": 7},
        {"arm": "shadow", "score": 0.9, "error": None, "abstained": False, "latency_ms": 10.0, "cost_nanousd": 7},
        {"arm": "champion", "score": None, "error": None, "abstained": False, "latency_ms": 10.0, "cost_nanousd": 7},
        {"arm": "challenger", "score": None, "error": "late", "abstained": False, "latency_ms": 9.0, "cost_nanousd": 3},
    ]
    path = tmp_path / "ledger.jsonl"
    path.write_text("\n".join(json.dumps(row) for row in rows))
    pool = recorded_pool([path])
    assert pool.score.tolist() == [0.5, 0.0]
    assert pool.is_error.tolist() == [0.0, 1.0]
    assert pool.is_silent.tolist() == [1.0, 0.0]
    path.write_text(json.dumps(rows[1]))
    with pytest.raises(InputError, match="No served"):
        recorded_pool([path])


def test_a_ledger_that_is_none_is_refused_by_file_and_row(tmp_path):
    """Without `abstained` a rule would be told that nobody is ever silent."""
    whole = {"arm": "champion", "score": 0.5, "error": None, "abstained": True, "latency_ms": 10.0, "cost_nanousd": 7}
    path = tmp_path / "ledger.jsonl"
    for name in whole:
        lines = [whole, {key: value for key, value in whole.items() if key != name}]
        path.write_text("\n".join(json.dumps(row) for row in lines))
        with pytest.raises(InputError, match=f"Row 2 of .*{name}"):
            recorded_pool([path])
    path.write_text("no JSON")
    with pytest.raises(InputError, match="Row 1 of"):
        recorded_pool([path])
    with pytest.raises(InputError, match="cannot be read"):
        recorded_pool([tmp_path / "missing.jsonl"])


def test_all_rules_watch_the_metrics_of_the_monitor_at_its_margins(rules):
    ours = margins_of(rules)
    named = {"is_error": "errors", "score": "quality", "is_silent": "silence", "is_slow": "latency", "cost": "cost"}
    assert {named[name]: margin for name, margin in MARGINS.items()} == ours


def test_a_summary_has_what_the_contract_names(rules):
    summary = summarise([Ending("promoted", 150), Ending("rolled_back", 50)], np.random.default_rng(0))
    assert summary["promoted"]["value"] == summary["rolled_back"]["value"] == 0.5
    assert summary["requests_median"] == summary["seconds_median"] == 100.0
    assert set(rules_to_compare(rules)) == {"palier", "palier_long_shadow", "naive_z", "flagger", "argo", "kayenta"}
