"""What is fitted with scikit-learn says the same as plain numbers; no row is judged by what has seen it."""

import numpy as np
import pytest
from scipy.sparse import csr_matrix
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.feature_extraction.text import TfidfTransformer
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score

from palier.adapters.beliefs.learners import (
    MOST_REPEATS,
    N_FOLDS,
    Folds,
    fit_blend,
    fit_forest,
    fit_line,
    fit_words,
    judge_of_new,
)
from palier.domain.beliefs.chances import Constant, Floats, Mean


class Memory:
    """Remembers which rows it was taught, and is sure of those alone."""

    def __init__(self, rows: Floats, _: Floats) -> None:
        self._rows = rows

    def predict(self, rows: Floats) -> Floats:
        return np.isin(rows, self._rows).astype(float)


def test_no_row_is_believed_by_a_model_that_has_seen_it() -> None:
    """A learner that only remembers is never sure; each row that teaches is left out by one fold."""
    folds = Folds.drawn(100, np.arange(80), np.random.default_rng(0))
    assert folds.teaching.tolist() == list(range(80))
    assert folds.n_models == N_FOLDS * MOST_REPEATS
    assert sum(len(folds.known(model)) for model in range(folds.n_models)) == 80 * (N_FOLDS - 1) * MOST_REPEATS
    rows = np.arange(100.0)
    assert not folds.cross_fitted(rows, rows, Memory).believed.any()


def test_a_blend_learns_beside_numbers_that_are_missing() -> None:
    """A column without any number and one with holes teach nothing wrong: the column that decides is still found."""
    rng = np.random.default_rng(3)
    told = rng.normal(size=800)
    right = (rng.random(800) < 1 / (1 + np.exp(-2 * told))).astype(float)
    holes = np.where(rng.random(800) < 0.5, rng.normal(size=800), np.nan)
    features = np.column_stack([told, holes, np.full(800, np.nan)])
    blend = fit_blend(features[:600], right[:600], seed=0)
    believed = blend.predict(features[600:])
    assert ((believed > 0) & (believed < 1)).all()
    assert roc_auc_score(right[600:], believed) > 0.8
    assert roc_auc_score(right[600:], believed) == pytest.approx(roc_auc_score(right[600:], told[600:]), abs=0.03)


def test_a_blend_of_one_label_is_constant() -> None:
    """Where every answer was right there is nothing to tell apart."""
    features = np.random.default_rng(3).normal(size=(100, 4))
    assert fit_blend(features, np.ones(100), seed=0).predict(features) == pytest.approx(np.ones(100))


def test_trees_as_arrays_say_what_the_fitted_ones_say() -> None:
    """To the last digits, also for numbers that are missing, which go one way at some nodes and the other at others."""
    rng = np.random.default_rng(1)
    features = rng.normal(size=(900, 5))
    features[rng.random(features.shape) < 0.2] = np.nan
    right = (np.nan_to_num(features[:, 0], nan=1.0) + np.nan_to_num(features[:, 1]) * features[:, 2] > 0).astype(float)
    ours = fit_forest(features, right, 3, n_trees=40, leaves=7)
    theirs = HistGradientBoostingClassifier(
        max_iter=40,
        learning_rate=0.05,
        max_leaf_nodes=7,
        min_samples_leaf=60,
        l2_regularization=5.0,
        max_features=0.3,
        early_stopping=False,
        random_state=3,
    ).fit(features, right)
    assert ours.predict(features) == pytest.approx(theirs.predict_proba(features)[:, 1], abs=1e-12)
    assert roc_auc_score(right, ours.predict(features)) > 0.8


def test_a_line_and_words_say_what_the_fitted_ones_say() -> None:
    """Standardising, the rarity of words and the length of a text are in the numbers that are handed over."""
    rng = np.random.default_rng(2)
    features = rng.normal(3, 2, size=(300, 4))
    right = (features[:, 0] > 3).astype(float)
    standard = (features - features.mean(0)) / features.std(0)
    theirs = LogisticRegression(C=0.1, max_iter=200).fit(standard, right).predict_proba(standard)[:, 1]
    assert fit_line(features, right, looseness=0.1).predict(features) == pytest.approx(theirs, abs=1e-9)
    counts = csr_matrix((rng.random((300, 40)) < 0.1).astype(float))
    tfidf = TfidfTransformer().fit_transform(counts)
    words = LogisticRegression(C=0.5, max_iter=60).fit(tfidf, right).predict_proba(tfidf)[:, 1]
    assert fit_words(counts, right).predict(counts) == pytest.approx(words, abs=1e-5)


def test_labels_between_wrong_and_right_count_as_both() -> None:
    """A column of halves teaches a half; a graded label is learnt on the average."""
    features = np.random.default_rng(4).normal(size=(400, 2))
    assert fit_line(features, np.full(400, 0.5)).predict(features) == pytest.approx(np.full(400, 0.5), abs=0.02)
    graded = np.where(features[:, 0] > 0, 0.9, 0.3)
    believed = fit_forest(features, graded, 0, n_trees=100, leaves=6).predict(features)
    assert believed[features[:, 0] > 0].mean() == pytest.approx(0.9, abs=0.05)
    assert believed[features[:, 0] < 0].mean() == pytest.approx(0.3, abs=0.05)


def test_rows_of_one_document_share_a_fold_and_new_rows_meet_what_will_serve() -> None:
    """A question that is there twice never judges itself; a row that taught nothing is judged by the models in use."""
    groups = np.arange(120) // 2
    drawn = Folds.drawn(120, np.arange(100), np.random.default_rng(0), 2, groups=groups, as_served=True)
    assert (drawn.of_row[:, 0:100:2] == drawn.of_row[:, 1:100:2]).all()
    assert (drawn.of_row[:, 100:] == 0).all()
    models = [Constant(at / 10) for at in range(drawn.n_models)]
    assert judge_of_new(models) == Mean((models[0], models[N_FOLDS]))
    assert drawn.believed(models, np.zeros((120, 1)))[100:] == pytest.approx(np.full(20, 0.25))
