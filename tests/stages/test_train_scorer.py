"""The scorer's stage: heads hear cheaper rungs, and the guard bears the golden questions."""

from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from palier.adapters.evaluation.answer_measures import Sampling
from palier.adapters.evaluation.scorer_measures import learning_curve
from palier.adapters.golden_guard import raise_thresholds
from palier.adapters.scorer_training import MIN_ROWS
from palier.adapters.workspace import Workspace
from palier.domain.guarding import TOPIC, GuardWeights
from palier.domain.scoring import ALL_FEATURES, ANY_RUNG, FEATURES, as_outsider
from palier.errors import NotReadyError
from palier.params import Params, load_params
from palier.settings import repository_root
from palier.stages import train_scorer
from palier.stages.train_scorer import fit_scorer, predict_scores, vectors_of


def params_without_starter(**others: float) -> Params:
    loaded = load_params(repository_root() / "params.yaml")
    section = loaded.train_scorer.model_copy(update={"starter": None, "hear_earlier": False, **others})
    return loaded.model_copy(update={"train_scorer": section})


def outcomes(n: int, seed: int = 0) -> pd.DataFrame:
    """Two rungs; the second one is right whenever it says what the first one said."""
    rng = np.random.default_rng(seed)
    rows = []
    for place in range(n):
        agrees = bool(rng.random() < 0.5)
        for rung, answer, cost, correct in (
            ("small", "at noon", 10, float(rng.random() < 0.5)),
            ("large", "at noon" if agrees else "at midnight", 90, float(agrees)),
        ):
            rows.append(
                {
                    "query_id": f"q{place}",
                    "lang": "en",
                    "model": rung,
                    "answer": answer,
                    "cost_nanousd": cost,
                    "correct": correct,
                    "features": rng.normal(size=len(FEATURES)).tolist(),
                }
            )
    return pd.DataFrame(rows)


def test_a_dearer_rung_is_scored_beside_the_answers_of_cheaper_ones_where_they_are_heard():
    table = outcomes(200)
    large = (table["model"] == "large").to_numpy()
    right = table["correct"].to_numpy() == 1.0
    gaps = {}
    for hears in (False, True):
        scores = predict_scores(
            fit_scorer(table, params_without_starter(hear_earlier=hears, regularisation=20.0)), table
        )
        gaps[hears] = scores[large & right].mean() - scores[large & ~right].mean()
    assert gaps[True] > 0.3 > gaps[False]


def test_the_cheapest_rung_hears_nobody_and_the_next_one_hears_it():
    table = outcomes(3)
    heard = vectors_of(table, heard=True)[:, ALL_FEATURES.index("n_heard")]
    assert (heard[(table["model"] == "small").to_numpy()] == 0).all()
    assert heard[(table["model"] == "large").to_numpy()] == pytest.approx(np.log(2))
    assert not vectors_of(table, heard=False)[:, len(FEATURES) :].any()


def test_there_is_a_head_for_answers_from_elsewhere():
    weights = fit_scorer(outcomes(MIN_ROWS), params_without_starter())
    assert set(weights.answered) == {"small", "large", ANY_RUNG}


def test_a_rung_that_nothing_was_learnt_of_is_scored_as_an_answer_from_elsewhere():
    table = outcomes(MIN_ROWS)
    weights = fit_scorer(table[table["model"] == "small"], params_without_starter())
    scores = predict_scores(weights, table)
    large = (table["model"] == "large").to_numpy()
    from_elsewhere = as_outsider(vectors_of(table[large], heard=False))
    assert scores[large].tolist() == [weights.answered[ANY_RUNG].predict(vector) for vector in from_elsewhere]
    assert scores[~large].tolist() == predict_scores(weights, table[~large]).tolist()


def test_a_learning_curve_goes_on_where_few_documents_hold_no_answer_of_a_rung():
    """As where a rung was kept in one language only, and a small share draws documents of the other one."""
    params = params_without_starter()
    table = outcomes(60).assign(document_id=[f"d{row // 20}" for row in range(120)])
    table = table[(table["model"] == "small") | (table["document_id"] == "d0")]
    for seed in range(3):  # of six documents one is drawn
        sampling = Sampling(seed, samples=2)
        (point,) = learning_curve(
            table, table, (0.2,), lambda rows: partial(predict_scores, fit_scorer(rows, params)), sampling
        )
        assert point.n_rows in {10, 20}
        assert point.measures["auc"] is not None


def test_outcomes_of_an_older_version_are_refused_with_the_remedy():
    table = outcomes(2)
    table["features"] = [[0.0, 1.0]] * len(table)
    with pytest.raises(NotReadyError, match="record-outcomes"):
        vectors_of(table, heard=True)


def test_without_a_validation_question_the_remedy_is_named(tmp_path: Path):
    place = Workspace(tmp_path)
    place.outcomes.mkdir(parents=True)
    table = outcomes(2)
    table.drop(columns="lang").to_parquet(place.outcomes / "outcomes.parquet")
    asked = table[["query_id", "lang"]].drop_duplicates().assign(split="test", document_id="en/menu")
    asked.to_parquet(place.outcomes / "queries.parquet")
    with pytest.raises(NotReadyError, match=r"no validation question.*`split: validation`"):
        train_scorer.run(params_without_starter(), tmp_path, lambda *_: None)


def test_thresholds_rise_until_golden_questions_pass_and_never_fall():
    nothing = (0.0,)
    weights = GuardWeights(
        mean=nothing, scale=nothing, weights=(nothing,) * 4, bias=(0.0,) * 4,
        topic_mean=(0.0,) * len(TOPIC), topic_scale=(1.0,) * len(TOPIC), topic_weights=(0.0,) * len(TOPIC),
        topic_bias=0.0, attack_threshold={"en": 0.5, "fr": 0.5}, topic_threshold={"en": 0.5, "fr": 0.5},
    )  # fmt: skip
    attack = np.array([0.1, 0.9, 0.2, 0.3])
    topic = np.array([0.1, 0.1, 0.8, 0.1])
    raised = raise_thresholds(weights, attack, topic, np.array(["en", "en", "fr", "fr"]), max_refused=0.01)
    assert raised.attack_threshold["en"] > 0.9
    assert raised.attack_threshold["fr"] == 0.5
    assert raised.topic_threshold["en"] == 0.5
    assert raised.topic_threshold["fr"] > 0.8
