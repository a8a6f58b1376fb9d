"""The scorer's heads find a law that is there, claim none that is not, and folds never split a question."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from palier.adapters.scorer_training import MIN_ROWS, fit_head, fold_of
from palier.domain.scoring import LogisticHead

TRUE_WEIGHTS, TRUE_BIAS = np.array([1.5, -0.8, 0.0]), 0.4
SCALE, SHIFT = np.array([0.1, 1.0, 50.0]), np.array([3.0, 0.0, -20.0])
GROUPS = st.lists(st.sampled_from([f"q{n}" for n in range(12)]), max_size=80)


def sample(n: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """(n, 3) features of very different scales, and the true chance of each row to be good."""
    standard = np.random.default_rng(seed).normal(size=(n, 3))
    chance = 1 / (1 + np.exp(-(standard @ TRUE_WEIGHTS + TRUE_BIAS)))
    return standard * SCALE + SHIFT, chance


def test_a_known_logistic_law_is_found_again_whatever_the_scales_of_its_features():
    features, chance = sample(20_000)
    drawn = (np.random.default_rng(1).random(20_000) < chance).astype(np.float64)
    head = fit_head(features, drawn, regularisation=1e-3)
    assert head.weights == pytest.approx(TRUE_WEIGHTS, abs=0.08)
    assert head.bias == pytest.approx(TRUE_BIAS, abs=0.08)
    unseen, truth = sample(200, seed=2)
    assert [head.predict(row) for row in unseen] == pytest.approx(truth, abs=0.03)


def test_qualities_between_0_and_1_teach_the_expected_quality():
    features, chance = sample(5_000)
    head = fit_head(features, chance, regularisation=1e-3)
    unseen, truth = sample(200, seed=2)
    assert [head.predict(row) for row in unseen] == pytest.approx(truth, abs=0.02)


def test_without_a_law_the_prediction_stays_near_the_base_rate():
    features, _ = sample(5_000)
    quality = (np.random.default_rng(3).random(5_000) < 0.3).astype(np.float64)
    head = fit_head(features, quality, regularisation=1.0)
    assert [head.predict(row) for row in features[:200]] == pytest.approx(np.full(200, 0.3), abs=0.08)


def test_more_regularisation_makes_smaller_weights():
    features, chance = sample(500)
    norms = [np.linalg.norm(fit_head(features, chance, strength).weights) for strength in (0.01, 10.0, 1000.0)]
    assert norms == sorted(norms, reverse=True)


@given(st.lists(st.floats(0, 1), max_size=MIN_ROWS - 1))
def test_few_rows_give_laplaces_base_rate_and_no_weights(quality):
    features = np.arange(2.0 * len(quality)).reshape(len(quality), 2)
    head = fit_head(features, np.array(quality), 1.0)
    assert (head.weights, head.n_rows) == ((), len(quality))
    assert head.predict(np.zeros(2)) == pytest.approx((sum(quality) + 1) / (len(quality) + 2))


@pytest.mark.parametrize("value", [0.0, 0.5, 1.0])
def test_rows_that_are_all_alike_give_a_base_rate_that_is_never_certain(value):
    features, _ = sample(100)
    head = fit_head(features, np.full(100, value), 1.0)
    assert head.predict(features[0]) == pytest.approx((100 * value + 1) / 102)


def test_a_feature_that_never_varies_does_no_harm():
    features, chance = sample(500)
    head = fit_head(np.column_stack([features, np.full(500, 7.0)]), chance, 1.0)
    assert np.isfinite(head.weights).all()
    assert head.weights[-1] == pytest.approx(0.0, abs=1e-9)


@given(GROUPS, st.integers(2, 6), st.integers(0, 99))
def test_all_rows_of_a_group_are_in_one_fold(groups, n_folds, seed):
    folds = fold_of(groups, n_folds, np.random.default_rng(seed))
    assert folds.shape == (len(groups),)
    assert set(folds.tolist()) <= set(range(n_folds))
    assert len(set(zip(groups, folds.tolist(), strict=True))) == len(set(groups))


@given(GROUPS, st.integers(2, 6), st.integers(0, 99))
def test_folds_differ_in_size_by_the_largest_group_at_most(groups, n_folds, seed):
    sizes = np.bincount(fold_of(groups, n_folds, np.random.default_rng(seed)), minlength=n_folds)
    assert sizes.max() - sizes.min() <= max((groups.count(name) for name in groups), default=0)


def test_the_same_seed_makes_the_same_folds_and_another_one_others():
    groups = [f"q{n % 40}" for n in range(200)]
    one, again, other = (fold_of(groups, 5, np.random.default_rng(seed)) for seed in (1, 1, 2))
    assert (one == again).all()
    assert (one != other).any()


def starter() -> LogisticHead:
    """A head that was fitted on many rows of the true law."""
    features, chance = sample(20_000)
    return fit_head(features, chance, regularisation=1e-3)


def test_without_rows_a_starter_stays_as_it_is():
    head = fit_head(np.zeros((0, 3)), np.zeros(0), 1.0, starter())
    assert head.model_copy(update={"n_rows": 0}) == starter().model_copy(update={"n_rows": 0})


def test_a_few_rows_with_a_starter_predict_better_than_without_one():
    features, chance = sample(30, seed=5)
    drawn = (np.random.default_rng(6).random(30) < chance).astype(np.float64)
    unseen, truth = sample(500, seed=7)
    errors = []
    for prior in (starter(), None):
        head = fit_head(features, drawn, 5.0, prior)
        errors.append(np.abs([head.predict(row) - right for row, right in zip(unseen, truth, strict=True)]).mean())
    assert errors[0] < errors[1]


def test_many_rows_of_another_law_leave_the_starter():
    features, chance = sample(5_000)
    head = fit_head(features, 1.0 - chance, 1.0, starter())
    unseen, truth = sample(200, seed=2)
    assert [head.predict(row) for row in unseen] == pytest.approx(1.0 - truth, abs=0.05)
