"""Rounding is measured on the same answers and articles for both models, and the starter's costs little."""

import json
from pathlib import Path

import pytest

from bench.rounding import run
from palier.errors import InputError
from tests.bench.test_scorer_benchmark import rows_of, write


@pytest.mark.model
def test_float_and_int8_read_the_same_questions_and_hardly_differ(tmp_path: Path) -> None:
    """Four rows ask for a year and call a name right, so that not all that the reader says is good."""
    wrong = [row | {"id": f"w{n}", "answers": ["Ada Baker"]} for n, row in enumerate(rows_of("test", 4)[::2])]
    data = write(tmp_path / "a.jsonl", rows_of("test", 12) + wrong + rows_of("train", 5))
    content = run([data], tmp_path / "o.json", max_questions=None)
    assert json.loads((tmp_path / "o.json").read_text(encoding="utf-8")) == content
    reader = content["results"]["reader"]["en"]
    assert reader["f1"]["float"]["n"] == reader["f1"]["int8"]["n"] == 16
    assert reader["quality"]["change"]["n"] == 28
    assert reader["f1_without_threshold"]["int8"]["value"] > 0.5
    assert abs(reader["f1_without_threshold"]["change"]["value"]) < 0.3
    assert content["results"]["speed"] is None
    assert content["results"]["verifier"]["auc"]["change"]["n"] == 28
    assert 0.0 <= content["results"]["verifier"]["auc"]["int8"]["value"] <= 1.0


@pytest.mark.model
def test_answers_that_are_all_good_say_nothing_about_the_verifier(tmp_path: Path) -> None:
    """No AUC is defined on them, and NaN is no JSON. Each word of the passage is right, so that no machine's reading
    of it is wrong; what is withheld would be, and does not happen on questions this plain.
    """
    rows = [row | {"answers": row["context"].split()} for row in rows_of("test", 12) if row["answerable"]]
    content = run([write(tmp_path / "a.jsonl", rows)], tmp_path / "o.json", max_questions=None)
    assert content["results"]["verifier"] is None


@pytest.mark.model
def test_speed_is_told_where_passages_are_long_enough(tmp_path: Path) -> None:
    rows = [row | {"context": " ".join([row["context"]] * 20)} for row in rows_of("test", 3)]
    speed = run([write(tmp_path / "a.jsonl", rows)], tmp_path / "o.json")["results"]["speed"]
    assert set(speed) == {"en"}
    assert speed["en"]["ours_cpu_ms"]["n"] == len(rows)
    assert 0 < speed["en"]["ratio"]["low"] <= speed["en"]["ratio"]["value"]


def test_files_without_a_test_article_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="No row asks about an article of test titles"):
        run([write(tmp_path / "a.jsonl", rows_of("train", 3))], tmp_path / "o.json")
