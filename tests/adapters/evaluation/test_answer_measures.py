"""Measures of outcome rows: what counts for what, and that libraries agree with what they are known to say."""

import json

import pandas as pd
import pytest

from palier.adapters.evaluation.answer_measures import Sampling, bleu_of_all, by_language, measures, with_scores
from palier.adapters.evaluation.generation_scores import corpus_bleu, generation_scores

SAMPLING = Sampling(seed=7, samples=100)


def row(query_id, answer, references, correct, lang="en", cites_gold=None):
    return {
        "query_id": query_id,
        "model": "reader",
        "answer": answer,
        "correct": correct,
        "cites_gold": cites_gold,
        "cost_nanousd": 500,
        "latency_ms": 10.0,
        "lang": lang,
        "reference": json.dumps(references),
        "answerable": bool(references),
    }


TABLE = with_scores(
    pd.DataFrame(
        [
            row("a", "the oven", ["oven", "the big oven"], 1.0, cites_gold=1.0),
            row("b", "", ["table"], 0.0),
            row("c", "", [], 1.0),
            row("d", "no no no no", [], 0.0),
            row("e", "trois jours", ["deux jours"], 0.5, "fr", 0.0),
        ]
    )
)


def test_an_abstention_counts_as_nothing_where_there_is_an_answer():
    found = measures(TABLE, SAMPLING)
    values = {name: interval and (round(interval.value, 4), interval.n) for name, interval in found.items()}
    assert values["em"] == (round(1 / 3, 4), 3)
    assert values["f1"] == (0.5, 3)
    assert values["share_answered"] == (round(2 / 3, 4), 3)
    assert values["no_answer_f1"] == (0.5, 5)
    assert values["quality"] == (0.5, 5)
    assert values["citation_correct"] == (0.5, 2)
    assert values["repetition"] == (round(0.5 / 3, 4), 3)
    assert values["cost_usd"] == (0.0, 5)
    assert found["cost_usd"].value == pytest.approx(5e-7)


def test_languages_stand_side_by_side_and_what_has_no_row_is_none():
    found = by_language(TABLE, ("en", "fr"), lambda rows: measures(rows, SAMPLING))
    assert list(found) == ["all", "en", "fr"]
    assert found["fr"]["f1"].value == 0.5
    assert found["fr"]["no_answer_f1"] is None
    assert found["en"]["citation_correct"].n == 1


def test_the_right_words_get_full_marks_and_accents_do_not_count():
    scores = generation_scores("Fermé le dimanche", ["ouvert le lundi", "ferme le dimanche"], "fr")
    assert scores.bleu == pytest.approx(1.0)
    assert scores.rouge_l == pytest.approx(1.0)
    assert scores.meteor > 0.95
    nothing = generation_scores("", ["oven"], "en")
    assert (nothing.bleu, nothing.rouge_l, nothing.meteor) == (0.0, 0.0, 0.0)
    with pytest.raises(ValueError, match="unanswerable"):
        generation_scores("oven", [], "en")


def test_meteor_sees_the_stems_of_each_language_and_rouge_the_order():
    assert generation_scores("livraisons gratuites", ["livraison gratuite"], "fr").meteor > 0.9
    assert generation_scores("livraisons gratuites", ["livraison gratuite"], "fr").rouge_l == 0.0
    forth = generation_scores("red blue green", ["red blue green"], "en").rouge_l
    back = generation_scores("green blue red", ["red blue green"], "en").rouge_l
    assert (forth, back) == (1.0, pytest.approx(1 / 3))


def test_corpus_bleu_takes_several_references_and_is_0_to_100():
    answers = ["the cat sat on the mat", "a dog ran over the hill"]
    references = [["the cat sat on the mat"], ["it rained all day long", "a dog ran over the hill"]]
    assert corpus_bleu(answers, references) == pytest.approx(100.0)
    assert corpus_bleu(answers, [["nothing alike"], ["at all"]]) < 10
    assert corpus_bleu([], []) == 0.0
    assert 0.0 <= bleu_of_all(TABLE) <= 100.0
    assert bleu_of_all(TABLE[~TABLE["answerable"]]) is None  # 0 would look measured
