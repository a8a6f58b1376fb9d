"""Stage `train-reader`: tune the reader on the golden training questions, and export it and its verifier to ONNX int8.

Starts from the committed starter (or the bare encoder) and trains a LoRA adapter on: each training question, and each
that `collect-feedback` found in use, beside its gold passage, beside passages that look like it but lack the answer,
and unanswerable questions beside the passages that look most like an answer. So that it still reads other texts, each
epoch also rehearses some of the catalogue's (`rehearsal`), and what comes out stands between the starter and what was
trained (`tuned_share`). Validation questions choose one number only, the margin under which the reader says "no answer
here"; test questions are never read. A killed run goes on from the last finished epoch.
"""

import hashlib
import json
import math
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np

from palier.adapters.catalogue import load_catalogue, resolve, sha256_file
from palier.adapters.corpus_files import load_corpus as load_corpus  # other stages take it from here
from palier.adapters.feedback_rows import read_examples
from palier.adapters.int8_export import FLOAT_MODEL
from palier.adapters.onnx_reader import CONFIG, OnnxReader, ReaderConfig
from palier.adapters.qa_rows import QaRow
from palier.adapters.reader_adapter import STARTER_FILE, drawn_back, merged, save_lora, starter_reader, with_lora
from palier.adapters.reader_exam import ExamQuestion, exam_metrics, fitted_threshold, sit_exam
from palier.adapters.reader_export import export_reader
from palier.adapters.reader_training import TrainingPlan, train_reader
from palier.adapters.reader_windows import WindowCutter
from palier.adapters.reading_texts import read_folder, rehearsal_task
from palier.adapters.torch_cross_encoder import export_cross_encoder, starter_cross_encoder
from palier.adapters.torch_reader import SpanReader, TrainingWindow, training_windows
from palier.adapters.workspace import Workspace, write_json
from palier.domain.documents import Passage
from palier.domain.golden import GoldenQuestion
from palier.domain.reading_tasks import Lookalikes, ReadingTask, distractors, training_tasks
from palier.errors import DataGateError
from palier.params import Params, TrainReaderParams

Progress = Callable[[int, int, str], None]
MASK_ID = 103  # [MASK] of BERT's vocabulary
N_DISTRACTORS = 2


@dataclass(frozen=True)
class TrainReaderResult:
    """``metrics``: F1 on validation questions (gold passage alone; among look-alikes), and what int8 changes."""

    n_examples: int
    n_steps: int
    metrics: Mapping[str, float]


def run(params: Params, root: Path, progress: Progress) -> TrainReaderResult:
    """Write models/reader (model.onnx, tokenizer.json, config.json, adapter/, metrics.json) and models/verifier.

    Raises NotReadyError before `version-documents`, DataGateError when no training question has an answer in its
    gold passage.
    """
    workspace, section = Workspace(root), params.train_reader
    passages, golden = load_corpus(workspace)
    lookalikes = Lookalikes(list(passages.values()))
    learned = _learned(workspace) if section.use_feedback else []
    rows = [*_of_split(golden, "train"), *_of_split(learned, "train")]
    tasks = training_tasks(rows, passages, lookalikes, section.negatives)
    base = resolve(section.base)
    exercises = exercises_of(params, tasks, WindowCutter(base, section.max_tokens))
    starter = resolve(section.starter) if section.starter else None
    model = with_lora(starter_reader(base, starter, params.seed), section.lora_rank, params.seed)
    first = exercises.epoch(0)
    plan = _plan(params, -(-len(first) // section.batch_size))
    checkpoint = workspace.cache / "train_reader" / f"{_fingerprint(params, starter, tasks)}.safetensors"
    position = train_reader(model, lambda n: exercises.epoch(n) if n else first, plan, checkpoint, progress)
    if starter is not None:
        drawn_back(model, starter_reader(base, starter, params.seed), section.tuned_share)
    trained = _Trained(model, base, ReaderConfig(max_tokens=section.max_tokens), passages, lookalikes)
    metrics = _finish(trained, workspace, _of_split(golden, "validation"), progress)
    _write_verifier(section, workspace)
    shutil.rmtree(checkpoint.parent, ignore_errors=True)
    return TrainReaderResult(len(exercises.own), position.step, metrics)


def _write_verifier(section: TrainReaderParams, workspace: Workspace) -> None:
    """models/verifier from the catalogue, as it is; an empty folder where none is named, since DVC wants its outputs.

    It is not tuned: on a few hundred answers the scorer's weight for its mark is learnt, not how to give it.
    """
    partial = workspace.verifier.with_name(".verifier.partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    if section.verifier:
        base = resolve(section.base)
        export_cross_encoder(starter_cross_encoder(base, resolve(section.verifier)), base, partial)
    shutil.rmtree(workspace.verifier, ignore_errors=True)
    partial.rename(workspace.verifier)


@dataclass(frozen=True)
class _Trained:
    """A trained reader with what is needed to serve and examine it."""

    model: SpanReader
    base: Path
    config: ReaderConfig
    passages: Mapping[str, Passage]
    lookalikes: Lookalikes


@dataclass(frozen=True)
class Exercises:
    """What each epoch reads: all windows of the workspace, and ``n_rehearsed`` drawn anew from what is rehearsed."""

    own: Sequence[TrainingWindow]
    rehearsed: Sequence[QaRow]
    n_rehearsed: int
    cutter: WindowCutter
    seed: int

    def epoch(self, number: int) -> list[TrainingWindow]:
        """The same for the same number. A row whose answer fits no window is passed over for the next one drawn."""
        order = np.random.default_rng((self.seed, 4, number)).permutation(len(self.rehearsed))
        tasks = (rehearsal_task(self.rehearsed[index]) for index in order)
        windows = (window for task in tasks for window in training_windows(self.cutter, task)[:1])
        return [*self.own, *islice(windows, self.n_rehearsed)]


def exercises_of(params: Params, tasks: Sequence[ReadingTask], cutter: WindowCutter) -> Exercises:
    """``tasks`` of the workspace, with what ``params`` rehearse beside them."""
    section = params.train_reader
    own = _windows(tasks, cutter)
    if section.rehearsal is None:
        return Exercises(own, [], 0, cutter, params.seed)
    rehearsed = read_folder(resolve(section.rehearsal), load_catalogue()[section.rehearsal].files)
    return Exercises(own, rehearsed, round(section.rehearsal_share * len(own)), cutter, params.seed)


def _plan(params: Params, n_batches: int) -> TrainingPlan:
    """A checkpoint after each epoch."""
    section = params.train_reader
    return TrainingPlan(
        learning_rate=section.learning_rate,
        batch_size=section.batch_size,
        n_steps=section.epochs * n_batches,
        seed=params.seed,
        mask_id=MASK_ID,
        checkpoint_steps=n_batches,
    )


def _learned(workspace: Workspace) -> Sequence[GoldenQuestion]:
    """What `collect-feedback` found, as far as a passage says it: of the rest a reader would only learn silence."""
    return [row for row in read_examples(workspace) if row.passage_ids or not row.answerable]


def _of_split(golden: Sequence[GoldenQuestion], split: str) -> list[GoldenQuestion]:
    return [row for row in golden if row.split == split]


def _windows(tasks: Sequence[ReadingTask], cutter: WindowCutter) -> list[TrainingWindow]:
    """Windows of all tasks; an answer too long for one window drops its task."""
    windows = [window for task in tasks for window in training_windows(cutter, task)[:1]]
    if not any(window.kind for window in windows):
        raise DataGateError(
            f"None of {len(tasks)} training exercises has an answer in its passage. Check that the golden rows with "
            "`split: train` quote the documents, and run `palier version-documents` again."
        )
    return windows


def _fingerprint(params: Params, starter: Path | None, tasks: Sequence[ReadingTask]) -> str:
    """What a checkpoint belongs to: other params, starter or exercises must not go on from it."""
    section = params.train_reader
    content = [
        section.model_dump(mode="json"),
        params.seed,
        sha256_file(starter / STARTER_FILE) if starter else None,
        sorted(load_catalogue()[section.rehearsal].files.items()) if section.rehearsal else None,
        [(task.question, task.content, task.spans) for task in tasks],
    ]
    return hashlib.sha256(json.dumps(content).encode("utf-8")).hexdigest()[:16]


def _exam(
    rows: Sequence[GoldenQuestion], passages: Mapping[str, Passage], lookalikes: Lookalikes, n_others: int
) -> list[ExamQuestion]:
    """Validation questions to be read from their gold passages, among ``n_others`` that look alike."""
    questions = []
    for row in rows:
        gold = [passages[key].content for key in row.passage_ids if key in passages]
        others = [passage.content for passage in distractors(row, lookalikes, n_others)]
        contents = (*gold, *others)
        questions.append(ExamQuestion(row.asked().standalone, row.lang, row.answers, contents))
    return questions


def _finish(
    trained: _Trained, workspace: Workspace, golden: Sequence[GoldenQuestion], progress: Progress
) -> dict[str, float]:
    """Export, examine, choose the threshold, and put the folder in its place."""
    folder = workspace.reader.with_name(".reader.partial")
    shutil.rmtree(folder, ignore_errors=True)
    progress(0, 3, "export to ONNX int8")
    save_lora(trained.model, folder / "adapter")
    export_reader(merged(trained.model), trained.base, folder, trained.config, float_too=True)
    progress(1, 3, "validation questions")
    among = _exam(golden, trained.passages, trained.lookalikes, N_DISTRACTORS)
    threshold, metrics = _examine(folder, among)
    progress(2, 3, "the same before rounding")
    alone = [row for row in _exam(golden, trained.passages, trained.lookalikes, 0) if row.answers and row.contents]
    metrics |= _rounding(folder, alone)
    write_json(folder / CONFIG, trained.config.model_copy(update={"null_threshold": threshold}).model_dump())
    write_json(folder / "metrics.json", metrics)
    shutil.rmtree(workspace.reader, ignore_errors=True)
    folder.rename(workspace.reader)
    progress(3, 3, "reader written")
    return metrics


def _examine(folder: Path, exam: Sequence[ExamQuestion]) -> tuple[float, dict[str, float]]:
    answers = sit_exam(OnnxReader(folder), exam)
    threshold = fitted_threshold(exam, answers)
    metrics = {f"among.{name}": value for name, value in exam_metrics(exam, answers, threshold).items()}
    return threshold, {**metrics, "null_threshold": threshold, "n_validation": float(len(exam))}


def _rounding(folder: Path, exam: Sequence[ExamQuestion]) -> dict[str, float]:
    """F1 with the gold passage alone, nothing held back, and what int8 changes in it; the float model is removed."""
    rounded = exam_metrics(exam, sit_exam(OnnxReader(folder), exam), -math.inf)
    exact = exam_metrics(exam, sit_exam(OnnxReader(folder, FLOAT_MODEL), exam), -math.inf)
    (folder / FLOAT_MODEL).unlink()
    gold = {f"gold.{name}": value for name, value in rounded.items() if name.startswith(("f1", "em"))}
    return {**gold, "gold.int8_change_f1": rounded["f1"] - exact["f1"]}
