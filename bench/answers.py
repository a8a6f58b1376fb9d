"""How good the answers are: with the passage that a question was asked about, and with passages that were retrieved.

`palier bench answers --data FILE… --lang en|fr --out FILE.json`. Files are QA rows (as of SQuAD, PIAF or Natural
Questions, see `bench retrieval`); all their passages go into an index of their own, deleted afterwards. Measured
are the reader rungs of the repository's `params.yaml` (or those that `--rungs` names, the writer too) with the
committed starters (or `reader_folder`), a cascade of them, and beside them the sentence of the best passage that shares
most words with the question. EM and F1 count answerable questions, an abstention as 0; `share_answered` stands beside
them; `no_answer_f1` is the F1 of the class "no answer" (it needs unanswerable rows). `of_gold_times_hit_at_5` is F1
over retrieved passages against F1 with the gold passage times hit@5. The scorer is the product's, fitted and tested on
folds of whole titles of the measured questions, beside the reader's own margin; the cascade's threshold is chosen on
the other folds too. Times are told twice: by the clock, and as processor time, which a busy machine hardly changes.

The price: no heavy rung (it needs an endpoint), a writer only where it is asked for (seconds a question), and the
scorer learns from few rows.
`--titles test` keeps questions of titles that no starter trained on or was chosen by, for data that it was trained on.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.metrics import roc_auc_score

from bench.answer_choices import scan_retrieval_weights
from bench.answer_rungs import MeasuredWriter, readers_of, rungs_of, untuned_writer, with_rungs
from bench.exported_models import exported_encoder, exported_reader, exported_verifier, served_reranker
from bench.report import (
    Metric,
    QaRow,
    Report,
    TitlesAsked,
    as_metric,
    check_titles,
    every,
    metric,
    on_titles,
    percentile,
    read_all,
)
from bench.retrieval import temporary_index
from palier.adapters.catalogue import sha256_file
from palier.adapters.evaluation.answer_measures import Sampling
from palier.adapters.evaluation.scorer_measures import scorer_measures
from palier.adapters.onnx_encoder import OnnxEncoder
from palier.adapters.onnx_reader import MODEL, OnnxReader
from palier.adapters.qa_rows import passage_of
from palier.adapters.reader_rung import ReaderRung
from palier.adapters.scorer_training import fold_of
from palier.adapters.search import HybridRetriever, connect, wait_ready
from palier.domain.answering import Hit, Question, Rung, RungAnswer
from palier.domain.baselines import best_overlap_sentence
from palier.domain.bootstrap import statistic_interval
from palier.domain.documents import Lang, Passage
from palier.domain.money import usd
from palier.domain.scoring import Verifier, features
from palier.domain.text_metrics import best_exact_match, best_f1, no_answer_f1
from palier.errors import InputError
from palier.params import Params, load_params
from palier.settings import repository_root
from palier.stages.train_scorer import fit_scorer, predict_scores

N_FOLDS = 5
SAMPLES = 1000
THRESHOLDS = np.linspace(0.0, 1.0, 41)


@dataclass(frozen=True, slots=True)
class Asked:
    """A question with its gold passage and what was retrieved for it."""

    row: QaRow
    question: Question
    gold: Passage
    hits: Sequence[Hit]

    @property
    def lang(self) -> Lang:
        return self.question.lang

    def quality(self, text: str) -> float:
        """Token F1, or 1 for a right "no answer"."""
        if not self.row.answers:
            return float(not text)
        return best_f1(text, self.row.answers, self.lang) if text else 0.0


def run(
    data: Sequence[Path],
    out: Path,
    *,
    lang: str | None = None,
    search_url: str,
    reader_folder: Path | None = None,
    max_questions: int | None = None,
    asked_titles: TitlesAsked = "all",
    rungs: Sequence[str] = (),
    seed: int = 7,
) -> dict[str, Any]:
    """Measure, write ``out`` and return what it holds.

    Raises InputError for files without a usable row, for a split of titles or a rung that does not exist.
    """
    check_titles(asked_titles)
    params = with_rungs(load_params(repository_root() / "params.yaml"), rungs)
    reader_folder = reader_folder or exported_reader(params)
    section = params.train_encoder
    reader, encoder = OnnxReader(reader_folder), OnnxEncoder(exported_encoder(section.base, section.starter))
    rng = np.random.default_rng(seed)
    told = {
        "lang": lang,
        "max_questions": max_questions,
        "asked_titles": asked_titles,
        "rungs": list(params.ladder.rungs),
        "seed": seed,
        "reader_sha256": sha256_file(reader_folder / MODEL),
        "encoder_sha256": encoder.sha256,
        "reader": reader.config.model_dump(),
        "retrieval": params.retrieval.model_dump(mode="json"),
        "cpu_usd_per_hour": params.ladder.cpu_usd_per_hour,
    }
    report = Report("answers", told)
    rows = _read(data, lang, report)
    chosen = _sample(rows, max_questions, asked_titles, rng)
    client = connect(search_url, timeout_s=60)
    wait_ready(client)
    passages = {passage.passage_id: passage for passage in map(passage_of, rows)}
    with temporary_index(client, list(passages.values()), encoder, params) as index:
        retriever = HybridRetriever(client, index, encoder, params.retrieval, served_reranker(params))
        asked = [_retrieved(row, retriever, params.retrieval.k) for row in every(chosen, len(chosen), "retrieve")]
    results = _measure(params, reader, encoder, asked, rng)
    if asked_titles == "validation":
        depths = {name: one.passages for name, one in readers_of(params).items()}
        results["choices"] = {"retrieval_weight": scan_retrieval_weights(reader, asked, depths)}
    return report.write(out, results)


def _read(data: Sequence[Path], lang: str | None, report: Report) -> list[QaRow]:
    """The rows in ``lang``, or in either language; InputError for what is no language of ours."""
    known = get_args(Lang)
    if lang is not None and lang not in known:
        raise InputError(f"No language {lang!r}. There are: {', '.join(known)}.")
    return [row for row in read_all(data, report) if row.lang in known and row.lang == (lang or row.lang)]


def _sample(rows: Sequence[QaRow], n: int | None, asked_titles: TitlesAsked, rng: np.random.Generator) -> list[QaRow]:
    """The rows that are asked: with a question, and answers unless unanswerable; ``n`` of them, in their order."""
    usable = [row for row in on_titles(rows, asked_titles) if bool(row.answers) == row.answerable]
    if not usable:
        raise InputError("No row has a question with answers, or one that is not answerable: nothing to measure.")
    if n is None or n >= len(usable):
        return usable
    return [usable[i] for i in sorted(rng.choice(len(usable), size=n, replace=False))]


def _retrieved(row: QaRow, retriever: HybridRetriever, k: int) -> Asked:
    gold = passage_of(row)
    question = Question(row.question, gold.lang)
    return Asked(row, question, gold, retriever.search(question, k))


@dataclass(frozen=True, slots=True)
class Answered:
    """What a rung said to each question, with the expected quality of each answer from folds that did not hold it."""

    answers: Sequence[RungAnswer]
    quality: NDArray[np.float64]
    scores: NDArray[np.float64]


def _measure(
    params: Params, reader: OnnxReader, encoder: OnnxEncoder, asked: Sequence[Asked], rng: np.random.Generator
) -> dict[str, Any]:
    titles = [item.row.title for item in asked]
    folds = fold_of(titles, min(N_FOLDS, max(2, len(set(titles)))), rng)
    hourly = params.ladder.cpu_usd_per_hour
    rungs = rungs_of(params, reader)
    judge = Judge(params, encoder, exported_verifier(params), folds)
    alone = judge.answered(asked, [[Hit(item.gold, 1.0)] for item in asked], _with_gold(params, reader, rungs, asked))
    results: dict[str, Any] = {"best_overlap_sentence": _plain(asked, rng)}
    said = judge.answered(asked, [item.hits for item in asked], _with_retrieved(rungs, asked))
    for name, answered in said.items():
        results[name] = {
            "gold": _quality_metrics(asked, alone[name].answers, rng),
            "retrieved": _quality_metrics(asked, answered.answers, rng),
            "of_gold_times_hit_at_5": _kept_share(asked, alone[name].answers, answered.answers, rng),
            **_price_metrics(answered.answers, hourly, rng),
        }
        if isinstance(writer := rungs[name], MeasuredWriter):
            results[name] |= _writing(writer, reader, params, asked, rng)
    names = list(said)
    if len(names) > 1:
        climbed = _cascade(said[names[0]], said[names[-1]], folds)
        results["cascade"] = {
            "rungs": [names[0], names[-1]],
            "gold": _quality_metrics(asked, _cascade(alone[names[0]], alone[names[-1]], folds), rng),
            "retrieved": _quality_metrics(asked, climbed, rng),
            **_price_metrics(climbed, hourly, rng),
        }
    results["scorer"] = _scorer_metrics(list(said.values()), reader.config.null_threshold, rng)
    results["retrieval"] = {
        "recall_at_k": metric([_found(item, len(item.hits)) for item in asked], rng),
        "hit_at_5": metric([_found(item, 5) for item in asked], rng),
    }
    return results


def _plain(asked: Sequence[Asked], rng: np.random.Generator) -> dict[str, Any]:
    """The reference without a model: the sentence that shares most words with the question."""
    gold = [best_overlap_sentence(item.question, [Hit(item.gold, 1.0)]) for item in asked]
    found = [best_overlap_sentence(item.question, item.hits) for item in asked]
    return {"gold": _quality_metrics(asked, gold, rng), "retrieved": _quality_metrics(asked, found, rng)}


def _found(item: Asked, depth: int) -> float:
    return float(item.gold.passage_id in {hit.passage.passage_id for hit in item.hits[:depth]})


def _kept_share(
    asked: Sequence[Asked], alone: Sequence[RungAnswer], retrieved: Sequence[RungAnswer], rng: np.random.Generator
) -> Metric:
    """F1 over retrieved passages, against F1 with the gold passage times hit@5; answerable questions, resampled."""
    rows = [row for row in zip(asked, alone, retrieved, strict=True) if row[0].row.answers]
    parts = [(item.quality(a.text), _found(item, 5), item.quality(b.text)) for item, a, b in rows]
    if not parts:
        return metric([], rng)
    gold, hit, end = np.array(parts).T

    def share(drawn: NDArray[np.int64]) -> float:
        product = gold[drawn].mean() * hit[drawn].mean()
        return float(end[drawn].mean() / product) if product else float("nan")

    return as_metric(statistic_interval(len(parts), share, rng, SAMPLES))


def _scorer_metrics(said: Sequence["Answered"], threshold: float, rng: np.random.Generator) -> dict[str, Any]:
    """AUC and ECE (with its part by chance) of the scorer over all rungs' answers; AUC of what it must beat: the
    reader's margin, and how far that lies from the reader's threshold, on either side. The margin alone speaks against
    every "no answer", right ones too.

    Rungs answer the same questions, often alike, so whole questions are resampled; ``n`` of an interval counts them,
    the other ``n`` answers.
    """
    scores, quality = np.array([rung.scores for rung in said]), np.array([rung.quality for rung in said])
    rivals = {
        "margin": np.array([[answer.signals.get("margin", 0.0) for answer in rung.answers] for rung in said]),
        "margin_from_threshold": np.array(
            [[_from_threshold(answer, threshold) for answer in rung.answers] for rung in said]
        ),
    }
    good = quality >= 0.5
    n = good.shape[1]

    def auc(values: NDArray[np.float64], drawn: NDArray[np.int64]) -> float:
        part = good[:, drawn].ravel()
        return float(roc_auc_score(part, values[:, drawn].ravel())) if part.any() and not part.all() else float("nan")

    beaten: dict[str, Metric] = {}
    for name, values in rivals.items():
        alone = statistic_interval(n, lambda drawn, own=values: auc(own, drawn), rng, SAMPLES)
        gain = statistic_interval(n, lambda drawn, own=values: auc(scores, drawn) - auc(own, drawn), rng, SAMPLES)
        beaten |= {f"auc_of_{name}": as_metric(alone), f"auc_gain_over_{name}": as_metric(gain)}
    table = pd.DataFrame(
        {"query_id": np.tile(np.arange(n), len(said)), "score": scores.ravel(), "correct": quality.ravel()}
    )
    found = scorer_measures(table, (), Sampling(int(rng.integers(2**32)), SAMPLES))
    return {
        "auc": found.auc.value if found.auc else None,
        "auc_interval": as_metric(found.auc) if found.auc else metric([], rng),
        "ece": found.ece,
        "ece_by_chance": found.ece_by_chance,
        "n": found.n,
        **beaten,
    }


def _from_threshold(answer: RungAnswer, threshold: float) -> float:
    """How far the margin lies from what decides on silence; 0 of a rung that tells no margin."""
    return abs(answer.signals["margin"] - threshold) if "margin" in answer.signals else 0.0


def _with_gold(
    params: Params, reader: OnnxReader, rungs: Mapping[str, Rung], asked: Sequence[Asked]
) -> dict[str, list[RungAnswer]]:
    """What each rung makes of the gold passage alone; the same for all readers, since there is one passage to read."""
    read = _with_gold_by(ReaderRung("reader", reader, 1, params.ladder.cpu_usd_per_hour), asked)
    return {
        name: [replace(answer, rung=name) for answer in read]
        if isinstance(rung, ReaderRung)
        else _with_gold_by(rung, asked)
        for name, rung in rungs.items()
    }


def _with_gold_by(rung: Rung, asked: Sequence[Asked]) -> list[RungAnswer]:
    return [
        rung.answer(item.question, [Hit(item.gold, 1.0)])
        for item in every(asked, len(asked), f"{rung.name}, gold passage")
    ]


def _writing(
    writer: MeasuredWriter, reader: OnnxReader, params: Params, asked: Sequence[Asked], rng: np.random.Generator
) -> dict[str, Any]:
    """What is asked of a writer alone: its speed, its language, and the model as it comes, with the gold passage."""
    found: dict[str, Any] = {"speed": writer.speed(), "in_language": metric(writer.in_language(), rng)}
    if writer.is_tuned:
        untuned = untuned_writer(writer.name, params, reader)
        found["untuned"] = {"gold": _quality_metrics(asked, _with_gold_by(untuned, asked), rng)}
    return found


def _with_retrieved(rungs: Mapping[str, Rung], asked: Sequence[Asked]) -> dict[str, list[RungAnswer]]:
    return {
        name: [rung.answer(item.question, item.hits) for item in every(asked, len(asked), name)]
        for name, rung in rungs.items()
    }


@dataclass(frozen=True, slots=True)
class Judge:
    """Scores as the product gives them, each learnt on the titles of the other ``folds``."""

    params: Params
    encoder: OnnxEncoder
    verifier: Verifier | None
    folds: NDArray[np.int64]

    def answered(
        self, asked: Sequence[Asked], found: Sequence[Sequence[Hit]], said: Mapping[str, Sequence[RungAnswer]]
    ) -> dict[str, Answered]:
        """What every rung ``said`` to every question over the passages ``found`` for it, with quality and score."""
        table = pd.DataFrame(
            self._outcome(item, hits, answer)
            for answers in said.values()
            for item, hits, answer in zip(asked, found, answers, strict=True)
        )
        rows = np.tile(self.folds, len(said))
        scores = np.full(len(table), 0.5)  # of a fold with nothing beside it to learn from
        for fold in np.unique(self.folds):
            if (rows == fold).all():
                continue
            weights = fit_scorer(table[rows != fold], self.params)
            scores[rows == fold] = predict_scores(weights, table[rows == fold])
        return {
            name: Answered(answers, table.loc[table["model"] == name, "correct"].to_numpy(), own)
            for (name, answers), own in zip(said.items(), np.split(scores, len(said)), strict=True)
        }

    def _outcome(self, item: Asked, hits: Sequence[Hit], answer: RungAnswer) -> dict[str, Any]:
        """What the scorer learns from, as `record-outcomes` writes it; rows are told apart by title and id."""
        return {
            "query_id": f"{item.row.title}/{item.row.id}",
            "lang": item.lang,
            "model": answer.rung,
            "answer": answer.text,
            "correct": item.quality(answer.text),
            "cost_nanousd": answer.cost_nanousd,
            "features": features(item.question, hits, answer, self.encoder, self.verifier).tolist(),
        }


def _cascade(first: Answered, last: Answered, folds: NDArray[np.int64]) -> list[RungAnswer]:
    """The first rung's answer where its score reaches a threshold, else the last one's; both are paid then.

    The threshold of a fold is the one with the best mean quality on the others (the lower, cheaper one on a tie); 0
    where there are no others, so that nothing climbs.
    """
    chosen: list[RungAnswer] = [RungAnswer("", "")] * len(folds)
    for fold in np.unique(folds):
        others = folds != fold
        worth = [
            float(np.where(first.scores[others] >= t, first.quality[others], last.quality[others]).sum())
            for t in THRESHOLDS
        ]
        threshold = THRESHOLDS[int(np.argmax(worth))]
        for i in np.flatnonzero(folds == fold).tolist():
            chosen[i] = first.answers[i] if first.scores[i] >= threshold else _both(first.answers[i], last.answers[i])
    return chosen


def _both(first: RungAnswer, last: RungAnswer) -> RungAnswer:
    cost, latency = first.cost_nanousd + last.cost_nanousd, first.latency_ms + last.latency_ms
    return RungAnswer(last.rung, last.text, last.citations, last.signals, cost, latency)


def _quality_metrics(
    asked: Sequence[Asked], answers: Sequence[RungAnswer], rng: np.random.Generator
) -> dict[str, Metric]:
    pairs = list(zip(asked, answers, strict=True))
    answerable = [(item, answer) for item, answer in pairs if item.row.answers]
    matches = [
        best_exact_match(answer.text, item.row.answers, item.lang) if answer.text else 0.0
        for item, answer in answerable
    ]
    cited = [
        float(any(citation.passage_id == item.gold.passage_id for citation in answer.citations))
        for item, answer in answerable
        if answer.text
    ]
    return {
        "em": metric(matches, rng),
        "f1": metric([item.quality(answer.text) for item, answer in answerable], rng),
        "share_answered": metric([float(bool(answer.text)) for _, answer in answerable], rng),
        "f1_with_unanswerable": metric([item.quality(answer.text) for item, answer in pairs], rng),
        "no_answer_f1": _no_answer_metric(pairs, rng),
        "citation_correct": metric(cited, rng),
    }


def _no_answer_metric(pairs: Sequence[tuple[Asked, RungAnswer]], rng: np.random.Generator) -> Metric:
    """F1 of abstaining, resampled over questions; null where every question has an answer."""
    silent = np.array([not answer.text for _, answer in pairs])
    none = np.array([not item.row.answers for item, _ in pairs])
    if not none.any():
        return {"value": None, "low": None, "high": None, "n": 0}

    def f1(rows: NDArray[np.int64]) -> float:
        return no_answer_f1(silent[rows].tolist(), none[rows].tolist())

    return as_metric(statistic_interval(len(pairs), f1, rng, SAMPLES))


def _price_metrics(answers: Sequence[RungAnswer], usd_per_hour: float, rng: np.random.Generator) -> Mapping[str, Any]:
    """Milliseconds of the rung by the clock and of its processor (retrieval not counted), and what these cost."""
    times = [answer.latency_ms for answer in answers]
    busy = [3.6e6 * usd(answer.cost_nanousd) / usd_per_hour for answer in answers] if usd_per_hour else []
    costs = [1e6 * usd(answer.cost_nanousd) for answer in answers]  # per million, so that rounding keeps digits
    paid = {key: value if key == "n" or value is None else value / 1e6 for key, value in metric(costs, rng).items()}
    return {
        "ms_p50": percentile(times, 50),
        "ms_p95": percentile(times, 95),
        "cpu_ms_p50": percentile(busy, 50),
        "cpu_ms_p95": percentile(busy, 95),
        "cost_usd": paid,
    }
