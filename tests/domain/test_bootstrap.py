"""Bootstrap intervals hold the mean, shrink with n, and cover as often as they say."""

import numpy as np
import pytest

from palier.domain.bootstrap import grouped_interval, mean_interval, statistic_interval


def test_the_interval_holds_the_mean_and_repeats_with_the_same_seed():
    values = np.random.default_rng(1).random(200)
    first = mean_interval(values, np.random.default_rng(5))
    assert first.low < first.value < first.high
    assert first == mean_interval(values, np.random.default_rng(5))
    assert first.value == pytest.approx(values.mean())


def test_equal_values_have_no_spread_and_no_values_no_mean():
    assert mean_interval([0.5] * 7, np.random.default_rng(0)).rounded() == {
        "value": 0.5,
        "low": 0.5,
        "high": 0.5,
        "n": 7,
    }
    with pytest.raises(ValueError, match="No values"):
        mean_interval([], np.random.default_rng(0))


def test_about_95_of_100_intervals_hold_the_true_mean():
    rng = np.random.default_rng(11)
    intervals = [mean_interval(rng.random(80) < 0.3, rng, samples=400) for _ in range(200)]
    held = np.mean([interval.low <= 0.3 <= interval.high for interval in intervals])
    assert 0.89 <= held <= 0.99


def test_long_inputs_are_resampled_in_blocks():
    interval = mean_interval(np.arange(60_000.0), np.random.default_rng(2), samples=150)
    assert interval.low < 29_999.5 < interval.high


def test_a_statistic_of_rows_agrees_with_the_mean_and_leaves_out_what_is_undefined():
    values = np.random.default_rng(1).random(60)
    found = statistic_interval(60, lambda rows: float(values[rows].mean()), np.random.default_rng(5))
    direct = mean_interval(values, np.random.default_rng(5))
    assert found.value == pytest.approx(direct.value)
    assert (found.low, found.high) == pytest.approx((direct.low, direct.high), abs=0.01)
    odd = statistic_interval(4, lambda rows: 1.0 if 3 in rows else float("nan"), np.random.default_rng(0), 50)
    assert (odd.low, odd.high, odd.n) == (1.0, 1.0, 4)
    with pytest.raises(ValueError, match="No rows"):
        statistic_interval(0, lambda rows: 0.0, np.random.default_rng(0))


def test_rows_that_repeat_others_of_their_group_are_no_more_evidence():
    values = np.random.default_rng(1).random(40)
    alone = statistic_interval(40, lambda rows: float(values[rows].mean()), np.random.default_rng(5))
    thrice, names = np.tile(values, 3), [f"question {i}" for i in range(40)] * 3
    found = grouped_interval(names, lambda rows: float(thrice[rows].mean()), np.random.default_rng(5))
    assert (found.value, found.n) == (pytest.approx(alone.value), 40)
    assert found.high - found.low == pytest.approx(alone.high - alone.low, rel=0.15)
    with pytest.raises(ValueError, match="No rows"):
        grouped_interval([], lambda rows: 0.0, np.random.default_rng(0))


def test_intervals_of_groups_hold_the_true_mean_where_those_of_rows_do_not():
    """Thirty groups of eight values that are all alike: 240 values, thirty trials."""
    rng = np.random.default_rng(11)
    groups = np.repeat(np.arange(30), 8)
    held = {"groups": 0, "rows": 0}
    for _ in range(200):
        values = np.repeat(rng.random(30) < 0.3, 8).astype(float)
        by_group = grouped_interval(groups, lambda rows, own=values: float(own[rows].mean()), rng, 200)
        by_row = mean_interval(values, rng, 200)
        held["groups"] += by_group.low <= 0.3 <= by_group.high
        held["rows"] += by_row.low <= 0.3 <= by_row.high
    assert held["groups"] / 200 >= 0.88
    assert held["rows"] / 200 <= 0.7
