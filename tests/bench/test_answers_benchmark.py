"""The answers benchmark asks the titles and rungs that it is told to, and its file holds what the contract promises."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bench.answer_choices import scan_retrieval_weights
from bench.answers import Answered, Asked, _cascade, _scorer_metrics, run
from palier.adapters.qa_rows import QaRow
from palier.adapters.search import connect
from palier.domain.answering import Question, RungAnswer
from palier.domain.title_split import title_split
from palier.errors import InputError

PLACES = ("Lisbon", "Quimper", "Tromso", "Galway", "Bruges", "Cadiz", "Ghent", "Trieste", "Bergen", "Nantes")


def row(i: int, **changes: Any) -> dict[str, Any]:
    place = PLACES[i % len(PLACES)]
    return {
        "id": f"q{i}",
        "lang": "en",
        "title": f"Bakery_of_{place}",
        "passage_id": f"p{i}",
        "context": f"The bakery of {place} opened in 19{10 + i}. It was founded by Ada Baker, who sold {i + 3} loaves.",
        "question": f"In which year did the bakery of {place} open?",
        "answers": [f"19{10 + i}"],
        "answerable": True,
    } | changes


def write(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(item) + "\n" for item in rows), encoding="utf-8")
    return path


def test_a_split_or_a_rung_that_is_not_there_is_told_before_anything_is_asked(tmp_path: Path) -> None:
    data = write(tmp_path / "a.jsonl", [row(0)])
    with pytest.raises(InputError, match="No split 'exam'"):
        run([data], tmp_path / "o.json", search_url="http://127.0.0.1:1", asked_titles="exam")  # type: ignore[arg-type]
    with pytest.raises(InputError, match="No local rung heavy"):
        run([data], tmp_path / "o.json", search_url="http://127.0.0.1:1", rungs=["heavy"])
    assert not (tmp_path / "o.json").exists()


@pytest.mark.service
@pytest.mark.model
def test_the_file_holds_the_contract_for_the_titles_and_rungs_that_were_asked(tmp_path: Path, search_url: str) -> None:
    """The starter reader over ten small passages: gold and retrieved, each F1 beside its share answered."""
    rows = [row(i) for i in range(10)] + [row(i, id=f"n{i}", answers=[], answerable=False) for i in range(3)]
    content = run([write(tmp_path / "a.jsonl", rows)], tmp_path / "o.json", search_url=search_url, rungs=["reader"])
    assert json.loads((tmp_path / "o.json").read_text(encoding="utf-8")) == content
    assert content["params"]["rungs"] == ["reader"]
    results = content["results"]
    assert set(results) == {"best_overlap_sentence", "reader", "scorer", "retrieval"}
    for rung in ("reader", "best_overlap_sentence"):
        for part in ("gold", "retrieved"):
            found = results[rung][part]
            assert found["f1"]["n"] == found["share_answered"]["n"] == 10
            assert found["no_answer_f1"]["n"] == 13
    assert results["best_overlap_sentence"]["retrieved"]["share_answered"]["value"] == 1.0
    assert results["reader"]["gold"]["f1"]["value"] > results["best_overlap_sentence"]["gold"]["f1"]["value"]
    assert 0 < results["reader"]["cpu_ms_p50"] <= results["reader"]["cpu_ms_p95"]
    assert results["retrieval"]["hit_at_5"]["n"] == 13
    assert {"auc", "ece", "ece_by_chance", "auc_of_margin", "auc_gain_over_margin"} <= set(results["scorer"])
    with connect(search_url) as client:
        assert not client.indices.get(index="bench-retrieval-*")


@pytest.mark.service
@pytest.mark.model
def test_only_questions_on_the_titles_asked_for_are_asked(tmp_path: Path, search_url: str) -> None:
    rows = [row(i, title=f"Article {i}") for i in range(60)]
    expected = sum(title_split(item["title"]) == "test" for item in rows)
    assert 0 < expected < 60
    data = write(tmp_path / "a.jsonl", rows)
    content = run([data], tmp_path / "o.json", search_url=search_url, asked_titles="test", rungs=["reader"])
    assert content["results"]["reader"]["retrieved"]["f1"]["n"] == expected
    assert "choices" not in content["results"]


@pytest.mark.service
@pytest.mark.model
def test_weights_of_retrieval_are_scanned_on_validation_titles_alone(tmp_path: Path, search_url: str) -> None:
    data = write(tmp_path / "a.jsonl", [row(i, title=f"Article {i}") for i in range(60)])
    content = run([data], tmp_path / "o.json", search_url=search_url, asked_titles="validation", rungs=["reader"])
    scanned = content["results"]["choices"]["retrieval_weight"]["reader"]
    served = content["results"]["reader"]["retrieved"]["f1_with_unanswerable"]["value"]
    assert scanned["0"] == pytest.approx(served, abs=1e-3)
    assert "1000" in scanned


@pytest.mark.service
@pytest.mark.model
def test_a_writer_is_asked_where_it_is_named_with_its_speed_and_language(tmp_path: Path, search_url: str) -> None:
    data = write(tmp_path / "a.jsonl", [row(i) for i in range(4)])
    content = run([data], tmp_path / "o.json", search_url=search_url, rungs=["reader", "writer"])
    results = content["results"]
    assert content["params"]["rungs"] == ["reader", "writer"]
    assert results["writer"]["gold"]["f1"]["n"] == 4
    assert results["writer"]["cost_usd"]["value"] > results["reader"]["cost_usd"]["value"]
    speed = results["writer"]["speed"]
    assert speed["tokens_per_s"] > 0
    assert 0 < speed["first_token_ms_p50"] <= speed["first_token_ms_p95"]
    assert 0.0 <= results["writer"]["in_language"]["value"] <= 1.0
    assert results["cascade"]["rungs"] == ["reader", "writer"]
    assert results["cascade"]["gold"]["f1"]["n"] == results["reader"]["gold"]["f1"]["n"]


def test_rungs_that_say_the_same_are_no_more_evidence_than_one_of_them() -> None:
    """Whole questions are resampled: a second rung that repeats the first makes no interval narrower."""
    rng = np.random.default_rng(3)
    margins, quality = rng.normal(size=30), rng.integers(0, 2, 30).astype(float)
    answers = [RungAnswer("reader", "x", signals={"margin": float(margin)}) for margin in margins]
    one = Answered(answers, quality, rng.random(30))
    alone, twice = (_scorer_metrics([one] * n, 0.0, np.random.default_rng(7)) for n in (1, 2))
    for name in ("auc_interval", "auc_of_margin", "auc_gain_over_margin"):
        assert twice[name] == alone[name]
        assert twice[name]["n"] == 30
    assert twice["ece_by_chance"] >= alone["ece_by_chance"]
    assert (alone["n"], twice["n"]) == (30, 60)


def test_the_scorer_must_beat_a_reader_that_knows_why_it_is_silent() -> None:
    """Right where its margin is far above its threshold and where it is far below: the bare margin sees half of it."""
    margins = np.array([9.0, 8.0, 3.1, 2.9, -3.0, -4.0])
    answers = [RungAnswer("reader", "x" if margin >= 3 else "", signals={"margin": margin}) for margin in margins]
    one = Answered(answers, np.array([1.0, 1.0, 0.0, 0.0, 1.0, 1.0]), np.full(6, 0.5))
    found = _scorer_metrics([one], 3.0, np.random.default_rng(7))
    assert found["auc_of_margin"]["value"] == 0.5
    assert found["auc_of_margin_from_threshold"]["value"] == 1.0
    assert found["auc_gain_over_margin_from_threshold"]["value"] == -0.5


def test_a_language_that_is_none_of_ours_is_told_before_anything_is_asked(tmp_path: Path) -> None:
    data = write(tmp_path / "a.jsonl", [row(0)])
    with pytest.raises(InputError, match="No language 'de'"):
        run([data], tmp_path / "o.json", search_url="http://127.0.0.1:1", lang="de")


def test_where_all_answers_are_good_no_auc_is_told_and_nothing_is_nan() -> None:
    one = Answered([RungAnswer("reader", "x")] * 4, np.ones(4), np.full(4, 0.5))
    found = _scorer_metrics([one], 0.0, np.random.default_rng(7))
    assert found["auc"] is None
    assert found["auc_of_margin"]["value"] is None
    json.dumps(found, allow_nan=False)


def test_questions_of_one_title_leave_nothing_to_choose_a_threshold_by() -> None:
    """Then the first rung answers; no mean of nothing is taken (a warning, which fails a test)."""
    first, last = (Answered([RungAnswer(name, name)] * 4, np.ones(4), np.full(4, 0.5)) for name in ("first", "last"))
    assert {answer.text for answer in _cascade(first, last, np.zeros(4, dtype=np.int64))} == {"first"}


def test_without_a_reader_no_weight_of_retrieval_is_scanned() -> None:
    """`--rungs writer --titles validation`: all is measured by then, and must be written."""
    asked = Asked(QaRow("q", "en", "T", "p", "c", "Who?", ("x",), answerable=True), Question("Who?", "en"), None, ())  # type: ignore[arg-type]
    assert scan_retrieval_weights(None, [asked], {}) == {}  # type: ignore[arg-type]
