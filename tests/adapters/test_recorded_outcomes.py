"""Outcome files from elsewhere become rows of our rungs, and what is wrong with them is named."""

from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from palier.adapters.recorded_outcomes import RecordedOutcomes, read_recorded
from palier.errors import InputError
from palier.params import LadderParams

PRICE = {"input_usd_per_million": 1.0, "output_usd_per_million": 1.0, "date": "2026-01-01"}


def ladder(**models: str) -> LadderParams:
    rungs = {
        name: {
            "kind": "heavy",
            "provider": "openai",
            "model": model,
            "passages": 0,
            "max_new_tokens": 9,
            "price": PRICE,
        }
        for name, model in models.items()
    }
    return LadderParams.model_validate({"cpu_usd_per_hour": 0.0, "rungs": rungs}, strict=False)


def outcome(query_id: int, model: str, **told: Any) -> dict[str, Any]:
    return {"query_id": query_id, "model": model, "answer": "It is 4.", "correct": 1.0, "cost_usd": 3e-9, **told}


def read(folder: Path, said: list[dict[str, Any]], asked: list[dict[str, Any]], **models: str) -> RecordedOutcomes:
    pd.DataFrame(said).to_parquet(folder / "o.parquet")
    pd.DataFrame(asked).to_parquet(folder / "q.parquet")
    return read_recorded(folder / "o.parquet", folder / "q.parquet", ladder(**models))


ASKED = [{"query_id": n, "query": f"How many lakes has country {n}?", "reference": "4"} for n in range(40)]


def test_models_become_the_rungs_that_name_them_and_others_are_passed_over(tmp_path: Path):
    said = [outcome(n, model) for n in range(40) for model in ("lab/tiny-1", "top", "unheard-of")]
    found = read(tmp_path, said, ASKED, small="lab/tiny-1", top="lab/huge-9")
    assert found.rungs == ("small", "top")
    assert len(found.outcomes) == 80
    assert {one.answer.rung for one in found.outcomes} == {"small", "top"}
    assert all(one.answer.cost_nanousd == 3 and type(one.answer.cost_nanousd) is int for one in found.outcomes)
    assert found.asked[0].row["answers"] == ["4"]


def test_a_question_without_an_outcome_of_every_rung_is_left_out_and_counted(tmp_path: Path):
    said = [outcome(n, model) for n in range(40) for model in ("small", "top") if (n, model) != (3, "top")]
    found = read(tmp_path, said, ASKED, small="a", top="b")
    assert found.n_left_out == 1
    assert "3" not in {item.row["id"] for item in found.asked}


def test_the_files_split_is_kept_and_else_drawn_by_the_text_so_that_twins_stay_together(tmp_path: Path):
    said = [outcome(n, "small") for n in range(40)]
    told = [{**row, "split": ("train", "validation", "test")[n % 3]} for n, row in enumerate(ASKED)]
    assert [item.row["split"] for item in read(tmp_path, said, told, small="a").asked][:3] == [
        "validation",
        "validation",
        "test",
    ]
    twins = [{**row, "query": f"How many lakes has {row['query_id'] // 2}?"} for row in ASKED]
    items = read(tmp_path, said, twins, small="a").asked
    assert {item.row["split"] for item in items} == {"validation", "test"}
    for one, other in zip(items[::2], items[1::2], strict=True):
        assert one.row["split"] == other.row["split"]
        assert one.row["document_id"] == other.row["document_id"]


def test_an_answer_is_read_as_a_live_reply_would_be(tmp_path: Path):
    said = [outcome(0, "small", answer=" Items[1] it is. "), outcome(1, "small", answer="I don't know.", correct=1.0)]
    one, two = read(tmp_path, said, ASKED, small="a").outcomes
    assert (one.answer.text, one.correct) == ("Items[1] it is.", 1.0)
    assert (two.answer.text, two.correct) == ("", 0.0), "what reaches nobody as an answer is not a right one"


def test_where_nothing_was_said_nothing_is_the_answer(tmp_path: Path):
    """An empty cell is no answer "nan"."""
    said = [outcome(0, "small", answer=None, correct=None), outcome(1, "small")]
    assert [one.answer.text for one in read(tmp_path, said, ASKED, small="a").outcomes] == ["", "It is 4."]


def test_a_missing_label_stays_missing(tmp_path: Path):
    found = read(tmp_path, [outcome(0, "small", correct=None), outcome(1, "small")], ASKED, small="a")
    assert [one.correct for one in found.outcomes] == [None, 1.0]


def test_a_french_question_is_known_for_one(tmp_path: Path):
    asked = [{"query_id": 0, "query": "Combien de lacs y a-t-il dans ce pays ?"}]
    (item,) = read(tmp_path, [outcome(0, "small")], asked, small="a").asked
    assert item.question.lang == "fr"


@pytest.mark.parametrize(
    ("said", "message"),
    [
        ([outcome(0, "other")], "holds no model of the ladder"),
        ([outcome(0, "small"), outcome(0, "small")], "two outcomes of one model"),
        ([outcome(99, "small")], "No question of q.parquet has an outcome"),
        ([{"query_id": 0, "model": "small", "correct": 1.0, "cost_usd": 0.1}], "lacks the column.s. answer"),
        ([outcome(0, "small", cost_usd=None), outcome(1, "small")], "`cost_usd` is missing"),
        ([outcome(0, "small", cost_usd=-1.0)], "`cost_usd` is missing or below 0"),
        ([outcome(0, "small", correct=85.0)], "`correct` lies outside 0..1"),
    ],
)
def test_what_cannot_be_used_is_an_error_that_says_why(tmp_path: Path, said: list[dict[str, Any]], message: str):
    with pytest.raises(InputError, match=message):
        read(tmp_path, said, ASKED, small="a")


def test_a_split_that_is_not_known_is_refused_and_not_drawn(tmp_path: Path):
    """Else most of "Test" would teach."""
    with pytest.raises(InputError, match="`split` is Test, dev in some queries: name it train, validation, test"):
        read(tmp_path, [outcome(0, "small")], [{**ASKED[0], "split": "Test"}, {**ASKED[1], "split": "dev"}], small="a")
    untold = [{**row, "split": None if row["query_id"] else "test"} for row in ASKED]
    found = read(tmp_path, [outcome(n, "small") for n in range(40)], untold, small="a")
    assert {item.row["split"] for item in found.asked} == {"validation", "test"}
