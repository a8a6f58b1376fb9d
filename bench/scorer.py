"""How well the scorer tells good answers from bad ones, on articles and in domains that it was not fitted on.

`palier bench scorer --data FILE… --out FILE.json`. The starter reader answers the questions of the files' test articles
(passages of the same articles are searched in memory, over two passages, each fourth question over ten as well).
Measured are the committed starter scorer as it is (`starter`: a fresh workspace), the same fitted on the other four
fifths of articles (`fitted`: a workspace that has golden questions), the one for answers from elsewhere (`outsider`),
and what a reader knows of itself: its margin, how far that lies from its threshold (the margin alone speaks against
every abstention, right ones too), its spans' logit, its gap to the second reading, the F1 that it expects.
`verifier` is the verifier's mark alone, `auc_of_verifier` what it adds to the other numbers. AUC is against "quality of
at least one half", ECE over ten bins of equal count against quality (beside `ece_by_chance`, which a calibrated scorer
would show on as many rows), both over answers and abstentions together. Answers to one question are resampled together:
`n` of an interval counts questions. `domains` leaves each file out of the fit and measures on it: heads are drawn from
what the starter's texts teach (`texts.json`), which are of none of these files. `starter_by_domain` is what the starter
shows on each. `broken_reader` is what scorers that were fitted on the sound reader, on other articles, make of one that
points where it sees least of an answer, and of the sound one, asked the same over the same passages: a rollout sees the
scores alone.

The price: one reader is all that speaks here; agreement between unlike rungs is not measured. Questions about one
article count as independent, which makes intervals too narrow.
"""

import shutil
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.metrics import roc_auc_score

from bench.exported_models import exported_encoder, exported_reader, exported_verifier
from bench.report import Metric, Report, TitlesAsked, as_metric, grouped_metric, on_titles, percentile, read_qa, tell
from palier.adapters.catalogue import resolve, sha256_file
from palier.adapters.evaluation.answer_measures import Sampling
from palier.adapters.evaluation.scorer_measures import scorer_measures
from palier.adapters.onnx_encoder import OnnxEncoder
from palier.adapters.onnx_reader import MODEL, OnnxReader
from palier.adapters.planted_fault import negate_span_head
from palier.adapters.recent_vectors import RecentVectors
from palier.adapters.scorer_rows import ScoredRow, answered_rows
from palier.adapters.scorer_training import fit_head, fold_of
from palier.domain.bootstrap import grouped_interval
from palier.domain.scoring import ALL_FEATURES, ANY_RUNG, LogisticHead, ScorerWeights, as_outsider
from palier.params import Params, load_params
from palier.settings import repository_root

N_FOLDS = 5
BROKEN_EVERY = 3  # of so many questions one is asked of the broken reader too
SAMPLES = 500
READER = "reader"
RIVALS = ("reader_margin", "margin_from_threshold", "span_logit", "gap_to_second", "expected_f1")
LOGITS = ("reader_margin", "margin_from_threshold", "span_logit", "gap_to_second", "verifier")
"""What is no probability, and has no ECE."""
Floats = NDArray[np.float64]
Integers = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Said:
    """Answers, with the number of the question that each answers, and its fold: all of one article have one, (n,)."""

    rows: Sequence[ScoredRow]
    questions: Integers
    folds: Integers

    @property
    def quality(self) -> Floats:
        return np.array([row.quality for row in self.rows])

    def of(self, domain: str) -> "Said":
        """The answers to one file's questions."""
        places = np.array([place for place, row in enumerate(self.rows) if row.domain == domain])
        return Said([self.rows[place] for place in places], self.questions[places], self.folds[places])


def run(
    data: Sequence[Path],
    out: Path,
    *,
    max_questions: int | None = 250,
    reader_folder: Path | None = None,
    encoder_folder: Path | None = None,
    asked_titles: TitlesAsked = "test",
    seed: int = 7,
) -> dict[str, Any]:
    """Measure, write ``out`` and return what it holds; ``max_questions`` of each file are asked.

    Raises InputError for files without a question about an article of ``asked_titles``.
    """
    params = load_params(repository_root() / "params.yaml")
    reader_folder = reader_folder or exported_reader(params)
    section = params.train_encoder
    encoder = OnnxEncoder(encoder_folder or exported_encoder(section.base, section.starter))
    rng = np.random.default_rng(seed)
    starters = {file: _starter_path(params, file) for file in ("scorer.json", "texts.json")}
    told = {
        "max_questions": max_questions,
        "asked_titles": asked_titles,
        "seed": seed,
        "reader_sha256": sha256_file(reader_folder / MODEL),
        "encoder_sha256": encoder.sha256,
        "starter_sha256": {file: sha256_file(path) for file, path in starters.items() if path},
        "verifier": params.train_reader.verifier,
    }
    report = Report("scorer", told)
    questions = _read(data, max_questions, asked_titles, report, rng)
    recent, verifier = RecentVectors(encoder, size=100_000), exported_verifier(params)
    reader = OnnxReader(reader_folder)
    rows = answered_rows(questions, params, reader, recent, verifier, _tell_progress)
    titles = [row.title for row in rows]
    folds = fold_of(titles, min(N_FOLDS, max(2, len(set(titles)))), rng)
    said = Said(rows, _numbers(rows, questions), folds)
    results = _results(said, params, reader.config.null_threshold, rng)
    some = _thinned(questions, BROKEN_EVERY)
    with tempfile.TemporaryDirectory() as folder:
        broken = Path(shutil.copytree(reader_folder, Path(folder) / "reader"))
        negate_span_head(broken / MODEL)
        wrong = answered_rows(some, params, OnnxReader(broken), recent, verifier, _tell_progress)
    results["broken_reader"] = _broken(said, wrong, _numbers(wrong, some), params.train_scorer.regularisation, rng)
    return report.write(out, results)


def _tell_progress(done: int, total: int) -> None:
    if done % 100 == 0:
        tell(f"answers: {done} of about {total * 5 // 4}")


def _read(
    data: Sequence[Path], max_questions: int | None, asked_titles: TitlesAsked, report: Report, rng: np.random.Generator
) -> list[Mapping[str, Any]]:
    """The questions that are asked, by language; `domain` names the file of each."""
    rows = {path: read_qa(path) for path in data}
    for path, read in rows.items():
        report.add_data(path, len(read))
    every = [row for read in rows.values() for row in read]
    asked = set(on_titles(every, asked_titles))  # one file may have none, not all of them
    found: list[Mapping[str, Any]] = []
    for path, read in rows.items():
        own = [row for row in read if row in asked]
        drawn = rng.permutation(len(own))[:max_questions]
        found += [asdict(own[i]) | {"domain": path.name} for i in sorted(drawn.tolist())]
    return sorted(found, key=lambda row: str(row["lang"]))


def _thinned(questions: Sequence[Mapping[str, Any]], step: int) -> list[Mapping[str, Any]]:
    """The same rows, so that the same passages are searched; of each language only every ``step``-th one asks."""
    n_seen: Counter[str] = Counter()
    thinned = []
    for row in questions:
        thinned.append(row if n_seen[row["lang"]] % step == 0 else {**row, "question": ""})
        n_seen[row["lang"]] += 1
    return thinned


def _numbers(rows: Sequence[ScoredRow], questions: Sequence[Mapping[str, Any]]) -> Integers:
    """Which of ``questions`` each row answers: the ladder's first rung is asked all in turn, others after it."""
    asked: Integers = np.flatnonzero([bool(row["question"]) for row in questions])
    turn = np.cumsum([row.rung == rows[0].rung for row in rows]) - 1
    return np.asarray(asked[turn])


def _results(said: Said, params: Params, threshold: float, rng: np.random.Generator) -> dict[str, Any]:
    rows, starter, held = said.rows, _starter(params, "scorer.json"), params.train_scorer.regularisation
    margins = np.array([row.signals.get("margin", -20.0) for row in rows])
    scores: dict[str, Floats] = {
        "fitted": _out_of_fold(said, starter, held),
        "fitted_without_starter": _out_of_fold(said, None, held),
        "fitted_without_verifier": _out_of_fold(replace(said, rows=[_unverified(row) for row in rows]), None, held),
        "reader_margin": margins,
        "margin_from_threshold": np.abs(margins - threshold),
        "span_logit": margins + np.array([row.signals.get("null", 0.0) for row in rows]),
        "verifier": np.array([row.vector[ALL_FEATURES.index("verified")] for row in rows]),
        "gap_to_second": np.array([row.signals.get("second", 0.0) for row in rows]),
        "expected_f1": np.array([row.signals.get("expected_f1", 0.0) for row in rows]),
    }
    if starter is not None:
        scores["starter"] = np.array([_head(starter, row, READER).predict(row.vector) for row in rows])
        seen = as_outsider(np.array([row.vector for row in rows]))
        pairs = zip(rows, seen, strict=True)
        scores["outsider"] = np.array([_head(starter, row, ANY_RUNG).predict(vector) for row, vector in pairs])
    results: dict[str, Any] = {name: _judged(values, said, rng, name) for name, values in scores.items()}
    best = scores.get("starter", scores["fitted"])
    results["auc_over"] = {name: _difference(best, scores[name], said, rng) for name in RIVALS}
    without = scores["fitted_without_verifier"]
    results["auc_of_verifier"] = _difference(scores["fitted_without_starter"], without, said, rng)
    results["domains"] = _domains(said, _starter(params, "texts.json"), held, rng)
    if starter is not None:
        results["starter_by_domain"] = _by_domain(said, scores["starter"], rng)
    results["share_answered"] = grouped_metric([row.answered for row in rows], said.questions, rng, SAMPLES)
    results["mean_quality"] = grouped_metric(said.quality, said.questions, rng, SAMPLES)
    results |= _times(rows, starter)
    return results


def _starter_path(params: Params, file: str) -> Path | None:
    return resolve(params.train_scorer.starter) / file if params.train_scorer.starter else None


def _starter(params: Params, file: str) -> ScorerWeights | None:
    path = _starter_path(params, file)
    return ScorerWeights.model_validate_json(path.read_text(encoding="utf-8")) if path else None


def _unverified(row: ScoredRow) -> ScoredRow:
    """The same answer as a scorer without a verifier sees it."""
    vector = row.vector.copy()
    vector[ALL_FEATURES.index("verified")] = 0.0
    return replace(row, vector=vector)


def _broken(
    said: Said, wrong: Sequence[ScoredRow], numbers: Integers, held: float, rng: np.random.Generator
) -> dict[str, Any]:
    """Mean quality and mean scores of a broken reader's answers, of the sound one's to the same questions, and how much
    they fall; scores are those of heads that were fitted on the other folds' articles.
    """
    place_of = {(number, row.rung): i for i, (number, row) in enumerate(zip(said.questions, said.rows, strict=True))}
    places = [place_of[number, row.rung] for number, row in zip(numbers, wrong, strict=True)]
    answers = {"sound": [said.rows[place] for place in places], "broken": wrong}
    found: dict[str, Any] = {"n": len(wrong)}

    def compare(what: str, suffix: str, values: Mapping[str, Sequence[float]]) -> None:
        falls = np.subtract(values["sound"], values["broken"])
        for name, own in {**values, "falls": falls}.items():
            found[f"{what}_{name}{suffix}"] = grouped_metric(own, numbers, rng, SAMPLES)

    compare("quality", "", {name: [row.quality for row in rows] for name, rows in answers.items()})
    for scorer, change in (("with_verifier", lambda row: row), ("without_verifier", _unverified)):
        heads = _fold_heads(replace(said, rows=[change(row) for row in said.rows]), None, held)
        scores = {
            name: [
                heads[int(said.folds[place])][row.answered].predict(change(row).vector)
                for place, row in zip(places, rows, strict=True)
            ]
            for name, rows in answers.items()
        }
        compare("score", f"_{scorer}", scores)
    return found


def _head(weights: ScorerWeights, row: ScoredRow, name: str) -> LogisticHead:
    return (weights.answered if row.answered else weights.abstained)[name]


def _fit(rows: Sequence[ScoredRow], starter: ScorerWeights | None, held: float) -> dict[bool, LogisticHead]:
    heads = {}
    for answered in (True, False):
        own = [row for row in rows if row.answered == answered]
        prior = None if starter is None else (starter.answered if answered else starter.abstained).get(READER)
        vectors = np.array([row.vector for row in own])
        heads[answered] = fit_head(vectors, np.array([row.quality for row in own]), held, prior)
    return heads


def _fold_heads(said: Said, starter: ScorerWeights | None, held: float) -> dict[int, dict[bool, LogisticHead]]:
    """For each fold, what the others teach."""
    return {
        fold: _fit([row for row, other in zip(said.rows, said.folds, strict=True) if other != fold], starter, held)
        for fold in np.unique(said.folds).tolist()
    }


def _out_of_fold(said: Said, starter: ScorerWeights | None, held: float) -> Floats:
    heads = _fold_heads(said, starter, held)
    pairs = zip(said.rows, said.folds.tolist(), strict=True)
    return np.array([heads[fold][row.answered].predict(row.vector) for row, fold in pairs])


def _domains(said: Said, texts: ScorerWeights | None, held: float, rng: np.random.Generator) -> dict[str, Any]:
    """Each file in turn as the domain that the fit has not seen; empty with one file."""
    results = {}
    names = sorted({row.domain for row in said.rows})
    for name in names if len(names) > 1 else []:
        heads = _fit([row for row in said.rows if row.domain != name], texts, held)
        own = said.of(name)
        scores = np.array([heads[row.answered].predict(row.vector) for row in own.rows])
        results[name] = _judged(scores, own, rng, f"left out, {name}")
    return results


def _by_domain(said: Said, scores: Floats, rng: np.random.Generator) -> dict[str, Any]:
    """``scores`` of each file by itself; its test articles are all that the starter may not have seen of it."""
    domain = np.array([row.domain for row in said.rows])
    names = sorted(set(domain.tolist()))
    return {name: _judged(scores[domain == name], said.of(name), rng, f"starter, {name}") for name in names}


def _judged(scores: Floats, said: Said, rng: np.random.Generator, name: str) -> dict[str, Any]:
    """AUC with a bootstrap over questions, and ECE where the scores are probabilities; it is biased upward, and a
    bootstrap of it more so: beside it stands what a calibrated scorer would show.
    """
    quality = said.quality
    found: dict[str, Any] = {"auc": _interval(lambda rows: _auc(scores[rows], quality[rows]), said, rng)}
    if name not in LOGITS:
        table = pd.DataFrame({"query_id": said.questions, "score": scores, "correct": quality})
        measured = scorer_measures(table, (), Sampling(0, 1))  # no interval of these is told
        found |= {"ece": round(measured.ece, 4), "ece_by_chance": round(measured.ece_by_chance, 4)}
    tell(f"{name}: {found}")
    return found


def _auc(scores: Floats, quality: Floats) -> float:
    """NaN where all answers are good, or none is: nothing can be ranked then."""
    good = quality >= 0.5
    return float(roc_auc_score(good, scores)) if good.any() and not good.all() else float("nan")


def _difference(one: Floats, other: Floats, said: Said, rng: np.random.Generator) -> Metric:
    """AUC of ``one`` less that of ``other``, on the same resamples."""
    quality = said.quality
    return _interval(lambda rows: _auc(one[rows], quality[rows]) - _auc(other[rows], quality[rows]), said, rng)


def _interval(statistic: Callable[[Integers], float], said: Said, rng: np.random.Generator) -> Metric:
    return as_metric(grouped_interval(said.questions, statistic, rng, SAMPLES))


def _times(rows: Sequence[ScoredRow], starter: ScorerWeights | None) -> dict[str, float | None]:
    """Processor milliseconds of the numbers (the question's embedding is remembered from retrieval), and of a head on
    them.
    """
    made = [row.features_ms for row in rows]
    times: dict[str, float | None] = {"features_ms_p50": percentile(made, 50), "features_ms_p95": percentile(made, 95)}
    if starter is None:
        return times
    spent = []
    for row in rows[:500]:
        started = time.process_time()
        _head(starter, row, READER).predict(row.vector)
        spent.append(1000 * (time.process_time() - started))
    return times | {"head_ms_p50": percentile(spent, 50), "head_ms_p95": percentile(spent, 95)}
