"""What rounding to int8 costs: the same questions through the float models and through the served ones.

`palier bench rounding --data FILE… --out FILE.json`. Both come from one export: the graph that torch wrote in float,
and what the quantiser made of it; windows, search for spans and thresholds are the product's, so that rounding is the
only difference. `reader` is the starter of `params.yaml` with the gold passage of public questions (`--titles`, else
test articles): F1 and the rest of `bench.paired_readers`, each with the paired difference. `verifier` is the AUC of its
marks on what the int8 reader said or withheld ("F1 of at least one half"; where there is no answer, no claim is right),
both on the same claims. `speed` is what rounding is for: processor time over two passages of 175 tokens, beside torch
(`bench.reader_speed`); null without such passages. `sha256` says which models these were.

The price: the encoder is not here; what rounding does to it shows in `bench retrieval`, on rankings.
"""

import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import roc_auc_score

from bench.paired_readers import Exercise, answers_of, compared, quality_of_claim, read_gold
from bench.reader_speed import reader_speed
from bench.report import Report, TitlesAsked, as_metric, tell
from palier.adapters.catalogue import resolve, sha256_file
from palier.adapters.onnx_cross_encoder import OnnxCrossEncoder
from palier.adapters.onnx_reader import MODEL, OnnxReader
from palier.domain.answering import RungAnswer
from palier.domain.bootstrap import statistic_interval
from palier.domain.claims import claim_of
from palier.errors import InputError
from palier.params import Params, load_params
from palier.settings import repository_root

SAMPLES = 1000


def run(
    data: Sequence[Path],
    out: Path,
    *,
    max_questions: int | None = 200,
    asked_titles: TitlesAsked = "test",
    seed: int = 7,
) -> dict[str, Any]:
    """Measure, write ``out`` and return what it holds; ``max_questions`` of each language are asked.

    Raises InputError for files without a question on such an article, or params without a starter reader.
    """
    params = load_params(repository_root() / "params.yaml")
    rng = np.random.default_rng(seed)
    report = Report("rounding", {"max_questions": max_questions, "asked_titles": asked_titles, "seed": seed})
    exercises = read_gold(data, report, asked_titles, max_questions, rng)
    with tempfile.TemporaryDirectory() as folder:
        results = _measured(params, exercises, Path(folder), rng)
    return report.write(out, results)


def _measured(params: Params, exercises: Sequence[Exercise], folder: Path, rng: np.random.Generator) -> dict[str, Any]:
    tell("export the reader, float and int8")
    rounded, exact = _exported_reader(params, folder / "reader")
    said = {
        "float": answers_of(OnnxReader(exact), exercises, "float reader"),
        "int8": answers_of(OnnxReader(rounded), exercises, "int8 reader"),
    }
    results: dict[str, Any] = {"reader": compared(exercises, said, rng)}
    results["sha256"] = {"reader": _hashes(rounded, exact)}
    results["speed"] = reader_speed(params, rounded, exercises, rng)
    if params.train_reader.verifier is not None:
        tell("export the verifier, float and int8")
        folders = _exported_verifier(params, folder / "verifier")
        results["sha256"]["verifier"] = _hashes(*folders)
        results["verifier"] = _verifier_auc(exercises, said["int8"], *folders, rng)
    tell(f"{results}")
    return results


def _hashes(rounded: Path, exact: Path) -> dict[str, str]:
    return {"int8": sha256_file(rounded / MODEL), "float": sha256_file(exact / MODEL)}


def _exported_reader(params: Params, folder: Path) -> tuple[Path, Path]:
    """(int8 folder, float folder) of the starter reader."""
    from palier.adapters.reader_adapter import starter_reader
    from palier.adapters.reader_export import export_reader, starter_config

    section = params.train_reader
    if section.starter is None:
        raise InputError("params.yaml names no train_reader.starter: there is nothing to round.")
    base, starter = resolve(section.base), resolve(section.starter)
    export_reader(starter_reader(base, starter, params.seed), base, folder, starter_config(starter), float_too=True)
    return folder, _float_copy(folder)


def _exported_verifier(params: Params, folder: Path) -> tuple[Path, Path]:
    """(int8 folder, float folder) of the verifier."""
    from palier.adapters.torch_cross_encoder import export_cross_encoder, starter_cross_encoder

    base = resolve(params.train_reader.base)
    model = starter_cross_encoder(base, resolve(str(params.train_reader.verifier)))
    export_cross_encoder(model, base, folder, float_too=True)
    return folder, _float_copy(folder)


def _float_copy(folder: Path) -> Path:
    """A folder beside it that serves the float graph under the served model's name."""
    from palier.adapters.int8_export import FLOAT_MODEL, SERVED_MODEL

    copy = Path(shutil.copytree(folder, folder.with_name(f"{folder.name}-float")))
    (copy / FLOAT_MODEL).replace(copy / SERVED_MODEL)
    return copy


def _verifier_auc(
    exercises: Sequence[Exercise],
    answers: Sequence[RungAnswer],
    rounded: Path,
    exact: Path,
    rng: np.random.Generator,
) -> dict[str, Any] | None:
    """AUC of both verifiers' marks, and of the difference on the same resamples; None where all claims are right, or
    none is.
    """
    judged = [(item, answer, claim_of(answer, item.hits)) for item, answer in zip(exercises, answers, strict=True)]
    judged = [row for row in judged if row[2]]
    good = np.array([quality_of_claim(item, answer) >= 0.5 for item, answer, _ in judged])
    if good.all() or not good.any():
        return None
    marks = {
        name: np.array([judge.score(item.question.standalone, [text])[0] for item, _, text in judged])
        for name, judge in (("float", OnnxCrossEncoder(exact)), ("int8", OnnxCrossEncoder(rounded)))
    }

    def auc(name: str, drawn: NDArray[np.int64]) -> float:
        return float(roc_auc_score(good[drawn], marks[name][drawn])) if 0 < good[drawn].mean() < 1 else float("nan")

    n = len(judged)
    change = statistic_interval(n, lambda drawn: auc("int8", drawn) - auc("float", drawn), rng, SAMPLES)
    each = {name: statistic_interval(n, lambda drawn, name=name: auc(name, drawn), rng, SAMPLES) for name in marks}
    return {"auc": {name: as_metric(found) for name, found in (each | {"change": change}).items()}}
