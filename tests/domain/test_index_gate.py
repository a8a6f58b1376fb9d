"""The index gate asks the right questions, and lets an index through only on what was shown."""

import json
from typing import Any

import numpy as np
import pytest

from palier.domain.documents import Lang, Passage
from palier.domain.golden import GoldenQuestion
from palier.domain.index_gate import (
    MAX_QUESTIONS,
    MIN_QUESTIONS,
    PROBES_PER_LANGUAGE,
    GateReport,
    Quality,
    answers_probe,
    choose_probes,
    gate_questions,
    judge_quality,
    one_sided,
    probe_findings,
    quality_findings,
    question_key,
    told,
)


def row(i: int, **changes: Any) -> GoldenQuestion:
    made = {
        "id": f"q{i}",
        "lang": "en",
        "question": f"What is {i}?",
        "answers": ["it"],
        "document_id": f"en/{i}",
        "quote": f"it is {i}",
        "answerable": True,
        "kind": "fact",
        "split": "validation",
        "passage_ids": [f"en/{i}#1"],
    } | changes
    return GoldenQuestion.model_validate_json(json.dumps(made))


def passage(i: int, text: str = "", lang: Lang = "en") -> Passage:
    return Passage(f"{lang}/{i}#x", f"{lang}/{i}", lang, f"Title {i}", "", text or f"Words of passage {i}.", 1, 2)


def judged(new: list[float], live: list[float], margin: float = 0.03) -> tuple[Quality, list[str]]:
    bound = one_sided(0.9, np.random.default_rng(0))
    scores = [{f"k{i}": value for i, value in enumerate(values)} for values in (new, live)]
    quality = judge_quality(scores[0], scores[1], "asked now", bound)
    return quality, quality_findings(quality, margin, 0.9)


def test_validation_questions_are_asked_never_those_of_the_test_split() -> None:
    rows = [row(1), row(2, split="train"), row(3, split="test"), row(4, passage_ids=[])]
    assert [item.id for item in gate_questions(rows)] == ["q1"]
    assert [item.id for item in gate_questions(rows[1:])] == ["q2"]
    assert gate_questions([rows[2]]) == []


def test_a_large_set_is_sampled_and_the_sample_hardly_changes_with_a_few_rows_more() -> None:
    rows = [row(i) for i in range(3 * MAX_QUESTIONS)]
    one = {item.id for item in gate_questions(rows)}
    two = {item.id for item in gate_questions(rows[5:])}
    assert len(one) == len(two) == MAX_QUESTIONS
    assert len(one - two) <= 5


def test_a_question_keeps_its_key_for_as_long_as_its_words_and_quote_stay() -> None:
    assert question_key(row(1)) == question_key(row(1, id="renamed", passage_ids=["en/1#2"]))
    history = [{"role": "user", "content": "About it"}]
    others = [row(1, quote="it is not"), row(1, question="Who?"), row(1, lang="fr"), row(1, history=history)]
    assert len({question_key(item) for item in (row(1), *others)}) == 5


def test_probes_come_from_every_language_and_all_over_the_corpus() -> None:
    english = [passage(i) for i in range(100)]
    probes = choose_probes([*english, passage(1, lang="fr"), passage(2, "---", lang="fr")])
    assert [probe.passage_id for probe in probes if probe.lang == "fr"] == ["fr/1#x"]
    chosen = [probe for probe in probes if probe.lang == "en"]
    assert len(chosen) == PROBES_PER_LANGUAGE
    assert (chosen[0], chosen[-1]) == (english[0], english[-1])


def test_a_twin_that_begins_alike_answers_a_probe_too() -> None:
    twin = Passage("en/9#y", "en/9", "en", "Title 1", "", passage(1).text, 8, 9)
    assert answers_probe(passage(1), [passage(2), twin])
    assert not answers_probe(passage(1), [passage(2)])


def test_one_probe_missed_is_forgiven_and_a_broken_search_is_not() -> None:
    outcomes: list[tuple[Lang, str, bool]] = [("en", "BM25", i > 0) for i in range(10)]
    assert probe_findings(outcomes) == []
    broken: list[tuple[Lang, str, bool]] = [("fr", "vector search", i > 4) for i in range(10)]
    (finding,) = probe_findings([*outcomes, *broken])
    assert finding == "vector search in fr finds 5 of 10 of the index's own passages"


def test_an_index_that_answers_alike_passes_and_one_that_loses_is_refused_with_its_figures() -> None:
    live = [1.0, 0.63, 0.5, 0.0] * 20
    quality, findings = judged(live, live)
    assert (findings, quality.low, quality.n) == ([], 0.0, 80)
    worse = [0.0 if i % 5 == 0 else value for i, value in enumerate(live)]
    quality, (finding,) = judged(worse, live)
    assert quality.difference is not None
    assert quality.difference < -0.05
    assert f"{quality.new:.3f} against {quality.live:.3f}" in finding
    assert "80 golden questions" in finding


def test_what_has_not_been_shown_not_to_be_worse_is_refused_although_its_mean_is_the_same() -> None:
    """Twelve questions, half of them turned from right to wrong and half the other way: nothing is shown."""
    quality, findings = judged([1.0, 0.0] * 6, [0.0, 1.0] * 6)
    assert quality.difference == 0.0
    assert len(findings) == 1


def test_only_questions_that_both_indexes_hold_the_answer_to_are_compared() -> None:
    new = {f"k{i}": 1.0 for i in range(30)}
    live = {f"k{i}": 1.0 for i in range(10, 40)} | {"k35": 0.0}
    quality = judge_quality(new, live, "recorded", one_sided(0.9, np.random.default_rng(0)))
    assert (quality.n, quality.new, quality.live, quality.compared_with) == (20, 1.0, 1.0, "recorded")


@pytest.mark.parametrize("n", [0, MIN_QUESTIONS - 1])
def test_too_few_questions_decide_nothing_and_say_so(n: int) -> None:
    quality, findings = judged([0.0] * n, [1.0] * n)
    assert findings == []
    assert quality.low is None
    assert quality.compared_with == f"only {n} questions in common"


def test_the_first_index_records_its_scores_without_a_comparison() -> None:
    scores = {"b": 0.123456, "a": 1.0}
    quality = judge_quality(scores, None, "no index is live yet", one_sided(0.9, np.random.default_rng(0)))
    report = GateReport((), 4, quality)
    assert report.is_accepted
    assert told(report, scores)["scores"] == {"a": 1.0, "b": 0.1235}
    assert report.metrics == {"gate_n_probes": 4, "gate_n": 2, "gate_new": 0.5617}
