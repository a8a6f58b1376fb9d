"""Stage `train-encoder`: the sentence encoder of the catalogue, tuned if asked, as an int8 ONNX folder.

With no epochs it is the catalogue's encoder as it comes. Tuning takes the golden questions of the `train` split and
their gold passages; validation questions say what it brought. The export is compared with the fp32 original on real
passages and refused when it strays. The price: a new encoder makes every embedding anew.
"""

import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from palier.adapters.catalogue import resolve
from palier.adapters.onnx_encoder import OnnxEncoder
from palier.adapters.torch_encoder import embed_fp32, export_int8, load_encoder, tune_encoder
from palier.adapters.workspace import Workspace, read_jsonl, write_json
from palier.domain.documents import Passage
from palier.domain.golden import GoldenQuestion
from palier.domain.ranking_metrics import reciprocal_rank
from palier.errors import IntegrityError
from palier.params import Params

MIN_COSINE = 0.97
"""Mean cosine of int8 to fp32 vectors below which the export is not the same encoder."""
_COMPARED_TEXTS = 200

Progress = Callable[[int, int, str], None]


@dataclass(frozen=True, slots=True)
class TrainedEncoder:
    """The exported folder and how it was measured (``int8_cosine_*``; ``dense_mrr_<lang>`` on validation)."""

    folder: Path
    n_pairs: int
    metrics: Mapping[str, float]


def run(params: Params, workspace: Path, progress: Progress = lambda *_: None) -> TrainedEncoder:
    """Write ``models/encoder``. Raises NotReadyError before `version-documents` has run."""
    place = Workspace(workspace)
    rows = read_jsonl(place.corpus / "passages.jsonl", "version-documents")
    passages = {row["passage_id"]: Passage(**row).content for row in rows}
    golden = _golden(place)
    model = load_encoder(resolve(params.train_encoder.base))
    pairs = _pairs(golden, passages)
    metrics: dict[str, float] = {}
    if params.train_encoder.epochs and pairs:
        metrics["train_loss"] = tune_encoder(
            model, pairs, epochs=params.train_encoder.epochs, seed=params.seed, progress=progress
        )
    progress(0, 1, "export the encoder to int8")
    partial = place.encoder.with_name(f".{place.encoder.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    export_int8(model, partial)
    encoder = OnnxEncoder(partial)
    metrics |= _closeness(encoder, lambda texts: embed_fp32(model, texts), list(passages.values()))
    metrics |= _dense_quality(encoder, golden, rows)
    write_json(partial / "metrics.json", metrics)
    shutil.rmtree(place.encoder, ignore_errors=True)
    partial.replace(place.encoder)
    return TrainedEncoder(place.encoder, len(pairs) if params.train_encoder.epochs else 0, metrics)


def _golden(place: Workspace) -> list[GoldenQuestion]:
    rows = read_jsonl(place.corpus / "golden.jsonl", "version-documents")
    return [GoldenQuestion.model_validate(_as_tuples(row)) for row in rows]


def _as_tuples(row: Mapping[str, Any]) -> dict[str, Any]:
    return {key: tuple(value) if isinstance(value, list) else value for key, value in row.items()}


def _pairs(golden: Sequence[GoldenQuestion], passages: Mapping[str, str]) -> list[tuple[str, str]]:
    """(question, passage) of the train split; a question over several passages gives a pair for each."""
    return [
        (row.asked().standalone, passages[key])
        for row in golden
        if row.split == "train"
        for key in row.passage_ids
        if key in passages
    ]


def _closeness(
    encoder: OnnxEncoder,
    original: Callable[[Sequence[str]], NDArray[np.float32]],
    texts: Sequence[str],
) -> dict[str, float]:
    step = max(1, len(texts) // _COMPARED_TEXTS)
    picked = list(texts)[::step][:_COMPARED_TEXTS]
    cosines = (encoder.embed(picked) * original(picked)).sum(axis=1)
    if cosines.mean() < MIN_COSINE:
        raise IntegrityError(
            f"The int8 encoder strays from the fp32 one: mean cosine {cosines.mean():.3f}, at least {MIN_COSINE} "
            "is asked. Choose another train_encoder.base."
        )
    return {"int8_cosine_mean": round(float(cosines.mean()), 4), "int8_cosine_min": round(float(cosines.min()), 4)}


def _dense_quality(
    encoder: OnnxEncoder, golden: Sequence[GoldenQuestion], rows: Sequence[Mapping[str, Any]]
) -> dict[str, float]:
    """MRR@10 of nearest passages alone on validation questions, by language."""
    metrics = {}
    for lang in sorted({row.lang for row in golden}):
        asked = [row for row in golden if row.lang == lang and row.split == "validation" and row.passage_ids]
        own = [Passage(**row) for row in rows if row["lang"] == lang]
        if not asked or not own:
            continue
        keys = [passage.passage_id for passage in own]
        near = (
            encoder.embed([row.asked().standalone for row in asked])
            @ encoder.embed([passage.content for passage in own]).T
        )
        ranks = [
            reciprocal_rank([keys[i] for i in np.argsort(-line, kind="stable")[:10]], row.passage_ids)
            for line, row in zip(near, asked, strict=True)
        ]
        metrics[f"dense_mrr_{lang}"] = round(float(np.mean(ranks)), 4)
    return metrics
