"""Stage `evaluate-models` over made-up outcomes: what is not measured says why, and no reader of a curve is stale."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from palier.adapters.evaluation.exam import Exam, Order
from palier.adapters.evaluation.sections import page_of
from palier.adapters.evaluation.tables import outcome_table
from palier.adapters.feedback_rows import EXAMPLES
from palier.adapters.outcome_recorder import Recorder, outcome_row
from palier.adapters.workspace import Workspace, write_json, write_jsonl, write_text
from palier.adapters.writer_rung import CONFIG, WRITER_FILE, WriterConfig
from palier.domain.answering import AskedQuestion, Cascade, Hit, NoPassages, Question, RungAnswer, Step
from palier.params import Params, WriterRung, load_params
from palier.settings import repository_root
from palier.stages import evaluate_models
from tests.domain.ask_pieces import CountEncoder, hit

LOADED = load_params(repository_root() / "params.yaml")
FAST = {"bootstrap_samples": 100, "learning_shares": (1.0,), "noise_questions": 4}
PARAMS = LOADED.model_copy(update={"evaluate_models": LOADED.evaluate_models.model_copy(update=FAST)})
GOLDEN = [
    {"id": "q1", "split": "train", "document_id": "en/menu", "question": "How much?", "answers": ["12.90"]},
    {"id": "q2", "split": "validation", "document_id": "en/hours", "question": "When?", "answers": ["at noon"]},
]


class Talker:
    """A rung that says the same to everybody."""

    def __init__(self, name: str) -> None:
        self.name = name

    def answer(self, question: Question, hits: Sequence[Hit]) -> RungAnswer:
        return RungAnswer(self.name, "12.90")


def exam(place: Workspace, *, answers: Sequence[str], rungs: Sequence[str] = ("reader",)) -> Exam:
    """Twenty questions on one passage, of ten documents, and what ``rungs`` say to them."""
    asked = [
        AskedQuestion(
            {
                "id": f"q{i}",
                "lang": "en",
                "split": "test",
                "kind": "fact",
                "document_id": f"d{i // 2}",
                "answers": list(answers),
            },
            Question(f"How much is dish {i}?", "en"),
            [hit("Dishes cost 12.90 each.")],
        )
        for i in range(20)
    ]
    encoder = CountEncoder()
    said = [
        outcome_row(item, Talker(name).answer(item.question, item.hits), encoder, None)
        for name in rungs
        for item in asked
    ]
    table = outcome_table(asked, said).assign(score=0.5)
    write_json(place.outcomes / "rungs.json", {"left_out": {}})
    return Exam(
        title="Dishes",
        place=place,
        asked=asked,
        table=table,
        training=table,
        retriever=NoPassages(),
        rungs=lambda names: {name: Talker(name) for name in names},
        untuned=lambda rung: Talker("untuned_writer"),
        recorder=Recorder(PARAMS, place, encoder, None),
        languages=("en",),
    )


def evaluation(params: Params, examined: Exam) -> evaluate_models._Evaluation:
    return evaluate_models._Evaluation(params, examined, lambda *_: None)


@pytest.fixture
def place(tmp_path: Path) -> Workspace:
    """A workspace with one passage, and a reader's folder that nobody trained."""
    place = Workspace(tmp_path)
    write_jsonl(place.corpus / "passages.jsonl", [{"text": "Dishes cost 12.90 each."}])
    write_text(place.reader / "config.json", "{}")
    return place


def test_questions_without_any_answer_make_a_report_that_says_what_is_missing(place: Workspace) -> None:
    """Noise and writers are measured on answerable questions alone; all else is still there."""
    model = next(rung.model for rung in PARAMS.ladder.rungs.values() if isinstance(rung, WriterRung))
    config = WriterConfig(base=model, quantisation="Q4_0", max_words=80)
    write_text(place.writer / CONFIG, config.model_dump_json())
    write_text(place.writer / WRITER_FILE, "")
    found = evaluation(PARAMS, exam(place, answers=(), rungs=("reader", "writer"))).findings(Order())
    assert found.not_measured["noise"] == found.not_measured["writer"] == evaluate_models.NO_ANSWERS
    assert found.rungs["reader"]["all"]["quality"].value == 0.0
    assert (found.scorer["all"].n, found.scorer["all"].brier.n) == (40, 20), "two rows of each question"
    assert "untuned_writer" not in found.baselines
    assert not any("bleu" in name for name in found.metrics)
    assert {"answers", "scorer", "not-measured"} <= {section.key for section in page_of(found, "Dishes", []).sections}


def test_the_page_says_which_cascade_it_speaks_of(place: Workspace) -> None:
    assert evaluate_models._cascade_fact(place) == []
    cascade = Cascade(steps=(Step(rung="reader", threshold=0.4137), Step(rung="wide", threshold=0.1)))
    write_json(place.cascade / "cascade.json", {"cascade": cascade.model_dump()})
    told = "reader (from score 0.414), then wide (from score 0.100), else the best-scored answer of these"
    assert evaluate_models._cascade_fact(place) == [("Cascade", told)]


@pytest.mark.parametrize(
    "change", [{"question": "What is the price?"}, {"answers": ["14.50"]}, {"passage_ids": ["p2"]}, {"split": "test"}]
)
def test_a_reader_of_the_curve_is_found_again_only_if_it_would_learn_the_same(
    place: Workspace, change: Mapping[str, Any]
) -> None:
    """The ids of golden questions stay when their texts change (as in `samples/golden_v2`)."""
    before = evaluate_models.scratch_of(PARAMS, place, GOLDEN).root
    assert evaluate_models.scratch_of(PARAMS, place, json.loads(json.dumps(GOLDEN))).root == before
    assert evaluate_models.scratch_of(PARAMS, place, [GOLDEN[0] | change, GOLDEN[1]]).root != before


def test_a_reader_of_the_curve_is_not_found_again_when_a_passage_changed(place: Workspace) -> None:
    """Also one that no question rests on may be read, as one that looks like an answer."""
    before = evaluate_models.scratch_of(PARAMS, place, GOLDEN).root
    write_jsonl(place.corpus / "passages.jsonl", [{"text": "Dishes cost 14.50 each."}])
    assert evaluate_models.scratch_of(PARAMS, place, GOLDEN).root != before


def test_the_reader_of_all_data_is_the_workspaces_own_unless_it_has_heard_feedback(place: Workspace) -> None:
    """One that learnt from golden questions alone, as those of the other points did, takes its place then."""
    curve = evaluation(PARAMS, exam(place, answers=["12.90"]))
    assert curve._trained_reader(GOLDEN, 1.0) == place.reader
    learnt = {
        "id": "f1", "lang": "en", "question": "How dear?", "answers": ["12.90"], "document_id": "en/menu",
        "quote": "Dishes cost 12.90 each.", "answerable": True, "kind": "fact", "split": "train",
        "source": "correction", "n_keys": 1,
    }  # fmt: skip
    write_jsonl(place.feedback / EXAMPLES, [learnt])
    trained = evaluate_models.scratch_of(PARAMS, place, GOLDEN).reader
    write_text(trained / "config.json", "{}")  # as if an earlier report had trained it
    assert curve._trained_reader(GOLDEN, 1.0) == trained
    deaf = PARAMS.train_reader.model_copy(update={"use_feedback": False})
    params = PARAMS.model_copy(update={"train_reader": deaf})
    assert evaluation(params, exam(place, answers=["12.90"]))._trained_reader(GOLDEN, 1.0) == place.reader
