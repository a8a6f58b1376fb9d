"""How well the scorer tells good answers from bad ones, on articles and in domains that it was not fitted on.

`palier bench scorer --data FILE… --out FILE.json`. The starter reader answers the questions of the files' test articles
(passages of the same articles are searched in memory, over two passages, each fourth question over ten as well).
Measured are the committed starter scorer as it is (`starter`: a fresh workspace), the same fitted on the other four
fifths of articles (`fitted`: a workspace that has golden questions), the one for answers from elsewhere (`outsider`),
and what a reader knows of itself: its margin, its spans' logit, its gap to the second reading, the F1 that it expects.
`verifier` is the verifier's mark alone, `auc_of_verifier` what it adds to the other numbers. AUC is against "quality of
at least one half", ECE over ten bins of equal count against quality (beside `ece_by_chance`, which a calibrated scorer
would show on as many rows), both over answers and abstentions together. `domains` leaves each file out of the fit and
measures on it: heads are drawn from what the starter's texts teach (`texts.json`), which are of none of these files.
`starter_by_domain` is what the starter shows on each. `broken_reader` is what scorers that were fitted on the sound
reader make of one that points where it sees least of an answer: a rollout sees the scores alone.

The price: one reader is all that speaks here; agreement between unlike rungs is not measured.
"""

import shutil
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import roc_auc_score

from bench.exported_models import exported_encoder, exported_reader, exported_verifier
from bench.report import Metric, QaRow, Report, TitlesAsked, is_asked, on_titles, percentile, read_qa, tell
from palier.adapters.catalogue import resolve, sha256_file
from palier.adapters.onnx_encoder import OnnxEncoder
from palier.adapters.onnx_reader import MODEL, OnnxReader
from palier.adapters.planted_fault import negate_span_head
from palier.adapters.recent_vectors import RecentVectors
from palier.adapters.scorer_rows import ScoredRow, answered_rows
from palier.adapters.scorer_training import fit_head, fold_of
from palier.domain.calibration import calibration_error, calibration_error_by_chance
from palier.domain.scoring import ALL_FEATURES, ANY_RUNG, LogisticHead, ScorerWeights, as_outsider
from palier.params import Params, load_params
from palier.settings import repository_root

N_FOLDS = 5
BROKEN_EVERY = 3  # of so many questions one is asked of the broken reader too
SAMPLES = 500
READER = "reader"
Floats = NDArray[np.float64]
Measure = Callable[[Floats, Floats], float]


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
    told = {
        "max_questions": max_questions,
        "asked_titles": asked_titles,
        "seed": seed,
        "reader_sha256": sha256_file(reader_folder / MODEL),
    }
    report = Report("scorer", told)
    questions = _read(data, max_questions, asked_titles, report, rng)
    recent = RecentVectors(encoder, size=100_000)
    verifier = exported_verifier(params)
    rows = answered_rows(questions, params, OnnxReader(reader_folder), recent, verifier, _tell_progress)
    with tempfile.TemporaryDirectory() as folder:
        broken = Path(shutil.copytree(reader_folder, Path(folder) / "reader"))
        negate_span_head(broken / MODEL)
        wrong = answered_rows(questions[::BROKEN_EVERY], params, OnnxReader(broken), recent, verifier, _tell_progress)
    return report.write(out, _results(rows, params, rng) | {"broken_reader": _broken(rows, wrong, params)})


def _tell_progress(done: int, total: int) -> None:
    if done % 100 == 0:
        tell(f"answers: {done} of about {total * 5 // 4}")


def _read(
    data: Sequence[Path], max_questions: int | None, asked_titles: TitlesAsked, report: Report, rng: np.random.Generator
) -> list[Mapping[str, Any]]:
    rows = {path: read_qa(path) for path in data}
    for path, read in rows.items():
        report.add_data(path, len(read))
    on_titles([row for read in rows.values() for row in read], asked_titles)  # one file may have none, not all of them
    found: list[Mapping[str, Any]] = []
    for path, read in rows.items():
        own = [row for row in read if is_asked(row, asked_titles)]
        drawn = rng.permutation(len(own))[:max_questions]
        found += [_as_mapping(own[i], path.name) for i in sorted(drawn.tolist())]
    return found


def _as_mapping(row: QaRow, domain: str) -> Mapping[str, Any]:
    return asdict(row) | {"domain": domain}


def _results(rows: Sequence[ScoredRow], params: Params, rng: np.random.Generator) -> dict[str, Any]:
    quality = np.array([row.quality for row in rows])
    starter = _starter(params, "scorer.json")
    titles = [row.title for row in rows]
    folds = fold_of(titles, min(N_FOLDS, max(2, len(set(titles)))), rng)
    held = params.train_scorer.regularisation
    scores: dict[str, Floats] = {
        "fitted": _out_of_fold(rows, folds, starter, held),
        "fitted_without_starter": _out_of_fold(rows, folds, None, held),
        "fitted_without_verifier": _out_of_fold([_unverified(row) for row in rows], folds, None, held),
        "reader_margin": np.array([row.signals.get("margin", -20.0) for row in rows]),
        "span_logit": np.array([row.signals.get("margin", -20.0) + row.signals.get("null", 0.0) for row in rows]),
        "verifier": np.array([row.vector[ALL_FEATURES.index("verified")] for row in rows]),
        "gap_to_second": np.array([row.signals.get("second", 0.0) for row in rows]),
        "expected_f1": np.array([row.signals.get("expected_f1", 0.0) for row in rows]),
    }
    if starter is not None:
        scores["starter"] = np.array([_head(starter, row, READER).predict(row.vector) for row in rows])
        seen = as_outsider(np.array([row.vector for row in rows]))
        pairs = zip(rows, seen, strict=True)
        scores["outsider"] = np.array([_head(starter, row, ANY_RUNG).predict(vector) for row, vector in pairs])
    results: dict[str, Any] = {name: _judged(values, quality, rng, name) for name, values in scores.items()}
    best = scores.get("starter", scores["fitted"])
    results["auc_over"] = {
        name: _difference(best, scores[name], quality, rng)
        for name in ("reader_margin", "span_logit", "gap_to_second", "expected_f1")
    }
    without = scores["fitted_without_verifier"]
    results["auc_of_verifier"] = _difference(scores["fitted_without_starter"], without, quality, rng)
    results["domains"] = _domains(rows, _starter(params, "texts.json"), held, rng)
    if starter is not None:
        results["starter_by_domain"] = _by_domain(rows, scores["starter"], rng)
    results["share_answered"] = round(float(np.mean([row.answered for row in rows])), 4)
    results["mean_quality"] = round(float(quality.mean()), 4)
    results |= _times(rows, starter)
    return results


def _starter(params: Params, file: str) -> ScorerWeights | None:
    if params.train_scorer.starter is None:
        return None
    path = resolve(params.train_scorer.starter) / file
    return ScorerWeights.model_validate_json(path.read_text(encoding="utf-8"))


def _unverified(row: ScoredRow) -> ScoredRow:
    """The same answer as a scorer without a verifier sees it."""
    vector = row.vector.copy()
    vector[ALL_FEATURES.index("verified")] = 0.0
    return replace(row, vector=vector)


def _broken(rows: Sequence[ScoredRow], wrong: Sequence[ScoredRow], params: Params) -> dict[str, Any]:
    """Mean quality and mean scores of a broken reader's answers beside those of the sound one, by folds of titles."""
    titles = sorted({row.title for row in rows})
    fold_of_title = {title: place % N_FOLDS for place, title in enumerate(titles)}
    asked = {(row.title, row.rung) for row in wrong}
    sound = [row for row in rows if (row.title, row.rung) in asked]
    found: dict[str, Any] = {"n": len(wrong), "n_sound": len(sound)}
    for name, given in (("sound", sound), ("broken", wrong)):
        found[f"quality_{name}"] = round(float(np.mean([row.quality for row in given])), 4)
    for scorer, change in (("with_verifier", lambda row: row), ("without_verifier", _unverified)):
        heads = [
            _fit(
                [change(row) for row in rows if fold_of_title[row.title] != fold],
                None,
                params.train_scorer.regularisation,
            )
            for fold in range(N_FOLDS)
        ]
        for name, given in (("sound", sound), ("broken", wrong)):
            scores = [heads[fold_of_title[row.title]][row.answered].predict(change(row).vector) for row in given]
            found[f"score_{name}_{scorer}"] = round(float(np.mean(scores)), 4)
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


def _out_of_fold(
    rows: Sequence[ScoredRow], folds: NDArray[np.int64], starter: ScorerWeights | None, held: float
) -> Floats:
    scores = np.zeros(len(rows))
    for fold in np.unique(folds):
        heads = _fit([row for row, other in zip(rows, folds, strict=True) if other != fold], starter, held)
        for place in np.flatnonzero(folds == fold).tolist():
            scores[place] = heads[rows[place].answered].predict(rows[place].vector)
    return scores


def _domains(
    rows: Sequence[ScoredRow], texts: ScorerWeights | None, held: float, rng: np.random.Generator
) -> dict[str, Any]:
    """Each file in turn as the domain that the fit has not seen; empty with one file."""
    results = {}
    names = sorted({row.domain for row in rows})
    for name in names if len(names) > 1 else []:
        heads = _fit([row for row in rows if row.domain != name], texts, held)
        own = [row for row in rows if row.domain == name]
        scores = np.array([heads[row.answered].predict(row.vector) for row in own])
        results[name] = _judged(scores, np.array([row.quality for row in own]), rng, "left out")
    return results


def _by_domain(rows: Sequence[ScoredRow], scores: Floats, rng: np.random.Generator) -> dict[str, Any]:
    """``scores`` of each file by itself; its test articles are all that the starter may not have seen of it."""
    quality, domain = np.array([row.quality for row in rows]), np.array([row.domain for row in rows])
    names = sorted(set(domain.tolist()))
    return {name: _judged(scores[domain == name], quality[domain == name], rng, f"starter, {name}") for name in names}


def _judged(scores: Floats, quality: Floats, rng: np.random.Generator, name: str) -> dict[str, Any]:
    """AUC with a bootstrap over answers, and ECE where the scores are probabilities; it is biased upward, and a
    bootstrap of it more so: beside it stands what a calibrated scorer would show.
    """
    found: dict[str, Any] = {"auc": _bootstrapped(_auc, scores, quality, rng)}
    if scores.min() >= 0.0 and scores.max() <= 1.0:
        found["ece"] = round(calibration_error(scores, quality), 4)
        found["ece_by_chance"] = round(calibration_error_by_chance(scores, quality), 4)
    tell(f"{name}: {found}")
    return found


def _auc(scores: Floats, quality: Floats) -> float:
    """NaN where all answers are good, or none is: nothing can be ranked then."""
    good = quality >= 0.5
    return float(roc_auc_score(good, scores)) if good.any() and not good.all() else float("nan")


def _bootstrapped(measure: Measure, scores: Floats, quality: Floats, rng: np.random.Generator) -> Metric:
    draws = rng.integers(0, len(scores), (SAMPLES, len(scores)))
    values = [measure(scores[draw], quality[draw]) for draw in draws]
    return _interval(measure(scores, quality), values, len(scores))


def _difference(one: Floats, other: Floats, quality: Floats, rng: np.random.Generator) -> Metric:
    """AUC of ``one`` less that of ``other``, on the same draws."""
    draws = rng.integers(0, len(one), (SAMPLES, len(one)))
    values = [_auc(one[draw], quality[draw]) - _auc(other[draw], quality[draw]) for draw in draws]
    return _interval(_auc(one, quality) - _auc(other, quality), values, len(one))


def _interval(value: float, values: Sequence[float], n: int) -> Metric:
    """Resamples where the value is not defined are left out; null where it is not defined at all."""
    if np.isnan(value) or np.isnan(values).all():
        return {"value": None, "low": None, "high": None, "n": n}
    low, high = np.nanquantile(values, [0.025, 0.975])
    return {"value": round(value, 4), "low": round(float(low), 4), "high": round(float(high), 4), "n": n}


def _times(rows: Sequence[ScoredRow], starter: ScorerWeights | None) -> dict[str, float | None]:
    """Milliseconds of the numbers (the question's embedding is remembered from retrieval), and of a head on them."""
    made = [row.features_ms for row in rows]
    times: dict[str, float | None] = {"features_ms_p50": percentile(made, 50), "features_ms_p95": percentile(made, 95)}
    if starter is None:
        return times
    spent = []
    for row in rows[:500]:
        started = time.perf_counter()
        _head(starter, row, READER).predict(row.vector)
        spent.append(1000 * (time.perf_counter() - started))
    return times | {"head_ms_p50": percentile(spent, 50), "head_ms_p95": percentile(spent, 95)}
