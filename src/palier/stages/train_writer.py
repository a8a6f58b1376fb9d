"""Stage `train-writer`: tune the small model that writes on the golden training questions, and round it for llama.cpp.

Starts from the committed starter (or the base as it comes). With `epochs: 0` the starter is merged and rounded as its
card says, nothing else. Otherwise a LoRA change is learnt from training questions beside what the reader points to
and would say, and from those without one beside passages that look like it. What `collect-feedback` found is learnt
too; with an endpoint on the ladder that is the large model's own answers (sequence-level distillation, Kim and Rush
2016, section 3.2). Validation questions, with evidence that the reader points to, choose how far the weights may be
rounded, and whether what was learnt is kept at all. Test questions are never read. A killed run goes on from its last
checkpoint.
"""

import copy
import hashlib
import json
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from safetensors.torch import save_file

from palier.adapters.catalogue import resolve, sha256_file
from palier.adapters.corpus_files import load_corpus
from palier.adapters.feedback_rows import read_examples
from palier.adapters.low_rank import merge_pressed
from palier.adapters.onnx_reader import OnnxReader
from palier.adapters.workspace import Workspace, write_json
from palier.adapters.writer_adapter import (
    STARTER_FILE,
    both_changes,
    gguf_of,
    learnt_change,
    load_base,
    starter_change,
    with_lora,
)
from palier.adapters.writer_exam import exam_metrics, replies_of_llama, smallest_good
from palier.adapters.writer_export import QUANTISATIONS, export_writer
from palier.adapters.writer_rows import RowMaker, WriterRow
from palier.adapters.writer_rung import CONFIG, WRITER_FILE, LlamaCpp, WriterConfig, point, read_writer_config
from palier.adapters.writer_training import WriterPlan, train_writer
from palier.domain.documents import Passage
from palier.domain.golden import GoldenQuestion
from palier.domain.prompting import DONT_KNOW
from palier.domain.reading_tasks import Lookalikes, distractors
from palier.domain.writing_tasks import Asked, Exercises, WritingTask, exam_task, golden_tasks
from palier.errors import DataGateError, ParamsError
from palier.params import Params

if TYPE_CHECKING:
    from torch import Tensor

Progress = Callable[[int, int, str], None]
METRICS = "metrics.json"
MAX_TOKENS = 384
MAX_NEW_TOKENS = 40
CHECKPOINT_STEPS = 10
DEFAULT_QUANTISATION = "Q8_0"


@dataclass(frozen=True)
class TrainWriterResult:
    """``metrics``: of each rounding on validation questions; ``kept``: the files that tell the writer from its base."""

    n_examples: int
    n_steps: int
    metrics: Mapping[str, float]
    kept: tuple[str, ...] = ()


def run(params: Params, root: Path, progress: Progress) -> TrainWriterResult:
    """Write models/writer (writer.gguf, config.json, adapter.safetensors, metrics.json; the metrics alone where neither
    a starter nor epochs are asked for).

    Raises NotReadyError before `version-documents` (and `train-reader`, to tune), DataGateError when no training
    question has an answer in its gold passage, or there is no validation question.
    """
    workspace, section = Workspace(root), params.train_writer
    folder = workspace.writer.with_name(".writer.partial")
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    if section.epochs:
        result = _tuned(params, workspace, folder, progress)
    elif section.starter:
        result = _as_it_is(params, resolve(section.starter), folder, progress)
    else:
        result = TrainWriterResult(0, 0, {})
    write_json(folder / METRICS, result.metrics)
    shutil.rmtree(workspace.writer, ignore_errors=True)
    folder.rename(workspace.writer)
    return result


def _as_it_is(params: Params, starter: Path, folder: Path, progress: Progress) -> TrainWriterResult:
    progress(0, 1, "merge and round the starter")
    export_starter(params.train_writer.base, starter, folder)
    return TrainWriterResult(0, 0, _megabytes(folder), (STARTER_FILE, CONFIG))


def export_starter(base: str, starter: Path, folder: Path) -> None:
    """Write the starter into ``folder``, merged into ``base`` in the rounding that its own exam chose.

    Raises ParamsError when it was made for another base.
    """
    config = read_writer_config(starter)
    if config.base != base:
        raise ParamsError(f"The writer's starter {starter.name} was made for {config.base}, not for {base}.")
    gguf = gguf_of(resolve(base))
    change = starter_change(starter)
    export_writer(load_base(gguf, change).state_dict(), gguf, folder / WRITER_FILE, config.quantisation)
    _keep(folder, change, config)


def _tuned(params: Params, workspace: Workspace, folder: Path, progress: Progress) -> TrainWriterResult:
    section = params.train_writer
    passages, golden = load_corpus(workspace)
    held = [row for row in golden if row.split == "validation"]
    if not held:
        raise DataGateError(
            "No golden question has `split: validation`, and they choose whether what the writer learns is kept: mark "
            "some, and run `palier version-documents` again."
        )
    lookalikes, reader = Lookalikes(list(passages.values())), OnnxReader(workspace.reader)
    gguf = gguf_of(resolve(section.base))
    starter = resolve(section.starter) if section.starter else None
    learned = read_examples(workspace) if section.use_feedback else []
    exercises = Exercises(partial(point, reader), section.evidence_words, np.random.default_rng((params.seed, 2)))
    tasks: list[WritingTask] = []
    train_rows = [row for row in (*golden, *learned) if row.split == "train"]
    for n, row in enumerate(train_rows, start=1):
        tasks += golden_tasks([row], passages, lookalikes, exercises)
        progress(n, len(train_rows), "training questions, the reader points to their evidence")
    rows = _tokenized(tasks, gguf)
    examiner = _Examiner(reader, passages, lookalikes, section.evidence_words, section.exam_questions)
    exam = examiner.tasks(held)
    before = starter_change(starter)
    base = load_base(gguf, before)
    model = with_lora(copy.deepcopy(base), section.lora_rank, params.seed)
    plan = _plan(params, -(-len(rows) // section.batch_size))
    checkpoint = workspace.cache / "train_writer" / f"{_fingerprint(params, starter, rows)}.safetensors"
    position = train_writer(model, lambda _epoch: rows, plan, checkpoint, progress)
    learnt = learnt_change(model)
    rounding = _Rounding(gguf, folder, exam, progress)
    chosen, metrics = rounding.first_and_best(base.state_dict(), learnt)
    shutil.rmtree(checkpoint.parent, ignore_errors=True)
    result = TrainWriterResult(len(rows), position.step, metrics)
    if not metrics["is_tuned_kept"] and starter is None:  # the base answers best: it is in the catalogue
        (folder / WRITER_FILE).unlink()
        return result
    config = WriterConfig(base=section.base, quantisation=chosen, max_words=section.evidence_words)
    _keep(folder, both_changes(before, learnt) if metrics["is_tuned_kept"] else before, config)
    return replace(result, metrics=metrics | _megabytes(folder), kept=(STARTER_FILE, CONFIG))


def _keep(folder: Path, change: Mapping[str, "Tensor"], config: WriterConfig) -> None:
    """Beside the GGUF: what tells it from its base, and how it was made."""
    save_file(dict(change), folder / STARTER_FILE)
    write_json(folder / CONFIG, config.model_dump())


def _megabytes(folder: Path) -> dict[str, float]:
    return {"megabytes": round((folder / WRITER_FILE).stat().st_size / 1e6, 1)}


def _tokenized(tasks: Sequence[WritingTask], gguf: Path) -> list[WriterRow]:
    if not any(task.answers and task.target != DONT_KNOW[task.lang] for task in tasks):
        raise DataGateError(
            f"None of {len(tasks)} training exercises has an answer in its passage. Check that the golden rows with "
            "`split: train` quote the documents, and run `palier version-documents` again."
        )
    return RowMaker(gguf, MAX_TOKENS).rows(tasks)


def _plan(params: Params, n_batches: int) -> WriterPlan:
    section = params.train_writer
    return WriterPlan(
        learning_rate=section.learning_rate,
        batch_size=section.batch_size,
        n_steps=section.epochs * n_batches,
        seed=params.seed,
        checkpoint_steps=CHECKPOINT_STEPS,
    )


def _fingerprint(params: Params, starter: Path | None, rows: Sequence[WriterRow]) -> str:
    """What a checkpoint belongs to: other params, starter or exercises must not go on from it."""
    content = [
        params.train_writer.model_dump(mode="json"),
        params.seed,
        sha256_file(starter / STARTER_FILE) if starter else None,
        [(row.prompt, row.target) for row in rows],
    ]
    return hashlib.sha256(json.dumps(content).encode("utf-8")).hexdigest()[:16]


@dataclass(frozen=True)
class _Examiner:
    """Makes exercises of validation questions: their passages beside one that looks alike, read by the reader."""

    reader: OnnxReader
    passages: Mapping[str, Passage]
    lookalikes: Lookalikes
    max_words: int
    n_questions: int

    def tasks(self, rows: Sequence[GoldenQuestion]) -> list[WritingTask]:
        """At most ``n_questions`` of them, those with the smallest hashes of their ids."""
        chosen = sorted(rows, key=lambda row: hashlib.sha256(row.id.encode()).digest())[: self.n_questions]
        return [self._task(row) for row in chosen]

    def _task(self, row: GoldenQuestion) -> WritingTask:
        asked = row.asked().standalone
        gold = [self.passages[key].content for key in row.passage_ids if key in self.passages]
        contents = [*gold, *(passage.content for passage in distractors(row, self.lookalikes, 1))]
        return exam_task(Asked(asked, row.lang, row.answers), contents, partial(point, self.reader), self.max_words)


@dataclass(frozen=True)
class _Rounding:
    """Rounds weights, lets llama.cpp sit the exam with them, and keeps the smallest file that is good enough."""

    gguf: Path
    folder: Path
    exam: Sequence[WritingTask]
    progress: Progress

    def first_and_best(
        self, weights: Mapping[str, "Tensor"], learnt: Mapping[str, "Tensor"]
    ) -> tuple[str, dict[str, float]]:
        """Leaves writer.gguf; the name of its rounding, and the metrics of all. ``weights`` get ``learnt`` added."""
        untuned = self._examine(weights, DEFAULT_QUANTISATION, "before")
        merge_pressed(weights, learnt)
        found = {name: self._examine(weights, name, name) for name in QUANTISATIONS}
        metrics = {f"before.{key}": value for key, value in untuned.items()}
        metrics |= {f"{name}.{key}": value for name, values in found.items() for key, value in values.items()}
        is_kept = found[DEFAULT_QUANTISATION]["quality"] >= untuned["quality"]
        metrics["is_tuned_kept"] = float(is_kept)
        chosen = smallest_good({name: values["quality"] for name, values in found.items()})
        chosen = chosen if is_kept else DEFAULT_QUANTISATION
        (self.folder / f"{chosen if is_kept else 'before'}.gguf").rename(self.folder / WRITER_FILE)
        for other in self.folder.glob("*.gguf"):
            if other.name != WRITER_FILE:
                other.unlink()
        return chosen, metrics

    def _examine(self, weights: Mapping[str, "Tensor"], quantisation: str, name: str) -> dict[str, float]:
        target = self.folder / f"{name}.gguf"
        export_writer(weights, self.gguf, target, quantisation)
        model, replies = LlamaCpp(target), []
        for task in self.exam:
            replies += replies_of_llama(model, [task], MAX_NEW_TOKENS)
            self.progress(len(replies), len(self.exam), f"validation questions, {name}")
        return exam_metrics(self.exam, replies)
