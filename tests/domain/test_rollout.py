"""Who gets which arm, what a verdict rests on, and when a rollout moves."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from palier.domain.comparison import Observation
from palier.domain.rollout import Rollout, Verdict, assign_arm, judge, next_step
from palier.params import RolloutParams

NOW = datetime(2026, 5, 1, tzinfo=UTC)
RULES = RolloutParams(
    shadow_requests=40,
    canary_shares=(0.2, 0.5),
    requests_per_share=10,
    max_requests=300,
    alpha=0.05,
    quality_margin=0.05,
    error_margin=0.02,
    latency_margin=0.15,
    latency_slo_ms=2000,
    cost_margin=0.5,
)
SHADOW = Rollout("rollout-1", "old", "new", "shadow", 0.0, NOW, NOW, RULES)
SHARES = st.floats(0, 1)


def canary(share, step=0, rollout_id="rollout-1"):
    return replace(SHADOW, rollout_id=rollout_id, phase="canary", share=share, share_step=step, canary_started_at=NOW)


@given(st.text(), SHARES, SHARES)
def test_a_larger_share_never_moves_a_challenger_user_back(key, one, other):
    low, high = sorted((one, other))
    if assign_arm(key, canary(low)) == "challenger":
        assert assign_arm(key, canary(high)) == "challenger"


def test_the_share_is_kept_and_rollouts_choose_independently():
    n = 20_000
    first = {key for key in range(n) if assign_arm(str(key), canary(0.2)) == "challenger"}
    second = {key for key in range(n) if assign_arm(str(key), canary(0.2, rollout_id="rollout-2")) == "challenger"}
    assert len(first) / n == pytest.approx(0.2, abs=0.01)
    assert len(first & second) / n == pytest.approx(0.04, abs=0.006)


@given(st.text())
def test_share_0_and_share_1_and_the_shadow_phase_are_what_they_say(key):
    assert assign_arm(key, canary(0.0)) == "champion"
    assert assign_arm(key, canary(1.0)) == "challenger"
    assert assign_arm(key, replace(SHADOW, share=1.0)) == "champion"


def shadowed(n, **challenger):
    rows = []
    for i in range(n):
        at = NOW - timedelta(hours=1) + timedelta(seconds=i)
        plain = {"score": 0.8, "is_error": False, "is_silent": False, "latency_ms": 100.0, "cost_nanousd": 1000}
        rows.append(Observation(f"s{i}", "champion", at, **plain))
        rows.append(Observation(f"s{i}", "shadow", at, **plain | challenger))
    return rows


def test_without_observations_nothing_is_told():
    verdict = judge([], SHADOW, RULES)
    assert (verdict.decision, verdict.n_compared, verdict.n_requests) == ("undecided", 0, 0)
    assert next_step(SHADOW, verdict, RULES, NOW) is None


@pytest.mark.parametrize(
    ("challenger", "metric"),
    [
        ({"is_error": True}, "errors"),
        ({"score": 0.5}, "quality"),
        ({"is_silent": True}, "silence"),
        ({"latency_ms": 9000.0}, "latency"),
        ({"cost_nanousd": 5000}, "cost"),
    ],
)
def test_each_metric_alone_sends_a_challenger_back(challenger, metric):
    verdict = judge(shadowed(60, **challenger), SHADOW, RULES)
    assert verdict.decision == "worse"
    assert metric in [one.metric for one in verdict.metrics if one.is_worse]
    moved, reason = next_step(SHADOW, verdict, RULES, NOW)
    assert (moved.phase, moved.share, moved.ended_at) == ("rolled_back", 0.0, NOW)
    assert reason.startswith("rolled back: worse than the champion")
    assert Verdict.model_validate(moved.verdict) == verdict


@pytest.mark.parametrize(
    "challenger",
    [{"score": 0.78}, {"latency_ms": 1900.0}, {"cost_nanousd": 1400}, {"score": 1.0, "cost_nanousd": 10}],
)
def test_what_is_within_the_margins_or_better_is_not_worse(challenger):
    verdict = judge(shadowed(400, **challenger), SHADOW, RULES)
    assert verdict.decision == "not_worse"


def often_silent(n, champion, challenger, *, is_same=True):
    """Shadowed requests of which so many in ten are withheld by either; not the same ones unless ``is_same``."""
    rows = shadowed(n)
    for place, row in enumerate(rows):
        number = place // 2 % 10
        if row.arm == "champion":
            rows[place] = replace(row, is_silent=number < champion)
        else:
            rows[place] = replace(row, is_silent=(number if is_same else 9 - number) < challenger)
    return rows


def test_a_challenger_that_says_nothing_goes_back_though_what_it_withholds_scores_as_the_champions_answers():
    verdict = judge(shadowed(40, is_silent=True), SHADOW, RULES)
    assert verdict.decision == "worse"
    assert [one.metric for one in verdict.metrics if one.is_worse] == ["silence"]
    _, reason = next_step(SHADOW, verdict, RULES, NOW)
    assert "silence (share of answers withheld) 1 against 0, allowed margin 0.1" in reason


@pytest.mark.parametrize("champion", [0, 3, 10])
def test_one_as_silent_as_the_champion_is_not_worse(champion):
    assert judge(often_silent(400, champion, champion), SHADOW, RULES).decision == "not_worse"


def test_as_much_silence_on_other_questions_and_less_silence_are_not_worse():
    assert judge(often_silent(400, 1, 1, is_same=False), SHADOW, RULES).decision == "not_worse"
    assert judge(often_silent(400, 5, 0), SHADOW, RULES).decision == "not_worse"


def test_silence_beyond_the_margin_is_seen_whatever_the_champion_withholds():
    verdict = judge(often_silent(200, 3, 6), SHADOW, RULES)
    assert [one.metric for one in verdict.metrics if one.is_worse] == ["silence"]


def test_under_a_margin_of_1_silence_sends_nobody_back_and_only_a_mute_is_not_promoted():
    rules = RULES.model_copy(update={"silence_margin": 1.0})
    assert judge(often_silent(400, 0, 9), SHADOW, rules).decision == "not_worse"
    assert judge(often_silent(400, 0, 10), SHADOW, rules).decision == "undecided"


def test_a_rollout_from_before_silence_was_judged_goes_on_under_the_default():
    old = {name: value for name, value in RULES.model_dump(mode="json").items() if name != "silence_margin"}
    assert RolloutParams.model_validate(old) == RULES


def test_once_found_worse_always_worse():
    """Better days do not take back what crossed the line: whoever looked then would have rolled back."""
    bad = shadowed(30, is_error=True, score=None)
    good = [replace(row, request_id=f"late-{row.request_id}") for row in shadowed(500)]
    assert judge(bad, SHADOW, RULES).decision == "worse"
    assert judge(bad + good, SHADOW, RULES).decision == "worse"


def test_the_shadow_phase_ends_after_its_requests():
    assert next_step(SHADOW, judge(shadowed(39), SHADOW, RULES), RULES, NOW) is None
    moved, _ = next_step(SHADOW, judge(shadowed(40), SHADOW, RULES), RULES, NOW)
    assert (moved.phase, moved.share, moved.share_step, moved.canary_started_at) == ("canary", 0.2, 0, NOW)


def served(n_champion, n_challenger, **challenger):
    rows = []
    for i in range(n_champion + n_challenger):
        is_challenger = i % 2 == 1 and i // 2 < n_challenger
        plain = {"score": 0.8, "is_error": False, "is_silent": False, "latency_ms": 100.0, "cost_nanousd": 1000}
        arm = "challenger" if is_challenger else "champion"
        values = plain | (challenger if is_challenger else {})
        rows.append(Observation(f"c{i}", arm, NOW + timedelta(seconds=i), **values))
    return rows


def test_a_share_grows_after_the_challengers_requests_at_that_share():
    first = canary(0.2)
    assert next_step(first, judge(served(20, 9), first, RULES), RULES, NOW) is None
    moved, reason = next_step(first, judge(served(20, 10), first, RULES), RULES, NOW + timedelta(hours=1))
    assert (moved.share, moved.share_step, moved.phase) == (0.5, 1, "canary")
    assert "10 requests at share 0.2" in reason
    again = judge(served(20, 10), moved, RULES)
    assert again.n_challenger == 0, "requests of the earlier share do not count for this one"


def test_the_last_share_ends_in_promotion_only_when_all_metrics_are_fine():
    last = canary(0.5, step=1)
    few = judge(shadowed(50) + served(40, 30), last, RULES)
    assert few.decision == "undecided"
    assert next_step(last, few, RULES, NOW) is None
    enough = judge(shadowed(180) + served(40, 30), last, RULES)
    moved, reason = next_step(last, enough, RULES, NOW)
    assert moved.phase == "promoted"
    assert reason.startswith("promoted: not worse")


def test_what_cannot_be_told_in_time_is_inconclusive():
    last = canary(0.5, step=1)
    verdict = judge(served(150, 150, score=0.76), last, RULES)
    assert verdict.n_requests == 300
    moved, reason = next_step(last, verdict, RULES, NOW)
    assert moved.phase == "inconclusive"
    assert "the champion stays" in reason
