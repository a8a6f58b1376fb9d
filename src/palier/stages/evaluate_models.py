"""Stage `evaluate-models`: what each rung, the scorer and the cascade are worth, as a page, as data and in tracking.

Over the golden test questions and the answers that `record-outcomes` wrote down, or over question files that are given
(`--data`), which the workspace's rungs then answer here. Baselines and noise ask anew, the readers only, and remember;
`--learning-curve` trains readers on parts of the golden questions, which takes minutes. Nothing is chosen here, so test
questions may be read. The price: a page of many numbers, of which some look odd by chance; the release gate looks at
`evaluate-release` alone.
"""

import json
import shutil
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from palier.adapters.catalogue import load_catalogue, resolve, sha256_file
from palier.adapters.evaluation.answer_measures import Sampling, bleu_of_all, by_language, measures, with_scores
from palier.adapters.evaluation.blind import BlindPair, BlindResult, read_sheets, refuse_old_sheet, write_sheet
from palier.adapters.evaluation.exam import Exam, Order, exam_of
from palier.adapters.evaluation.findings import Findings
from palier.adapters.evaluation.noise_trials import NoiseTrials, chosen_for_noise
from palier.adapters.evaluation.page import render
from palier.adapters.evaluation.scorer_measures import CurvePoint, learning_curve, scorer_measures
from palier.adapters.evaluation.sections import LANGUAGES, page_of
from palier.adapters.evaluation.tables import baseline_table
from palier.adapters.evaluation.writer_measures import gold_perplexity
from palier.adapters.feedback_rows import read_examples
from palier.adapters.onnx_reader import MODEL as READER_FILE
from palier.adapters.onnx_reader import OnnxReader
from palier.adapters.outcome_recorder import quality
from palier.adapters.reader_rung import ReaderRung
from palier.adapters.remembered import content_key
from palier.adapters.workspace import Workspace, read_json, read_jsonl, write_json, write_jsonl, write_text
from palier.adapters.writer_rung import WRITER_FILE, point, tuned_writer
from palier.domain.answering import AskedQuestion, Cascade
from palier.domain.baselines import best_overlap_sentence, first_sentence
from palier.domain.bootstrap import Interval
from palier.domain.evidence import Pointed
from palier.domain.scoring import ScorerWeights
from palier.domain.slices import question_kind, question_length, slice_gaps
from palier.domain.writing_tasks import Asked, Exercises, WritingTask
from palier.errors import InputError
from palier.params import EvaluateModelsParams, Params, WriterRung
from palier.params import ReaderRung as ReaderRungParams
from palier.settings import Settings
from palier.stages import train_reader
from palier.stages.evaluate_release import replay
from palier.stages.train_scorer import fit_scorer, load_outcomes, predict_scores

Progress = Callable[[int, int, str], None]
CASCADE = "cascade"
BASELINES = {"best_overlap_sentence": best_overlap_sentence, "first_bm25_sentence": first_sentence}
HEADLINE = ("f1", "share_answered", "auc", "ece", "ece_by_chance")
NO_ANSWERS = "none of the questions that are asked has an answer"
METRICS, PAGE = "metrics.json", "report.html"


@dataclass(frozen=True)
class ModelsReport:
    """Where the page lies, how many questions it rests on, flat metrics, and what could not be measured and why."""

    page: Path
    n_questions: int
    metrics: Mapping[str, float]
    not_measured: Mapping[str, str]

    @property
    def headline(self) -> dict[str, float]:
        """The few metrics that a terminal has room for."""
        keys = [name for name in self.metrics if name.split(".", 1)[-1] in HEADLINE and not name.startswith("noise")]
        return {name: self.metrics[name] for name in keys}


def run(params: Params, root: Path, settings: Settings, progress: Progress, order: Order | None = None) -> ModelsReport:
    """Write report.html and metrics.json into data/report (or where ``order`` says) and return what they hold.

    Raises NotReadyError before `train-scorer`, InputError for files or rungs that are not there, SearchError when
    Elasticsearch is away.
    """
    order = order or Order()
    with _exam(params, root, settings, progress, order) as exam:
        findings = _Evaluation(params, exam, progress).findings(order)
    place = Workspace(root)
    folder = order.out or place.report
    by_language = ", ".join(f"{LANGUAGES[lang]} {n}" for lang, n in findings.n_questions.items() if lang != "all")
    facts = [
        ("Questions", f"{findings.n_questions['all']} ({by_language})"),
        ("Rungs", ", ".join(rung for rung in findings.rungs if rung != CASCADE)),
        *_cascade_fact(place),
        ("Corpus revision", str(read_json(place.corpus / "manifest.json", "version-documents")["revision"])[:12]),
    ]
    write_json(folder / METRICS, findings.plain())
    write_text(folder / PAGE, render(page_of(findings, f"Evaluation of models: {exam.title}", facts)))
    return ModelsReport(folder / PAGE, findings.n_questions["all"], findings.metrics, findings.not_measured)


def _cascade_fact(place: Workspace) -> list[tuple[str, str]]:
    """The rungs of the chosen cascade, each with what its answer is accepted from."""
    if not (place.cascade / "cascade.json").is_file():
        return []
    cascade = Cascade.model_validate(read_json(place.cascade / "cascade.json", "tune-cascade")["cascade"])
    what = "lead" if cascade.by_beliefs else "score"
    steps = ", then ".join(f"{step.rung} (from {what} {step.threshold:.3f})" for step in cascade.steps)
    return [("Cascade", f"{steps}, else the best-scored answer of these")]


def write_blind(
    params: Params,
    root: Path,
    settings: Settings,
    progress: Progress,
    order: Order,
    sheet: Path,
) -> int:
    """Write a blind sheet of the two rungs that ``order`` names (else the cheapest and the dearest); how many rows.

    Raises InputError unless there are two rungs, and they differ somewhere; at once where the sheet is there already.
    """
    refuse_old_sheet(sheet)
    with _exam(params, root, settings, progress, order) as exam:
        names = exam.rung_names
        if len(names) < 2 or (order.rungs and len(names) != 2):
            raise InputError(f"A blind sheet compares two rungs, here are {', '.join(names)}. Name two with --rungs.")
        pairs = _pairs(exam.table, names[0], names[-1])
    return write_sheet(sheet, (names[0], names[-1]), pairs, np.random.default_rng(params.seed))


def _pairs(table: pd.DataFrame, first: str, second: str) -> list[BlindPair]:
    """The questions that both rungs were asked, with what they said."""
    said = {(row["query_id"], row["model"]): row for row in table.to_dict("records")}
    found = []
    for key in dict.fromkeys(table["query_id"]):
        one, other = said.get((key, first)), said.get((key, second))
        if one and other:
            references = json.loads(one["reference"])
            answers = (one["answer"], other["answer"])
            found.append(BlindPair(key, one["lang"], one["query"], references[0] if references else "", answers))
    return found


def read_blind(params: Params, sheets: Sequence[Path]) -> BlindResult:
    """Filled blind sheets read back; see `palier.adapters.evaluation.blind.read_sheets`."""
    return read_sheets(sheets, np.random.default_rng(params.seed))


def _exam(
    params: Params, root: Path, settings: Settings, progress: Progress, order: Order
) -> AbstractContextManager[Exam]:
    """The exam of ``order``, with the workspace's own scorer."""
    place = Workspace(root)
    weights = ScorerWeights.model_validate(read_json(place.scorer / "scorer.json", "train-scorer"))
    scores = pd.read_parquet(place.scores / "scores.parquet")
    recorded = load_outcomes(place).merge(scores, on=["query_id", "model"], validate="one_to_one")
    return exam_of(params, place, settings, recorded, partial(predict_scores, weights), order, progress)


class _Evaluation:
    """One report, piece by piece."""

    def __init__(self, params: Params, exam: Exam, progress: Progress) -> None:
        self._params = params
        self._section: EvaluateModelsParams = params.evaluate_models
        self._exam = exam
        self._progress = progress
        self._sampling = Sampling(params.seed, self._section.bootstrap_samples)
        self._table = with_scores(pd.concat([exam.table, *self._cascade()], ignore_index=True))
        self._found = Findings(self._counts())

    def findings(self, order: Order) -> Findings:
        """All that can be measured; each piece that cannot leaves its reason."""
        pieces = (self._answers, self._slices, self._scorer, self._baselines, self._noise, self._writer)
        for done, piece in enumerate(pieces, start=1):
            piece()
            self._progress(done, len(pieces), "pieces of the report")
        if order.reader_curve:
            self._found.reader_curve = self._reader_curve()
        else:
            self._found.not_measured["learning curve of the reader"] = "it trains: ask for it with --learning-curve"
        return self._found

    def _counts(self) -> dict[str, int]:
        langs = self._exam.table.drop_duplicates("query_id")["lang"]
        return {"all": len(langs), **{lang: int((langs == lang).sum()) for lang in self._exam.languages}}

    def _cascade(self) -> list[pd.DataFrame]:
        """What the chosen cascade makes of the same answers; nothing where one of its rungs did not answer."""
        path, table = self._exam.place.cascade / "cascade.json", self._exam.table
        if not path.is_file():
            return []
        cascade = Cascade.model_validate(read_json(path, "tune-cascade")["cascade"])
        if cascade.by_beliefs or not {step.rung for step in cascade.steps} <= set(table["model"]):
            return []
        climbed = replay(table, cascade)
        asked = ["query_id", "query", "split", "document_id", "reference"]
        told = climbed.assign(model=CASCADE, correct=climbed["f1"]).drop(columns=["f1", "rung"])
        return [told.merge(table.drop_duplicates("query_id")[asked], on="query_id")]

    def _answers(self) -> None:
        for rung, rows in self._table.groupby("model", sort=False):
            self._found.rungs[str(rung)] = self._by_language(rows)
            if (bleu := bleu_of_all(rows)) is not None:
                self._found.corpus_bleu[str(rung)] = bleu
        if CASCADE not in self._found.rungs:
            self._found.not_measured[CASCADE] = (
                "there is none, or it climbs by beliefs (see evaluate-release), or one of its rungs was not examined"
            )
        left_out = read_json(self._exam.place.outcomes / "rungs.json", "record-outcomes")["left_out"]
        self._found.not_measured |= {f"rung {which}": reason for which, reason in left_out.items()}

    def _by_language(self, rows: pd.DataFrame) -> dict[str, Any]:
        return by_language(rows, self._exam.languages, partial(measures, sampling=self._sampling))

    def _slices(self) -> None:
        for rung, rows in self._table.groupby("model", sort=False):
            texts = list(zip(rows["query"], rows["lang"], strict=True))
            axes = {
                "language": rows["lang"].tolist(),
                "kind": [question_kind(text, lang) for text, lang in texts],
                "length": [question_length(text) for text, _ in texts],
                "golden": rows["kind"].tolist(),
            }
            least, samples = self._section.min_slice_rows, self._section.bootstrap_samples
            self._found.slices[str(rung)] = {
                axis: slice_gaps(rows["correct"].tolist(), names, self._sampling.rng, min_rows=least, samples=samples)
                for axis, names in axes.items()
            }

    def _scorer(self) -> None:
        table, thresholds = self._exam.table, self._thresholds()
        parts = {"all": table, **{str(rung): rows for rung, rows in table.groupby("model", sort=False)}}
        parts |= {lang: table[table["lang"] == lang] for lang in self._exam.languages}
        for name, rows in parts.items():
            self._found.scorer[name] = scorer_measures(rows, thresholds, self._sampling)
        training = self._exam.training[self._exam.training["model"].isin(self._exam.rung_names)]
        self._found.scorer_curve = learning_curve(
            training, table, self._section.learning_shares, self._fit, self._sampling
        )

    def _thresholds(self) -> list[float]:
        path = self._exam.place.cascade / "cascade.json"
        steps = read_json(path, "tune-cascade")["cascade"]["steps"] if path.is_file() else []
        return [*self._section.thresholds, *(step["threshold"] for step in steps)]

    def _fit(self, rows: pd.DataFrame) -> Callable[[pd.DataFrame], NDArray[np.float64]]:
        return partial(predict_scores, fit_scorer(rows, self._params))

    def _baselines(self) -> None:
        if not self._params.retrieval.searches:
            self._found.not_measured["baselines"] = "the workspace answers without passages"
            return
        for name, answers in BASELINES.items():
            table = with_scores(baseline_table(name, answers, self._exam.asked))
            self._found.baselines[name] = self._by_language(table)

    def _noise(self) -> None:
        readers = [rung for rung in self._exam.rung_names if self._params.ladder.rungs[rung].kind == "reader"]
        n = self._section.noise_questions
        if not (n and readers and self._params.retrieval.searches):
            self._found.not_measured["noise"] = "no reader reads passages, or evaluate_models.noise_questions is 0"
            return
        trials = NoiseTrials(self._exam.retriever, self._params.retrieval.k, self._section.typo_share, self._sampling)
        asked = chosen_for_noise(self._exam.asked, n)
        rungs = list(self._exam.rungs(readers).values())
        self._found.noise = trials.measure(rungs, asked, self._exam.recorder, self._progress)
        if not self._found.noise:
            self._found.not_measured["noise"] = NO_ANSWERS

    def _writer(self) -> None:
        """The tuned writer beside the same model as it comes."""
        tuned = [(name, rung) for name, rung in self._writers() if tuned_writer(self._exam.place.writer, rung.model)]
        if not (tuned and self._section.writer_questions):
            self._found.not_measured["writer"] = (
                "no tuned writer answered (see `palier train-writer`), or evaluate_models.writer_questions is 0"
            )
            return
        asked = chosen_for_noise(self._exam.asked, self._section.writer_questions)
        if not asked:
            self._found.not_measured["writer"] = NO_ANSWERS
            return
        name, rung = tuned[0]
        tasks = self._writing_tasks(asked)
        if tasks:
            from palier.adapters.writer_adapter import gguf_of  # torch: only where a writer was tuned

            base = gguf_of(resolve(rung.model))
            files = {name: self._exam.place.writer / WRITER_FILE, f"{name}_untuned": base}
            found = {key: gold_perplexity(gguf, tasks, self._sampling) for key, gguf in files.items()}
            self._found.perplexity = {key: one for key, one in found.items() if one is not None}
        else:
            self._found.not_measured["perplexity"] = "no gold answer stands word for word in a passage that was found"
        untuned = self._exam.untuned(rung)
        self._found.baselines["untuned_writer"] = self._by_language(
            with_scores(baseline_table("untuned_writer", untuned.answer, asked))
        )

    def _writers(self) -> list[tuple[str, WriterRung]]:
        rungs = [(name, self._params.ladder.rungs[name]) for name in self._exam.rung_names]
        return [(name, rung) for name, rung in rungs if isinstance(rung, WriterRung)]

    def _writing_tasks(self, asked: Sequence[AskedQuestion]) -> list[WritingTask]:
        """Gold answers beside the evidence around them, of questions whose gold passage was found and says them."""
        folder = self._exam.place.reader
        reader = OnnxReader(folder) if (folder / READER_FILE).is_file() else None
        words = self._params.train_writer.evidence_words
        exercises = Exercises(partial(point, reader), words, self._sampling.rng, hides=False)
        tasks = []
        for item in asked:
            wanted = Asked(item.question.standalone, item.question.lang, tuple(item.row["answers"]))
            gold = [
                hit.passage.content
                for hit in item.hits
                if hit.passage.passage_id in (item.row.get("passage_ids") or ())
            ]
            start = gold[0].find(wanted.answers[0]) if gold else -1
            if start >= 0:
                place = Pointed(0, start, start + len(wanted.answers[0]))
                tasks.append(exercises.answered(wanted, gold[:1], [place]))
        return [task for task in tasks if task is not None]

    def _reader_curve(self) -> list[CurvePoint]:
        """F1 and share answered of readers that were trained on parts of the golden training questions.

        Each is trained in a folder of its own, as `train-reader` trains, and answers over the same hits as the rung
        that reads fewest passages. The workspace's own reader stands for all of the data, unless it has heard feedback:
        then one is trained for that point too, so that all points differ in their share alone.
        """
        place = self._exam.place
        golden = read_jsonl(place.corpus / "golden.jsonl", "version-documents")
        documents = sorted({row["document_id"] for row in golden if row["split"] == "train"})
        validation = [row for row in golden if row["split"] == "validation"]
        order = self._sampling.rng.permutation(documents)
        points = []
        for share in self._section.learning_shares:
            part = set(order[: max(1, round(share * len(order)))].tolist())
            train = [row for row in golden if row["split"] == "train" and row["document_id"] in part]
            reader = self._trained_reader([*train, *validation], share)
            points.append(CurvePoint(share, len(train), self._examined(reader)))
        return points

    def _trained_reader(self, golden: Sequence[Mapping[str, Any]], share: float) -> Path:
        """The folder of a reader that learnt from ``golden``, a ``share`` of all there is, and from nothing else.

        That of the workspace where it is such a one, else one that is trained here, or was before.
        """
        place = self._exam.place
        if share == 1.0 and not _has_heard_feedback(self._params, place):
            return place.reader
        scratch = scratch_of(self._params, place, golden)
        if not (scratch.reader / "config.json").is_file():
            write_jsonl(scratch.corpus / "golden.jsonl", golden)
            shutil.copyfile(place.corpus / "passages.jsonl", scratch.corpus / "passages.jsonl")
            train_reader.run(self._params, scratch.root, _naming(self._progress, f"{share:.0%} of the data"))
        return scratch.reader

    def _examined(self, reader: Path) -> dict[str, Interval | None]:
        rungs = [rung for rung in self._params.ladder.rungs.values() if isinstance(rung, ReaderRungParams)]
        n = min((rung.passages for rung in rungs), default=2)
        rung = ReaderRung("reader", OnnxReader(reader), n, self._params.ladder.cpu_usd_per_hour)
        asked = [item for item in self._exam.asked if item.row["answers"]]
        said = [rung.answer(item.question, item.hits).text for item in asked]
        return {
            "f1": self._sampling.mean([quality(item.row, text) for item, text in zip(asked, said, strict=True)]),
            "share_answered": self._sampling.mean([bool(text) for text in said]),
        }


def scratch_of(params: Params, place: Workspace, golden: Sequence[Mapping[str, Any]]) -> Workspace:
    """Where a reader that learns from ``golden`` is trained, and found again: named by all that it learns from.

    All passages of ``place`` among them, since those that only look like an answer are read as well.
    """
    section, known = params.train_reader, load_catalogue()
    begun = [sorted(known[name].files.items()) for name in (section.base, section.starter, section.rehearsal) if name]
    read = [golden, sha256_file(place.corpus / "passages.jsonl")]
    key = content_key(*read, params.seed, section.model_dump(mode="json"), begun)[:16]
    return Workspace(place.cache / "evaluation" / "readers" / key)


def _has_heard_feedback(params: Params, place: Workspace) -> bool:
    """Whether `train-reader` found more to learn from than golden questions."""
    return params.train_reader.use_feedback and any(row.split == "train" for row in read_examples(place))


def _naming(progress: Progress, name: str) -> Progress:
    """``progress`` that says of what."""
    return lambda done, total, what: progress(done, total, f"{name}: {what}")
