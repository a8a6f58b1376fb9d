"""The served reader: real weights (a reader trained for seconds), real ONNX, real offsets."""

import copy
import json
import shutil
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch

from palier.adapters.catalogue import resolve
from palier.adapters.int8_export import FLOAT_MODEL, write_int8
from palier.adapters.low_rank import merge_pressed
from palier.adapters.onnx_reader import CONFIG, OnnxReader, ReaderConfig
from palier.adapters.outcome_recorder import answer_of
from palier.adapters.reader_adapter import drawn_back, merged, press_reader, with_lora
from palier.adapters.reader_exam import ExamAnswer, ExamQuestion, exam_metrics, fitted_threshold, sit_exam
from palier.adapters.reader_export import OUTPUTS, export_reader
from palier.adapters.reader_rung import ReaderRung
from palier.adapters.reader_training import TrainingPlan, train_reader
from palier.adapters.reader_windows import WindowCutter, padded
from palier.adapters.token_scale import scaled_by_token
from palier.adapters.torch_reader import SpanReader, bare_reader, training_windows
from palier.adapters.workspace import write_json
from palier.domain.answering import Hit, Question, Turn
from palier.domain.documents import Passage
from palier.domain.reading_tasks import ReadingTask
from palier.domain.spans import occurrences
from palier.errors import IntegrityError, NotReadyError

pytestmark = pytest.mark.model

TOWNS = ("York", "Leeds", "Bath", "Lyon", "Lille", "Nantes", "Bristol", "Dublin")
MAX_TOKENS = 128


def _content(town: str, number: int) -> str:
    return f"The shop in {town} closes at {number}:30 on Mondays. Dogs may come in."


def _tasks() -> list[ReadingTask]:
    tasks = []
    for index, town in enumerate(TOWNS):
        content, answer = _content(town, 10 + index), f"{10 + index}:30"
        tasks.append(ReadingTask(f"When does {town} close?", content, occurrences(content, answer)))
        other = TOWNS[(index + 1) % len(TOWNS)]
        tasks.append(ReadingTask(f"When does {other} close?", content))
    return tasks


@pytest.fixture(scope="module")
def base() -> Path:
    return resolve("all-minilm-l6-v2")


@pytest.fixture(scope="module")
def trained(base: Path, tmp_path_factory: pytest.TempPathFactory) -> SpanReader:
    """A reader that learnt sixteen sentences."""
    model = with_lora(bare_reader(base, seed=1), rank=16, seed=1)
    windows = [training_windows(WindowCutter(base, MAX_TOKENS), task)[0] for task in _tasks()]
    plan = TrainingPlan(learning_rate=2e-3, batch_size=8, n_steps=60, seed=1, mask_id=103, mask_share=0.0)
    checkpoint = tmp_path_factory.mktemp("training") / "checkpoint.safetensors"
    train_reader(model, lambda _epoch: windows, plan, checkpoint, lambda *_: None)
    return merged(model)


@pytest.fixture(scope="module")
def folder(trained: SpanReader, base: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("reader")
    export_reader(trained, base, path, ReaderConfig(max_tokens=MAX_TOKENS), float_too=True)
    return path


@pytest.fixture(scope="module")
def reader(folder: Path) -> OnnxReader:
    return OnnxReader(folder)


def _exam(tasks: Sequence[ReadingTask]) -> list[ExamQuestion]:
    return [
        ExamQuestion(task.question, "en", tuple(task.content[s:e] for s, e in task.spans), (task.content,))
        for task in tasks
    ]


def test_it_reads_what_it_was_taught(reader: OnnxReader) -> None:
    """Right spans for taught questions, and lower margins for passages about another town."""
    exam = _exam(_tasks())
    answers = sit_exam(reader, exam)
    metrics = exam_metrics(exam, answers, fitted_threshold(exam, answers))
    assert metrics["f1"] > 0.8
    assert metrics["no_answer_f1"] > 0.8


def test_offsets_point_at_the_text(reader: OnnxReader) -> None:
    """Start and end are characters of the passage that was given, accents and all; readings are best first."""
    contents = ["Été à Liège : fermé à 23:30, « café » ouvert.", _content("York", 10)]
    readings = reader.read("When does York close?", contents)
    assert [r.margin for r in readings] == sorted((r.margin for r in readings), reverse=True)
    for reading in readings:
        assert " ".join(contents[reading.passage_index][reading.start : reading.end].split()) == reading.text


def test_a_long_passage_is_read_to_its_end(reader: OnnxReader) -> None:
    """An answer past the model's window is found in a later window."""
    content = "Nothing of interest here. " * 60 + _content("York", 10)
    best = reader.read("When does York close?", [content])[0]
    assert content[best.start : best.end] == "10:30"


def test_answers_do_not_depend_on_the_passages_beside(reader: OnnxReader) -> None:
    """The same passage gives the same reading alone and among others, to the bit."""
    alone = reader.read("When does Bath close?", [_content("Bath", 12)])[0]
    among = next(
        reading
        for reading in reader.read("When does Bath close?", [_content("Lyon", 13) * 3, _content("Bath", 12)])
        if reading.passage_index == 1
    )
    assert (alone.text, alone.score, alone.null_score) == (among.text, among.score, among.null_score)


def test_int8_reads_like_float(folder: Path) -> None:
    """Rounding changes no answer and hardly a margin; which words stand where nothing answers is open anyway."""
    exam = _exam(_tasks())
    exact, rounded = (sit_exam(OnnxReader(folder, name), exam) for name in (FLOAT_MODEL, "model.onnx"))
    for question, one, other in zip(exam, exact, rounded, strict=True):
        assert other.margin == pytest.approx(one.margin, abs=1.0)
        assert not question.answers or other.text == one.text


def test_scaling_tokens_changes_no_output_but_what_int8_leaves_of_it(
    trained: SpanReader, base: Path, folder: Path, tmp_path: Path
) -> None:
    """In float the scaled model is the same; rounded it is nearer to float than rounded without the scales.

    Much nearer only where the processor adds products of bytes exactly (VNNI): elsewhere two of them are added in 16
    bits, and what overflows there is as large as what the scales save (.169 and .172 were seen).
    """
    windows = [WindowCutter(base, MAX_TOKENS).windows(task.question, task.content)[0] for task in _tasks()]
    inputs = [{name: torch.from_numpy(array) for name, array in padded([window]).items()} for window in windows]
    write_int8(trained, OUTPUTS, base, tmp_path)
    with torch.inference_mode():
        exact = [trained(**batch)[0].numpy() for batch in inputs]
        for scaled, wanted in zip((scaled_by_token(trained)(**batch)[0] for batch in inputs), exact, strict=True):
            np.testing.assert_allclose(scaled.numpy(), wanted, atol=1e-4)

    def error(path: Path) -> float:
        session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
        said = [session.run(None, dict(padded([window])))[0] for window in windows]
        return float(np.mean([np.mean((one - other) ** 2) for one, other in zip(said, exact, strict=True)]) ** 0.5)

    has = torch.cpu.get_capabilities()
    adds_exactly = has.get("avx512_vnni", False) or has.get("avx_vnni", False)
    assert error(folder / "model.onnx") < (0.8 if adds_exactly else 1.1) * error(tmp_path / "model.onnx")


def test_nothing_to_read_is_no_answer(reader: OnnxReader) -> None:
    """No passage, or one without words, is not an error."""
    assert reader.read("When does York close?", []) == []
    assert reader.read("When does York close?", ["", "  "]) == []
    answer = ReaderRung("reader", reader, 2, 0.04).answer(Question("When?", "en"), [])
    assert answer.text == ""
    assert answer.citations == ()


def test_the_rung_cites_the_sentence(reader: OnnxReader) -> None:
    """The quote is the sentence of the passage that holds the answer; cost and signals are told."""
    passage = Passage("p", "en/york", "en", "Opening hours", "York", _content("York", 10), 1, 1)
    answer = ReaderRung("reader", reader, 2, 0.04).answer(Question("When does York close?", "en"), [Hit(passage, 1.0)])
    assert answer.text == "10:30"
    assert answer.citations[0].quote == "The shop in York closes at 10:30 on Mondays."
    assert answer.cost_nanousd > 0
    assert set(answer.signals) == {"margin", "null", "second", "expected_f1"}


def test_what_is_withheld_is_told_to_the_scorer_alone(folder: Path, tmp_path: Path) -> None:
    """Under a threshold that nothing reaches the rung says nothing, and keeps what it would have said."""
    strict = shutil.copytree(folder, tmp_path / "strict")
    config = ReaderConfig.model_validate_json((strict / CONFIG).read_text(encoding="utf-8"))
    write_json(strict / CONFIG, config.model_copy(update={"null_threshold": 1000.0}).model_dump())
    passage = Passage("p", "en/york", "en", "Opening hours", "York", _content("York", 10), 1, 1)
    rung = ReaderRung("reader", OnnxReader(strict), 2, 0.04)
    answer = rung.answer(Question("When does York close?", "en"), [Hit(passage, 1.0)])
    assert (answer.text, answer.citations) == ("", ())
    assert answer.withheld is not None
    assert (answer.withheld[0], answer.withheld[1].passage_id) == ("10:30", "p")
    remembered = json.loads(json.dumps(asdict(answer)))
    assert answer_of(remembered) == answer


def test_a_follow_up_is_read_with_what_came_before(reader: OnnxReader) -> None:
    """The town named in the turn before decides."""
    hits = [
        Hit(Passage(town, "d", "en", "", "", _content(town, 10 + i), 1, 1), 1.0) for i, town in enumerate(TOWNS[:2])
    ]
    question = Question("close?", "en", (Turn("user", "When does Leeds"),))
    assert ReaderRung("reader", reader, 2, 0.04).answer(question, hits).citations[0].passage_id == "Leeds"


def test_the_better_retrieved_passage_wins_where_it_is_told_to_count(reader: OnnxReader) -> None:
    """Both passages hold an answer; with a large weight retrieval decides, in whatever order they come."""
    hits = [Hit(Passage(f"p{i}", "d", "en", "", "", _content("York", 10 + i), 1, 1), float(i)) for i in range(2)]
    rung = ReaderRung("reader", reader, 2, 0.04, retrieval_weight=1000.0)
    question = Question("When does York close?", "en")
    for order in (hits, hits[::-1]):
        assert rung.answer(question, order).citations[0].passage_id == "p1"


def test_a_pressed_reader_is_nearly_the_trained_one(trained: SpanReader, base: Path) -> None:
    """With enough rank the kept change is the change, up to half precision."""
    again = bare_reader(base, seed=1)
    merge_pressed(again.state_dict(), press_reader(trained, base, rank=384))
    state = again.state_dict()
    for name, weight in trained.state_dict().items():
        assert (weight - state[name]).abs().max() < 2e-3, name


@pytest.mark.parametrize("share", [0.0, 0.25, 1.0])
def test_a_reader_drawn_back_stands_between_start_and_end(base: Path, share: float) -> None:
    """Each weight, of layers and heads, is that share of the way from where it began to where it ended."""
    start, tuned = bare_reader(base, seed=1), with_lora(bare_reader(base, seed=1), rank=4, seed=1)
    with torch.no_grad():
        for parameter in (one for one in tuned.parameters() if one.requires_grad):
            parameter.add_(0.01 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(1)))
    end = merged(copy.deepcopy(tuned)).state_dict()
    between = merged(drawn_back(tuned, start, share)).state_dict()
    for name, weight in start.state_dict().items():
        torch.testing.assert_close(between[name], weight.lerp(end[name], share), atol=1e-5, rtol=1e-4)


def test_threshold_parts_right_from_wrong() -> None:
    """It lies where answers begin to be worth more than silence, whatever answerable questions are worth at best."""
    yes, none = ExamQuestion("q", "en", ("yes",), ("",)), ExamQuestion("q", "en", (), ("",))
    exam = [yes] * 30 + [none] * 30
    margins = [*np.linspace(1.0, 4.0, 30), *np.linspace(-4.0, -1.0, 30)]
    for said, low, high in (("yes", -1.0, 1.0), ("yes or no", -0.5, 1.5), ("no", 4.0, 5.0)):
        threshold = fitted_threshold(exam, [ExamAnswer(said, margin) for margin in margins])
        assert low < threshold <= high, said
    assert fitted_threshold([], []) == 0.0


def test_the_threshold_of_a_sample_is_near_that_of_all() -> None:
    """Fifty samples of a hundred questions, answerable as a logistic curve around margin 1 says, two thirds of which
    are answered rightly: silence is worth more below 1 + log(3 / 2)."""
    yes, none = ExamQuestion("q", "en", ("yes",), ("",)), ExamQuestion("q", "en", (), ("",))
    rng = np.random.default_rng(7)
    chosen = []
    for _ in range(50):
        margins = rng.normal(2.0, 2.0, 100)
        exam = [yes if rng.random() < 1 / (1 + np.exp(1 - margin)) else none for margin in margins]
        answers = [ExamAnswer("yes" if rng.random() < 2 / 3 else "no", float(margin)) for margin in margins]
        chosen.append(fitted_threshold(exam, answers))
    assert abs(np.mean(chosen) - 1 - np.log(1.5)) < 0.2
    assert np.std(chosen) < 0.5


@pytest.mark.parametrize(("said", "answers_it"), [("yes", True), ("no", False)])
def test_where_all_answers_are_alike_the_threshold_stays_near_the_margins(said: str, answers_it: bool) -> None:
    """All right: all are said. All wrong, none has an answer: none is. A question without passages decides nothing."""
    exam = [ExamQuestion("q", "en", ("yes",) if answers_it else (), ("",))] * 3
    answers = [ExamAnswer(said, margin) for margin in (3.0, 2.0, -float("inf"))]
    assert fitted_threshold(exam, answers) == (1.0 if answers_it else 4.0)


def test_broken_folders_are_refused(folder: Path, tmp_path: Path) -> None:
    """A missing model names the command that makes it; a broken config is not guessed around."""
    with pytest.raises(NotReadyError, match="palier train-reader"):
        OnnxReader(tmp_path)
    for name in ("model.onnx", "tokenizer.json"):
        (tmp_path / name).write_bytes((folder / name).read_bytes())
    (tmp_path / CONFIG).write_text('{"max_tokens": 9}', encoding="utf-8")
    with pytest.raises(IntegrityError, match="Train the reader again"):
        OnnxReader(tmp_path)
