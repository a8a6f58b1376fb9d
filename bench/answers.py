"""How good the answers are: with the passage that a question was asked about, and with passages that were retrieved.

`palier bench answers --data FILE… --lang en|fr --out FILE.json`. Files are QA rows (as of SQuAD, PIAF or Natural
Questions, see `bench retrieval`); all their passages go into an index of their own, deleted afterwards. Measured
are the reader rungs of the repository's `params.yaml` with the committed starter reader (or `reader_folder`), and a
cascade of them. EM and F1 count answerable questions, an abstention as 0; `share_answered` stands beside them;
`no_answer_f1` is the F1 of the class "no answer" (it needs unanswerable rows). The scorer is the product's, fitted and
tested on folds of whole titles of the measured questions; the cascade's threshold is chosen on the other folds too.

The price: no writer and no heavy rung (they cost hours here or an endpoint), and the scorer learns from few rows.
`only_split` keeps questions of titles that the starter did not train on ("test"), for data that it was trained on.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

import numpy as np
from numpy.typing import NDArray

from bench.exported_models import exported_encoder, served_reranker
from bench.report import Metric, QaRow, Report, every, metric, percentile, read_qa, tell
from bench.retrieval import temporary_index
from palier.adapters.catalogue import resolve, sha256_file
from palier.adapters.onnx_encoder import OnnxEncoder
from palier.adapters.onnx_reader import CONFIG, MODEL, OnnxReader
from palier.adapters.reader_adapter import STARTER_FILE, starter_reader
from palier.adapters.reader_export import export_reader, starter_config
from palier.adapters.reader_rung import ReaderRung
from palier.adapters.scorer_training import fit_head, fold_of
from palier.adapters.search import HybridRetriever, connect, wait_ready
from palier.domain.answering import Hit, Question, RungAnswer
from palier.domain.documents import Lang, Passage, sha256_text
from palier.domain.money import usd
from palier.domain.scoring import features
from palier.domain.text_metrics import best_exact_match, best_f1, no_answer_f1
from palier.domain.title_split import title_split
from palier.errors import InputError
from palier.params import Params, load_params
from palier.params import ReaderRung as ReaderRungParams
from palier.settings import repository_root
from palier.stages.train_scorer import scorer_metrics

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
    only_split: str | None = None,
    seed: int = 7,
) -> dict[str, Any]:
    """Measure, write ``out`` and return what it holds. Raises InputError for files without a usable row."""
    params = load_params(repository_root() / "params.yaml")
    reader_folder = reader_folder or exported_starter(params)
    section = params.train_encoder
    reader, encoder = OnnxReader(reader_folder), OnnxEncoder(exported_encoder(section.base, section.starter))
    rng = np.random.default_rng(seed)
    told = {
        "lang": lang,
        "max_questions": max_questions,
        "only_split": only_split,
        "seed": seed,
        "reader_sha256": sha256_file(reader_folder / MODEL),
        "reader": reader.config.model_dump(),
        "retrieval": params.retrieval.model_dump(mode="json"),
        "cpu_usd_per_hour": params.ladder.cpu_usd_per_hour,
    }
    report = Report("answers", told)
    rows = _read(data, lang, report)
    chosen = _sample(rows, max_questions, only_split, rng)
    client = connect(search_url, timeout_s=60)
    wait_ready(client)
    passages = {passage.passage_id: passage for passage in map(passage_of, rows)}
    with temporary_index(client, list(passages.values()), encoder, params) as index:
        retriever = HybridRetriever(client, index, encoder, params.retrieval, served_reranker(params))
        asked = [_retrieved(row, retriever, params.retrieval.k) for row in every(chosen, len(chosen), "retrieve")]
    return report.write(out, _measure(params, reader, encoder, asked, rng))


def _read(data: Sequence[Path], lang: str | None, report: Report) -> list[QaRow]:
    rows = []
    for path in data:
        read = read_qa(path)
        report.add_data(path, len(read))
        rows += [row for row in read if row.lang in get_args(Lang) and row.lang == (lang or row.lang)]
    return rows


def _sample(rows: Sequence[QaRow], n: int | None, only_split: str | None, rng: np.random.Generator) -> list[QaRow]:
    """The rows that are asked: with a question, and answers unless unanswerable; ``n`` of them, in their order."""
    usable = [
        row
        for row in rows
        if row.question.strip()
        and bool(row.answers) == row.answerable
        and (only_split is None or title_split(row.title) == only_split)
    ]
    if not usable:
        raise InputError("No row has a question with answers, or one that is not answerable: nothing to measure.")
    if n is None or n >= len(usable):
        return usable
    return [usable[i] for i in sorted(rng.choice(len(usable), size=n, replace=False))]


def passage_of(row: QaRow) -> Passage:
    """A row's context as a passage, its id a hash of what it says; the same for rows that share it."""
    title = row.title.replace("_", " ")
    key = sha256_text(f"{title}\n{row.context}")[:24]
    lang: Lang = "fr" if row.lang == "fr" else "en"
    return Passage(key, row.title or key, lang, title, "", row.context, 1, row.context.count("\n") + 1)


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
    results: dict[str, Any] = {}
    gold = _with_gold(params, reader, asked, rng)
    said: dict[str, Answered] = {}
    for name, rung_params in params.ladder.rungs.items():
        if not isinstance(rung_params, ReaderRungParams):
            continue
        rung = ReaderRung(name, reader, rung_params.passages, params.ladder.cpu_usd_per_hour)
        said[name] = _answered(rung, encoder, asked, folds)
        results[name] = {
            "gold": gold,
            "retrieved": _quality_metrics(asked, said[name].answers, rng),
            **_price_metrics(said[name].answers, rng),
        }
    names = list(said)
    if len(names) > 1:
        climbed = _cascade(said[names[0]], said[names[-1]], folds)
        results["cascade"] = {
            "rungs": [names[0], names[-1]],
            "retrieved": _quality_metrics(asked, climbed, rng),
            **_price_metrics(climbed, rng),
        }
    scores = np.concatenate([rung.scores for rung in said.values()])
    found = scorer_metrics(scores, np.concatenate([rung.quality for rung in said.values()]))
    results["scorer"] = {"auc": found.get("scorer.auc"), "ece": found["scorer.ece"], "n": len(scores)}
    retrieved = [float(item.gold.passage_id in {hit.passage.passage_id for hit in item.hits}) for item in asked]
    results["retrieval"] = {"recall_at_k": metric(retrieved, rng)}
    return results


def _with_gold(
    params: Params, reader: OnnxReader, asked: Sequence[Asked], rng: np.random.Generator
) -> dict[str, Metric]:
    """What the reader makes of the gold passage alone; the same for each rung, since there is one passage to read."""
    rung = ReaderRung("gold", reader, 1, params.ladder.cpu_usd_per_hour)
    answers = [rung.answer(item.question, [Hit(item.gold, 1.0)]) for item in every(asked, len(asked), "gold passage")]
    return _quality_metrics(asked, answers, rng)


def _answered(rung: ReaderRung, encoder: OnnxEncoder, asked: Sequence[Asked], folds: NDArray[np.int64]) -> Answered:
    answers = [rung.answer(item.question, item.hits) for item in every(asked, len(asked), rung.name)]
    quality = np.array([item.quality(answer.text) for item, answer in zip(asked, answers, strict=True)])
    table = np.array(
        [features(item.question, item.hits, answer, encoder) for item, answer in zip(asked, answers, strict=True)]
    )
    spoke = np.array([bool(answer.text) for answer in answers])
    scores = np.zeros(len(asked))
    for fold in np.unique(folds):
        for kind in (True, False):  # as in the product: one head for answers, one for abstentions
            learn, guess = (folds != fold) & (spoke == kind), (folds == fold) & (spoke == kind)
            head = fit_head(table[learn], quality[learn], regularisation=1.0)
            scores[guess] = [head.predict(vector) for vector in table[guess]]
    return Answered(answers, quality, scores)


def _cascade(first: Answered, last: Answered, folds: NDArray[np.int64]) -> list[RungAnswer]:
    """The first rung's answer where its score reaches a threshold, else the last one's; both are paid then.

    The threshold of a fold is the one with the best mean quality on the others (the higher one on a tie).
    """
    chosen: list[RungAnswer] = [RungAnswer("", "")] * len(folds)
    for fold in np.unique(folds):
        others = folds != fold
        worth = [
            float(np.where(first.scores[others] >= t, first.quality[others], last.quality[others]).mean())
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
    rows = rng.integers(0, len(pairs), (SAMPLES, len(pairs)))
    drawn = [no_answer_f1(silent[draw].tolist(), none[draw].tolist()) for draw in rows]
    low, high = np.quantile(drawn, [0.025, 0.975])
    value = no_answer_f1(silent.tolist(), none.tolist())
    return {"value": round(value, 4), "low": round(float(low), 4), "high": round(float(high), 4), "n": len(pairs)}


def _price_metrics(answers: Sequence[RungAnswer], rng: np.random.Generator) -> Mapping[str, Any]:
    """Milliseconds of the rung (retrieval not counted) and dollars of its processor time."""
    times = [answer.latency_ms for answer in answers]
    costs = [1e6 * usd(answer.cost_nanousd) for answer in answers]  # per million, so that rounding keeps digits
    paid = {key: value if key == "n" or value is None else value / 1e6 for key, value in metric(costs, rng).items()}
    return {"ms_p50": percentile(times, 50), "ms_p95": percentile(times, 95), "cost_usd": paid}


def exported_starter(params: Params) -> Path:
    """The starter reader of the params as int8 ONNX, exported once and kept beside the services' state."""
    if params.train_reader.starter is None:
        raise InputError("params.yaml names no train_reader.starter: give a reader_folder to measure.")
    starter, base = resolve(params.train_reader.starter), resolve(params.train_reader.base)
    folder = repository_root() / ".palier" / "bench" / "readers" / sha256_file(starter / STARTER_FILE)[:12]
    if not (folder / CONFIG).is_file():
        tell("export the starter reader to int8")
        export_reader(starter_reader(base, starter, params.seed), base, folder, starter_config(starter))
    return folder
