"""The scorer's benchmark asks test articles only, by the ladder of `params.yaml`; its file holds what it promises."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bench.scorer import Said, _difference, _judged, _thinned, run
from palier.adapters.scorer_rows import ScoredRow
from palier.domain.scoring import ALL_FEATURES
from palier.domain.title_split import title_split
from palier.errors import InputError

PLACES = [f"Bakery_of_{name}" for name in ("Lisbon", "Quimper", "Tromso", "Galway", "Bruges", "Cadiz", "Ghent", "Nice")]
TRADES = ("mill", "forge", "school", "chapel", "market", "harbour")


def rows_of(split: str, n_titles: int) -> list[dict[str, Any]]:
    """Two questions on each of ``n_titles`` articles of a split, the second one without an answer there."""
    titles = (f"{place}_{number}" for number in range(100) for place in PLACES)
    chosen = [title for title in titles if title_split(title) == split][:n_titles]
    found = []
    for i, title in enumerate(chosen):
        trade, place = TRADES[i % len(TRADES)], title.replace("_", " ")
        row = {
            "id": f"q{i}",
            "lang": "en",
            "title": title,
            "passage_id": f"p{i}",
            "context": f"The {trade} of {place} opened in 19{10 + i}. Ada Baker founded it and had {i + 3} sons.",
            "question": f"In which year did the {trade} of {place} open?",
            "answers": [f"19{10 + i}" if i % 4 else "before the flood"],  # some that nobody finds: wrong answers
            "answerable": True,
        }
        silent = {"id": f"n{i}", "question": f"Who painted the {trade} of {place}?", "answers": [], "answerable": False}
        found += [row, row | silent]
    return found


def write(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def answers_of(quality: list[float], n_rungs: int = 1) -> Said:
    """Answers of rungs that say the same, question after question."""
    row = ScoredRow("a.jsonl", "T", "reader", True, np.zeros(len(ALL_FEATURES)), 0.0, {}, 0.0)
    rows = [replace(row, quality=value) for value in quality for _ in range(n_rungs)]
    return Said(rows, np.repeat(np.arange(len(quality)), n_rungs), np.zeros(len(rows), dtype=np.int64))


@pytest.mark.model
def test_only_test_articles_are_asked_and_the_file_holds_each_scorer_and_the_broken_reader(tmp_path: Path) -> None:
    rows = rows_of("test", 20)
    data = write(tmp_path / "a.jsonl", rows + rows_of("train", 20))
    content = run([data], tmp_path / "o.json", max_questions=None)
    assert json.loads((tmp_path / "o.json").read_text(encoding="utf-8")) == content
    assert content["data"][0]["rows"] == 80
    results = content["results"]
    for scorer in ("fitted_without_starter", "fitted_without_verifier", "verifier", "reader_margin"):
        assert results[scorer]["auc"]["n"] == len(rows)  # questions; each fourth has two answers
        assert results[scorer]["auc"]["low"] <= results[scorer]["auc"]["value"] <= results[scorer]["auc"]["high"]
    assert 0.0 <= results["fitted"]["ece"] <= 1.0
    assert 0.0 < results["fitted"]["ece_by_chance"] < 0.3
    assert "ece" not in results["reader_margin"]  # logits are no probabilities
    assert results["starter_by_domain"]["a.jsonl"]["auc"]["value"] == results["starter"]["auc"]["value"]
    broken = results["broken_reader"]
    assert broken["n"] == 14 + 4  # answers of either reader to each third question, and of the wide one to some
    assert broken["quality_sound"]["n"] == broken["score_broken_with_verifier"]["n"] == 14
    assert broken["quality_broken"]["value"] < broken["quality_sound"]["value"]
    assert broken["quality_falls"]["low"] > 0


@pytest.mark.model
def test_files_without_a_test_article_are_refused_and_nothing_is_written(tmp_path: Path) -> None:
    data = write(tmp_path / "a.jsonl", rows_of("train", 3))
    with pytest.raises(InputError, match="No row asks about an article of test titles"):
        run([data], tmp_path / "o.json")
    assert not (tmp_path / "o.json").exists()


def test_where_all_answers_are_bad_no_auc_is_told() -> None:
    """.5 would look measured."""
    scores, said = np.array([0.2, 0.4, 0.9]), answers_of([0.0, 0.0, 0.0])
    nothing = {"value": None, "low": None, "high": None, "n": 3}
    assert _judged(scores, said, np.random.default_rng(1), "starter")["auc"] == nothing
    assert _difference(scores, scores, said, np.random.default_rng(1)) == nothing


def test_resamples_of_one_class_are_left_out_of_an_interval() -> None:
    """A ranking without a fault is one on every resample on which it is defined."""
    said = answers_of([0.0, 0.0, 1.0])
    found = _judged(np.array([0.2, 0.4, 0.9]), said, np.random.default_rng(1), "starter")["auc"]
    assert (found["value"], found["low"], found["high"]) == (1.0, 1.0, 1.0)


def test_a_second_answer_that_repeats_the_first_is_no_more_evidence() -> None:
    """Whole questions are resampled, for AUC, for differences and for what of an ECE is chance."""
    rng = np.random.default_rng(3)
    quality, scores, others = rng.integers(0, 2, 30).astype(float).tolist(), rng.random(30), rng.random(30)
    alone, twice = answers_of(quality), answers_of(quality, n_rungs=2)
    one = _judged(scores, alone, np.random.default_rng(7), "starter")
    two = _judged(scores.repeat(2), twice, np.random.default_rng(7), "starter")
    assert two["auc"] == one["auc"]
    assert two["auc"]["n"] == 30
    assert two["ece_by_chance"] >= one["ece_by_chance"]
    assert _difference(scores.repeat(2), others.repeat(2), twice, np.random.default_rng(7)) == _difference(
        scores, others, alone, np.random.default_rng(7)
    )


def test_the_broken_reader_searches_the_passages_of_all_questions() -> None:
    """Among fewer passages the right one is found more easily, and it would not be breakage that is measured."""
    rows = rows_of("test", 4) + [row | {"lang": "fr"} for row in rows_of("test", 2)]
    some = _thinned(rows, 3)
    assert [row["context"] for row in some] == [row["context"] for row in rows]
    assert [place for place, row in enumerate(some) if row["question"]] == [0, 3, 6, 8, 11]


@pytest.mark.model
@pytest.mark.parametrize("rows", [[], [row | {"lang": "de"} for row in rows_of("test", 2)]])
def test_files_without_a_question_in_our_languages_are_refused(tmp_path: Path, rows: list[dict[str, Any]]) -> None:
    with pytest.raises(InputError, match=f"None of {len(rows)} rows asks a question in English or French"):
        run([write(tmp_path / "a.jsonl", rows)], tmp_path / "o.json")
