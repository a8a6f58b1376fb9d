"""Calibration error by hand, and what of it is chance."""

import numpy as np
import pytest

from palier.domain.calibration import calibration_error, calibration_error_by_chance, score_bins


def test_bins_are_of_equal_count_and_not_too_small():
    assert [len(rows) for rows in score_bins(np.linspace(0, 1, 200))] == [20] * 10
    assert [len(rows) for rows in score_bins(np.linspace(0, 1, 35))] == [12, 12, 11]
    assert [rows.tolist() for rows in score_bins(np.array([0.9, 0.1]))] == [[1, 0]]


def test_error_by_hand():
    """Twenty rows in two bins: one promises .2 and keeps .5, the other promises .8 and keeps .8."""
    scores = np.repeat([0.2, 0.8], 10)
    quality = np.array([1.0, 0.0] * 5 + [1.0] * 8 + [0.0] * 2)
    assert calibration_error(scores, quality) == pytest.approx(0.15)


def test_rows_of_equal_score_are_one_bin_whatever_their_order():
    """A head that says its base rate of all is right, also where the right rows come first."""
    quality = np.repeat([1.0, 0.0], 50)
    assert calibration_error(np.full(100, 0.5), quality) == 0.0
    scores = np.repeat([0.1, 0.5, 0.9], [33, 44, 23])
    assert [len(rows) for rows in score_bins(scores)] == [33, 44, 23]


@pytest.mark.parametrize("n", [100, 2000])
def test_right_scores_show_the_error_of_chance(n):
    """The mean over 200 draws of qualities that are what the scores promise."""
    rng = np.random.default_rng(3)
    errors, by_chance = [], []
    for _ in range(200):
        scores = rng.uniform(0.2, 0.8, n)
        quality = (rng.random(n) < scores).astype(np.float64)
        errors.append(calibration_error(scores, quality))
        by_chance.append(calibration_error_by_chance(scores, quality))
    assert np.mean(by_chance) == pytest.approx(np.mean(errors), rel=0.06)


def test_what_is_off_is_not_called_chance():
    rng = np.random.default_rng(4)
    scores = rng.uniform(0.2, 0.8, 2000)
    quality = (rng.random(2000) < scores + 0.2).astype(np.float64)
    assert calibration_error(scores, quality) == pytest.approx(0.2, abs=0.03)
    assert calibration_error_by_chance(scores, quality) < 0.035
