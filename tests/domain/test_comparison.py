"""Each request is compared once, with the right neighbours, and a loss is positive where the challenger is
worse."""

from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from palier.domain.comparison import COST_WARM_UP, METRICS, Observation, compare, losses_of

START = datetime(2026, 5, 1, tzinfo=UTC)
CANARY = START + timedelta(hours=1)


def seen(request_id, arm, *, canary=False, score=0.8, is_error=False, is_silent=False, latency_ms=100.0, cost=1000):
    at = CANARY if canary else START
    return Observation(request_id, arm, at, score, is_error, is_silent, latency_ms, cost)


def pairs(observations, canary_started_at=CANARY):
    found = compare(observations, canary_started_at)
    return [([one.request_id for one in pair.champion], pair.challenger.request_id) for pair in found]


def test_a_request_is_paired_with_its_shadow_in_whatever_order_they_arrive():
    rows = [seen("a", "champion"), seen("b", "champion"), seen("b", "shadow"), seen("c", "shadow")]
    rows += [seen("a", "shadow"), seen("c", "champion"), seen("d", "champion")]
    assert pairs(rows) == [(["b"], "b"), (["a"], "a"), (["c"], "c")]
    assert all(one.challenger.arm == "shadow" for one in compare(rows, None))


def test_in_the_canary_a_challenger_stands_against_the_champions_since_the_last_comparison():
    order = [("1", "champion"), ("2", "champion"), ("3", "challenger"), ("4", "challenger"), ("5", "challenger")]
    order += [("6", "champion"), ("7", "champion"), ("8", "champion"), ("9", "challenger")]
    rows = [seen(name, arm, canary=True) for name, arm in order]
    assert pairs(rows) == [(["1", "2"], "3"), (["6"], "4"), (["7"], "5"), (["8"], "9")]


def test_a_shadow_copy_of_a_canary_request_and_a_champion_from_before_are_left_out():
    rows = [seen("old", "champion"), seen("new", "champion", canary=True), seen("new", "shadow", canary=True)]
    rows += [seen("own", "challenger", canary=True)]
    assert pairs(rows) == [(["new"], "own")]


@given(st.lists(st.sampled_from(["champion", "challenger"]), max_size=80))
def test_no_request_is_used_twice_and_comparisons_never_change_afterwards(arms):
    rows = [seen(str(i), arm, canary=True) for i, arm in enumerate(arms)]
    whole = compare(rows, CANARY)
    used = [one.request_id for pair in whole for one in (*pair.champion, pair.challenger)]
    assert len(used) == len(set(used))
    assert len(whole) <= arms.count("challenger")
    for n in range(len(rows)):
        part = compare(rows[:n], CANARY)
        assert part == whole[: len(part)]


def shadowed(champion, challenger, n=1):
    return [
        row for i in range(n) for row in (seen(f"r{i}", "champion", **champion), seen(f"r{i}", "shadow", **challenger))
    ]


@pytest.mark.parametrize(
    ("metric", "challenger", "loss"),
    [
        ("errors", {"is_error": True}, 1.0),
        ("quality", {"score": 0.3}, 0.5),
        ("quality", {"is_error": True, "score": None}, 0.8),
        ("quality", {"score": 1.0}, -0.2),
        ("quality", {"is_silent": True}, 0.0),
        ("silence", {"is_silent": True}, 1.0),
        ("silence", {"is_error": True, "score": None}, 0.0),
        ("latency", {"latency_ms": 3000.0}, 1.0),
        ("latency", {"latency_ms": 1999.0}, 0.0),
    ],
)
def test_losses_by_hand(metric, challenger, loss):
    found = losses_of(metric, compare(shadowed({}, challenger), None), 0.05, 2000)
    assert found.losses == pytest.approx([loss])
    assert found.margins == pytest.approx([0.05])


def test_an_answer_without_a_score_says_nothing_about_quality():
    found = losses_of("quality", compare(shadowed({}, {"score": None}), None), 0.05, 2000)
    assert np.isnan(found.losses).all()
    assert (found.champion_mean, found.challenger_mean) == (0.8, None)


def test_costs_are_judged_after_the_warm_up_in_tenths_of_the_champions_mean():
    rows = shadowed({"cost": 2000}, {"cost": 3000}, COST_WARM_UP + 2)
    found = losses_of("cost", compare(rows, None), 0.5, 2000)
    assert np.isnan(found.losses[:COST_WARM_UP]).all()
    assert found.losses[COST_WARM_UP:] == pytest.approx([0.05, 0.05])  # 1000 of a cap of 20000
    assert found.margins[COST_WARM_UP:] == pytest.approx([0.05, 0.05])  # half of 2000, of 20000
    assert (found.champion_mean, found.challenger_mean) == (2000, 3000)


@pytest.mark.parametrize("cost", [0, 10**15])
def test_losses_of_any_cost_stay_in_bounds(cost):
    rows = shadowed({"cost": 0}, {"cost": cost}, COST_WARM_UP + 5)
    found = losses_of("cost", compare(rows, None), 0.5, 2000)
    known = found.losses[COST_WARM_UP:]
    assert known == pytest.approx([float(cost > 0)] * 5)
    assert (found.margins[COST_WARM_UP:] > 0).all()


@pytest.mark.parametrize("metric", METRICS)
def test_no_comparisons_no_losses(metric):
    found = losses_of(metric, [], 0.05, 2000)
    assert len(found.losses) == len(found.margins) == 0
    assert found.champion_mean is None
