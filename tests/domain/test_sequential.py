"""The wealth is a fair game under the null, looks change nothing, and evidence grows when the null is
false."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from palier.domain.sequential import (
    BET_CAP,
    best_so_far,
    e_value,
    evidence_of_less,
    evidence_of_more,
    log_wealth,
    standing,
)

VALUES = st.lists(st.floats(-1, 1, width=32), min_size=1, max_size=60)
MEANS = st.floats(-0.9, 0.9)


@given(VALUES, MEANS)
def test_a_look_at_a_prefix_is_the_prefix_of_all_looks(values, null):
    """The bet on an observation is made from the past only."""
    whole = log_wealth(values, null)
    for n in range(1, len(values)):
        assert log_wealth(values[:n], null) == pytest.approx(whole[:n], abs=1e-12)


@given(VALUES, MEANS)
def test_no_observation_costs_more_than_the_cap(values, null):
    steps = np.diff(log_wealth(values, null), prepend=0.0)
    assert steps.min() >= np.log(1 - BET_CAP) - 1e-9


@settings(max_examples=30, deadline=None)
@given(VALUES, st.floats(-0.8, 0.8))
def test_every_bet_is_fair_under_the_null(values, null):
    """Whatever was seen, a next value of 1 or -1 with mean `null` leaves the expected wealth where it is."""
    wealth = np.exp(log_wealth(values, null)[-1])
    up = np.exp(log_wealth([*values, 1.0], null)[-1])
    down = np.exp(log_wealth([*values, -1.0], null)[-1])
    chance = (1 + null) / 2
    assert chance * up + (1 - chance) * down == pytest.approx(wealth, rel=1e-9)


def test_under_the_null_1_over_alpha_is_ever_reached_in_a_share_of_alpha_at_most():
    """Ville's inequality with a look after each of 300 observations, in the hardest case: exactly at the
    null."""
    rng, alpha, n_runs = np.random.default_rng(3), 0.05, 2000
    crossed = 0
    for _ in range(n_runs):
        values = np.where(rng.random(300) < 0.6, 1.0, -1.0) * rng.uniform(0.2, 1.0, 300)
        crossed += best_so_far(log_wealth(values, 0.12))[-1] >= np.log(1 / alpha)
    assert crossed / n_runs <= alpha + 3 * np.sqrt(alpha * (1 - alpha) / n_runs)


def test_evidence_grows_when_the_mean_is_above_and_not_when_it_is_below():
    rng = np.random.default_rng(5)
    above, below = rng.uniform(-0.5, 0.9, 400), rng.uniform(-0.9, 0.5, 400)
    assert evidence_of_more(above, 0.05)[-1] > np.log(1000)
    assert evidence_of_more(below, 0.05)[-1] < np.log(2)


@given(VALUES, MEANS)
def test_less_is_more_in_the_mirror(values, bound):
    mirrored = evidence_of_more([-value for value in values], -bound)
    assert evidence_of_less(values, bound) == pytest.approx(mirrored)


def test_nan_is_not_bet_on_and_leaves_no_trace():
    plain = log_wealth([0.4, 0.9, 0.7], 0.1)
    holed = log_wealth([0.4, np.nan, 0.9, np.nan, 0.7], 0.1)
    assert holed == pytest.approx([plain[0], plain[0], plain[1], plain[1], plain[2]])


def test_a_value_out_of_bounds_is_refused():
    with pytest.raises(ValueError, match=r"\[-1, 1\]"):
        log_wealth([0.1, 1.5], 0.0)


def test_standing_evidence_is_kept_until_all_of_it_is_lost():
    path = np.log([2.0, 30.0, 5.0, 0.5, 3.0])
    assert np.exp(best_so_far(path)) == pytest.approx([2, 30, 30, 30, 30])
    assert np.exp(standing(path)) == pytest.approx([2, 30, 30, 0.5, 30])


def test_an_e_value_stays_a_finite_number():
    assert e_value(0.0) == 1.0
    assert e_value(5000.0) == 1e12
