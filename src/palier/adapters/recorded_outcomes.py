"""Outcomes that were recorded elsewhere (a benchmark, another system's log), in the contract's form, as our own rows.

Each model of the files becomes the rung that bears its name, or the one heavy rung whose `model` it is; models without
a rung are passed over. Questions that lack an outcome of any of these rungs are left out and counted. Answers are read
as a live reply would be, so that the scorer sees in training what it will see at the gateway. A missing label is left
to a judge. The price: nothing is known of passages, so this goes with `retrieval: none` only.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from palier.domain.answering import AskedQuestion, Question, RungAnswer
from palier.domain.language import detect_language
from palier.domain.money import NANOUSD_PER_USD
from palier.domain.prompting import read_reply
from palier.errors import InputError
from palier.params import HeavyRung, LadderParams

TEST_SHARE = 0.2
"""Of the questions, drawn by the hash of their text, where the file tells no split."""
_SPLITS = {"train": "validation", "validation": "validation", "test": "test"}
"""No model of ours was trained on these questions, so its training rows serve as well as validation rows."""


@dataclass(frozen=True)
class RecordedOutcome:
    """What one rung said to one question; ``correct`` is None where nobody said how good it is."""

    item: AskedQuestion
    answer: RungAnswer
    correct: float | None


@dataclass(frozen=True)
class RecordedOutcomes:
    """All questions with an outcome of every rung, those outcomes, and how many questions were left out."""

    asked: Sequence[AskedQuestion]
    outcomes: Sequence[RecordedOutcome]
    rungs: tuple[str, ...]
    n_left_out: int


def read_recorded(outcomes: Path, queries: Path, ladder: LadderParams) -> RecordedOutcomes:
    """The two files joined for the rungs of ``ladder``; raises InputError naming what they lack."""
    asked = _table(queries, ("query_id", "query")).drop_duplicates("query_id")
    said = _table(outcomes, ("query_id", "model", "answer", "cost_usd"))
    said = said.assign(rung=said["model"].map(_rung_of(ladder)), query_id=said["query_id"].astype(str))
    said = said[said["rung"].notna()]
    _check(asked, said)
    if said.duplicated(["query_id", "rung"]).any():
        raise InputError(f"{outcomes.name} holds two outcomes of one model for one question: keep one.")
    rungs = tuple(name for name in ladder.rungs if name in set(said["rung"]))
    if not rungs:
        raise InputError(f"{outcomes.name} holds no model of the ladder: name rungs or their `model` as the file does.")
    items = {str(row["query_id"]): _asked(row) for row in _rows(asked)}
    groups = {str(key): rows for key, rows in said.groupby("query_id", sort=False)}
    kept = [key for key in items if key in groups and len(groups[key]) == len(rungs)]
    found = [_outcome(items[key], row) for key in kept for row in _rows(groups[key])]
    if not found:
        raise InputError(f"No question of {queries.name} has an outcome of every one of {', '.join(rungs)}.")
    return RecordedOutcomes([items[key] for key in kept], found, rungs, len(items) - len(kept))


def _table(path: Path, columns: Sequence[str]) -> pd.DataFrame:
    if not path.is_file():
        raise InputError(f"There is no {path}: see record_outcomes.recorded in params.yaml.")
    table = pd.read_parquet(path)
    missing = [name for name in columns if name not in table]
    if missing:
        raise InputError(f"{path.name} lacks the column(s) {', '.join(missing)}; it has {', '.join(table.columns)}.")
    return table


def _check(asked: pd.DataFrame, said: pd.DataFrame) -> None:
    """Raises InputError for values that would be taken for something else, rather than to guess what was meant."""
    splits = sorted({str(name) for name in asked["split"].dropna()} - set(_SPLITS)) if "split" in asked else []
    if splits:
        raise InputError(
            f"`split` is {', '.join(splits)} in some queries: name it {', '.join(_SPLITS)}, or leave it out."
        )
    if not said["cost_usd"].between(0.0, float("inf"), inclusive="left").all():
        raise InputError("`cost_usd` is missing or below 0 in some outcomes: say in USD what each answer cost.")
    if "correct" in said and not said["correct"].dropna().between(0.0, 1.0).all():
        raise InputError("`correct` lies outside 0..1 in some outcomes: divide percentages by 100.")


def _rows(table: pd.DataFrame) -> list[dict[str, Any]]:
    return [{str(name): value for name, value in row.items()} for row in table.to_dict("records")]


def _rung_of(ladder: LadderParams) -> dict[str, str]:
    """Rungs by their own names and, where only one rung has it, by the name of their model."""
    models = [rung.model for rung in ladder.rungs.values() if isinstance(rung, HeavyRung)]
    by_model = {
        rung.model: name
        for name, rung in ladder.rungs.items()
        if isinstance(rung, HeavyRung) and models.count(rung.model) == 1
    }
    return {**by_model, **{name: name for name in ladder.rungs}}


def _asked(row: Mapping[str, Any]) -> AskedQuestion:
    text = str(row["query"]).strip()
    digest = hashlib.sha256(text.encode("utf-8")).hexdigest()
    given = row.get("lang")
    lang = given if given in ("en", "fr") else detect_language(text)
    reference = row.get("reference")
    told = {
        "id": str(row["query_id"]),
        "split": _SPLITS.get(str(row.get("split")), _drawn_split(digest)),
        "lang": lang,
        "kind": str(row.get("category") or "recorded"),
        "document_id": digest[:16],  # the same question twice is one document: never in two folds
        "answers": [reference] if isinstance(reference, str) and reference else [],
        "answerable": True,
    }
    return AskedQuestion(told, Question(text, lang), ())


def _drawn_split(digest: str) -> str:
    return "test" if int(digest[:8], 16) < TEST_SHARE * 16**8 else "validation"


def _outcome(item: AskedQuestion, row: Mapping[str, Any]) -> RecordedOutcome:
    said = "" if pd.isna(row["answer"]) else str(row["answer"])  # pandas says nan where nothing was said
    text, _ = read_reply(said, ())
    latency = row.get("latency_ms")
    answer = RungAnswer(
        rung=str(row["rung"]),
        text=text,
        cost_nanousd=round(float(row["cost_usd"]) * NANOUSD_PER_USD),
        latency_ms=float("nan") if latency is None else float(latency),
    )
    correct = row.get("correct")
    if correct is None or pd.isna(correct):
        return RecordedOutcome(item, answer, None)
    # What is read as "I don't know" reaches nobody as an answer, so it cannot be a right one.
    return RecordedOutcome(item, answer, float(correct) if text else 0.0)
