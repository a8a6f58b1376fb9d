"""The scorer's benchmark asks test articles only, by the ladder of `params.yaml`; its file holds what it promises."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bench.scorer import _difference, _judged, run
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


@pytest.mark.model
def test_only_test_articles_are_asked_and_the_file_holds_each_scorer_and_the_broken_reader(tmp_path: Path) -> None:
    rows = rows_of("test", 20)
    data = write(tmp_path / "a.jsonl", rows + rows_of("train", 20))
    content = run([data], tmp_path / "o.json", max_questions=None)
    assert json.loads((tmp_path / "o.json").read_text(encoding="utf-8")) == content
    assert content["data"][0]["rows"] == 80
    results = content["results"]
    n_answers = len(rows) + len(rows) // 4  # each fourth question is asked of the wide reader too
    for scorer in ("fitted_without_starter", "fitted_without_verifier", "verifier", "reader_margin"):
        assert results[scorer]["auc"]["n"] == n_answers
        assert results[scorer]["auc"]["low"] <= results[scorer]["auc"]["value"] <= results[scorer]["auc"]["high"]
    assert 0.0 <= results["fitted"]["ece"] <= 1.0
    assert 0.0 < results["fitted"]["ece_by_chance"] < 0.3
    assert "ece" not in results["reader_margin"]  # logits are no probabilities
    assert results["starter_by_domain"]["a.jsonl"]["auc"]["value"] == results["starter"]["auc"]["value"]
    broken = results["broken_reader"]
    assert broken["n"] > 0
    assert broken["n_sound"] > 0
    assert broken["quality_broken"] < broken["quality_sound"]


@pytest.mark.model
def test_files_without_a_test_article_are_refused_and_nothing_is_written(tmp_path: Path) -> None:
    data = write(tmp_path / "a.jsonl", rows_of("train", 3))
    with pytest.raises(InputError, match="No row asks about an article of test titles"):
        run([data], tmp_path / "o.json")
    assert not (tmp_path / "o.json").exists()


def test_where_all_answers_are_bad_no_auc_is_told() -> None:
    """.5 would look measured."""
    scores, quality = np.array([0.2, 0.4, 0.9]), np.zeros(3)
    nothing = {"value": None, "low": None, "high": None, "n": 3}
    assert _judged(scores, quality, np.random.default_rng(1), "starter")["auc"] == nothing
    assert _difference(scores, scores, quality, np.random.default_rng(1)) == nothing


def test_resamples_of_one_class_are_left_out_of_an_interval() -> None:
    """A ranking without a fault is one on every resample on which it is defined."""
    found = _judged(np.array([0.2, 0.4, 0.9]), np.array([0.0, 0.0, 1.0]), np.random.default_rng(1), "starter")["auc"]
    assert (found["value"], found["low"], found["high"]) == (1.0, 1.0, 1.0)
