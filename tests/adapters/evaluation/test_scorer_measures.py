"""Calibration and ranking are what they are known to be on scores that were made to be right, flat, or wrong."""

import numpy as np
import pandas as pd
import pytest

from palier.adapters.evaluation.answer_measures import Sampling
from palier.adapters.evaluation.scorer_measures import learning_curve, scorer_measures
from palier.adapters.scorer_training import fit_head
from palier.domain.calibration import calibration_error_by_chance

SAMPLING = Sampling(seed=7, samples=100)


def outcomes(scores, quality):
    """One answer to each question."""
    return pd.DataFrame({"query_id": [f"q{i}" for i in range(len(quality))], "score": scores, "correct": quality})


def drawn(n=2000, seed=0):
    """Scores, and qualities of 0 or 1 that come as often as the scores say."""
    rng = np.random.default_rng(seed)
    scores = rng.random(n)
    return outcomes(scores, (rng.random(n) < scores).astype(float))


def test_scores_that_keep_their_promise_are_calibrated_and_rank():
    table = drawn()
    found = scorer_measures(table, (0.5,), SAMPLING)
    assert found.ece < 0.05
    assert found.ece == pytest.approx(found.ece_by_chance, rel=0.6)  # nothing else is wrong with them
    rows = table["score"].to_numpy(), table["correct"].to_numpy()
    assert found.ece_by_chance == pytest.approx(calibration_error_by_chance(*rows))
    assert found.auc is not None
    assert found.auc.value == pytest.approx(5 / 6, abs=0.03)  # of uniform scores that are probabilities
    assert found.brier.value == pytest.approx(1 / 6, abs=0.02)
    assert [one.score for one in found.bins] == sorted(one.score for one in found.bins)
    assert sum(one.quality.n for one in found.bins) == found.n == len(table)


def test_overconfident_scores_are_told_and_one_class_has_no_auc():
    table = drawn()
    boasting = scorer_measures(table.assign(score=0.5 + table["score"] / 2), (), SAMPLING)
    assert boasting.ece == pytest.approx(0.25, abs=0.03)
    assert boasting.ece_by_chance < 0.05
    assert scorer_measures(table.assign(correct=1.0), (), SAMPLING).auc is None


def test_rungs_that_all_say_the_same_are_no_more_evidence_than_one_of_them():
    once = drawn(100)
    thrice = pd.concat([once] * 3, ignore_index=True)
    alone, together = (scorer_measures(table, (), SAMPLING) for table in (once, thrice))
    assert (together.n, together.auc.n) == (300, 100)
    assert (together.auc.low, together.auc.high) == pytest.approx((alone.auc.low, alone.auc.high))
    assert (together.brier.low, together.brier.high) == pytest.approx((alone.brier.low, alone.brier.high))


def test_the_ece_by_chance_is_that_of_calibrated_scorers_even_where_rungs_are_right_and_wrong_together():
    exams = [pd.concat([drawn(100, seed)] * 3, ignore_index=True) for seed in range(40)]
    found = [scorer_measures(table, (), Sampling(seed=7, samples=2)) for table in exams]
    by_chance = np.mean([one.ece_by_chance for one in found])
    assert np.mean([one.ece for one in found]) == pytest.approx(by_chance, rel=0.15)


def test_a_threshold_trades_precision_for_recall():
    table = outcomes([0.2, 0.4, 0.6, 0.8], [0.0, 1.0, 0.0, 1.0])
    low, high, above = scorer_measures(table, (0.7, 0.0, 0.9), SAMPLING).thresholds
    assert (low.threshold, low.share_accepted, low.precision, low.recall) == (0.0, 1.0, 0.5, 1.0)
    assert (high.accuracy, high.precision, high.recall) == (0.75, 1.0, 0.5)
    assert (above.share_accepted, above.precision, above.recall) == (0.0, None, 0.0)


def test_a_learning_curve_learns_from_whole_documents_and_more_of_them():
    rng = np.random.default_rng(3)
    features = rng.normal(size=(400, 3))
    quality = (features[:, 0] + 0.3 * rng.normal(size=400) > 0).astype(float)
    documents = [f"d{i // 10}" for i in range(400)]
    table = outcomes(0.0, quality).assign(document_id=documents, features=features.tolist())
    seen = []

    def fit(rows):
        seen.append(rows)
        head = fit_head(np.array(rows["features"].tolist()), rows["correct"].to_numpy(), 1.0)
        return lambda test: np.array([head.predict(np.asarray(one)) for one in test["features"]])

    points = learning_curve(table[:300], table[300:], (0.1, 0.5, 1.0), fit, SAMPLING)
    assert [point.n_rows for point in points] == [30, 150, 300]
    assert all(rows["document_id"].value_counts().eq(10).all() for rows in seen)
    assert set(seen[0]["document_id"]) <= set(seen[1]["document_id"])
    assert points[-1].measures["auc"].value > 0.9
    assert points[-1].measures["ece_by_chance"] > 0
