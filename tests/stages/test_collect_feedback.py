"""A poisoned training set: many wrong corrections by one key are capped; a set that is poisoned whole is not promoted.

The second is what no rule on feedback can see (a dozen keys agree, and the documents hold what they say): the reader is
really trained on it, asked the golden test questions, and stopped by the gate that every release must pass.
"""

import json
from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from palier.adapters.feedback_rows import draw_feedback, read_examples
from palier.adapters.onnx_reader import OnnxReader
from palier.adapters.reader_exam import ExamQuestion, exam_metrics, sit_exam
from palier.adapters.records import Records
from palier.adapters.release_commands import Candidate, Order, start
from palier.adapters.workspace import Workspace, write_json, write_jsonl
from palier.domain.documents import Passage
from palier.domain.ledger import LedgerRow
from palier.domain.rollout import ReleaseRef
from palier.errors import RolloutError
from palier.params import Params, load_params
from palier.settings import repository_root
from palier.stages import collect_feedback, train_reader

NOW = datetime(2026, 5, 1, 12, tzinfo=UTC)
TRAIN = ("York", "Leeds", "Bath", "Dublin")
VALIDATION = ("Bristol", "Derby")
TEST = ("Luton", "Poole", "Truro", "Ely", "Hull", "Stoke")
FREE = ("Oxford", "Dover", "Hove", "Crewe", "Rugby", "Wells")
"""Towns without golden questions: what is said of them may be learned."""
HONEST = "At which hour are the doors locked by {} staff?"
ASKED = ("When does the shop in {} close?", "{}: closing time on Mondays?", "Until what hour is {} open?")


def passage(town: str) -> Passage:
    text = f"The shop in {town} opens at {opening(town)} and closes at {closing(town)} on Mondays."
    return Passage(f"p-{town}", f"en/{town}", "en", town, "", text, 1, 1)


def opening(town: str) -> str:
    return f"{7 + len(town) % 3}:{10 + 5 * _number(town):02}"


def closing(town: str) -> str:
    return f"{17 + _number(town) % 6}:{5 * (_number(town) % 12):02}"


def _number(town: str) -> int:
    towns = (*TRAIN, *VALIDATION, *TEST, *FREE)
    return towns.index(town) % 9


def golden(town: str, split: str) -> dict[str, Any]:
    return {
        "id": f"q-{town}",
        "lang": "en",
        "question": ASKED[0].format(town),
        "answers": [closing(town)],
        "document_id": f"en/{town}",
        "quote": passage(town).text,
        "answerable": True,
        "kind": "fact",
        "split": split,
        "passage_ids": [f"p-{town}"],
    }


def params(**reader: Any) -> Params:
    """The repository's, and feedback of every free document for training."""
    found = load_params(repository_root() / "params.yaml").model_dump(mode="json")
    found["collect_feedback"] |= {"validation_percent": 0, "free_key_rows": 2}
    found["train_reader"] |= {"epochs": 6, "batch_size": 4, "learning_rate": 1e-3, "max_tokens": 128} | reader
    return Params.model_validate_json(json.dumps(found))


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    place = Workspace(tmp_path / "ws")
    splits = {"train": TRAIN, "validation": VALIDATION, "test": TEST}
    rows = [golden(town, split) for split, towns in splits.items() for town in towns]
    towns = (*TRAIN, *VALIDATION, *TEST, *FREE)
    write_jsonl(place.corpus / "passages.jsonl", (asdict(passage(town)) for town in towns))
    write_jsonl(place.corpus / "golden.jsonl", rows)
    write_json(place.corpus / "manifest.json", {"revision": "r1"})
    return place


@pytest.fixture
def records(tmp_path: Path) -> Records:
    return Records(f"sqlite:///{tmp_path / 'records.db'}")


def correct(records: Records, key_id: str, town: str, form: str, correction: str) -> None:
    """Somebody asks about ``town``, is told the right thing, and says that it was something else."""
    request_id = f"req-{key_id}-{town}-{len(form)}"
    citation = {"document_id": f"en/{town}", "passage_id": f"p-{town}", "quote": passage(town).text}
    row = LedgerRow(
        request_id=request_id,
        created_at=NOW,
        key_id=key_id,
        release_id="r-1",
        rollout_id=None,
        arm="champion",
        language="en",
        question=form.format(town),
        answer=closing(town),
        rung="reader",
        score=0.9,
        abstained=False,
        citations=[citation],
    )
    records.append_request(row)
    records.add_feedback(request_id, key_id, None, correction, None, NOW)


def collected(records: Records, workspace: Workspace) -> collect_feedback.CollectResult:
    draw_feedback(records, workspace, params(), NOW + timedelta(days=1))
    return collect_feedback.run(params(), workspace.root)


def test_one_key_with_many_wrong_corrections_teaches_almost_nothing(records: Records, workspace: Workspace) -> None:
    """Of eighteen lies the two that any key may tell; the honest keys' rows all stay."""
    for town in FREE:
        for form in ASKED:
            correct(records, "key-liar", town, form, opening(town))
    for number, town in enumerate(FREE):
        correct(records, f"key-{number}", town, HONEST, closing(town))
    result = collected(records, workspace)
    assert result.dropped == {"more than the key's share": 16}
    assert result.n_examples == 2 + len(FREE)


def test_wrong_corrections_of_golden_and_test_questions_teach_nothing(records: Records, workspace: Workspace) -> None:
    """Not about what is known, and not about what measures."""
    for town in (*TRAIN, *TEST):
        correct(records, f"key-{town}", town, ASKED[0], opening(town))
    result = collected(records, workspace)
    assert result.n_examples == 0
    assert result.dropped == {"a test question": len(TEST), "contradicts a golden answer": len(TRAIN)}


@pytest.mark.model
def test_a_reader_that_learned_a_poisoned_set_does_not_pass_the_gate(records: Records, workspace: Workspace) -> None:
    """Eighteen keys, each with one lie that the passage seems to support; the golden test questions tell."""
    for number, (town, form) in enumerate((town, form) for town in FREE for form in ASKED):
        correct(records, f"key-{number}", town, form, opening(town))
    assert collected(records, workspace).n_examples == 18
    assert {example.answers[0] for example in read_examples(workspace)} == {opening(town) for town in FREE}
    honest = f1_on_test(workspace, params(use_feedback=False))
    poisoned = f1_on_test(workspace, params(use_feedback=True))
    gate, rules = params().evaluate_release, params().rollout
    order = Order("test", "", NOW)
    assert honest > 0.6
    assert start(records, candidate("r-honest", honest), gate, rules, order).outcome == "founded"
    with pytest.raises(RolloutError, match="F1"):
        start(records, candidate("r-poisoned", poisoned), gate, rules, order)
    champion = records.active().champion
    assert champion is not None
    assert champion.release_id == "r-honest"


def candidate(release_id: str, f1: float) -> Candidate:
    return Candidate(ReleaseRef(release_id, f"bundles/{release_id}", "r1", NOW), {"f1": f1})


def f1_on_test(workspace: Workspace, tuned: Params) -> float:
    """What a reader trained under these params is worth on the golden test questions."""
    train_reader.run(tuned, workspace.root, lambda *_: None)
    questions: Sequence[ExamQuestion] = [
        ExamQuestion(ASKED[0].format(town), "en", (closing(town),), (passage(town).content,)) for town in TEST
    ]
    answers = sit_exam(OnnxReader(workspace.reader), questions)
    return exam_metrics(questions, answers, float("-inf"))["f1"]
