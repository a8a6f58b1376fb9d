"""Stage `train-encoder`: the models that find passages, as int8 ONNX folders: the encoder, and the reranker if asked.

The encoder starts from the committed starter (or as the catalogue has it). Tuning takes the golden questions of the
`train` split with their gold passages, and passages that say the same in the two languages of a document; what was
tuned is kept only where validation questions do not find less with it. The export is compared with the fp32
original on real passages and refused when it strays. The price: a new encoder makes every embedding anew.
"""

import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from palier.adapters.bulk_embedding import n_cores
from palier.adapters.catalogue import resolve
from palier.adapters.encoder_rows import encoder_rows
from palier.adapters.encoder_training import (
    EncoderPlan,
    TrainingPassage,
    bm25_similarity,
    neighbour_batches,
    train_steps,
)
from palier.adapters.onnx_encoder import OnnxEncoder
from palier.adapters.torch_cross_encoder import export_cross_encoder, starter_cross_encoder
from palier.adapters.torch_encoder import embed_fp32, export_int8, load_encoder
from palier.adapters.workspace import Workspace, read_jsonl, write_json
from palier.domain.documents import Passage
from palier.domain.golden import GoldenQuestion
from palier.domain.ranking_metrics import reciprocal_rank
from palier.errors import IntegrityError
from palier.params import Params, TrainEncoderParams

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

MIN_COSINE = 0.97
"""Mean cosine of int8 to fp32 vectors below which the export is not the same encoder."""
_COMPARED_TEXTS = 200
_QUESTIONS = 5
"""Of a passage in a step; sentences are cheap, and a passage may have many."""

Progress = Callable[[int, int, str], None]
Embed = Callable[[Sequence[str]], NDArray[np.float32]]


@dataclass(frozen=True, slots=True)
class TrainedEncoder:
    """The exported folder and how it was measured (``int8_cosine_*``; ``dense_mrr_<lang>`` on validation).

    After tuning ``dense_mrr_<lang>_before`` is the starter's, and ``is_tuned_kept`` says which one was exported.
    """

    folder: Path
    n_pairs: int
    metrics: Mapping[str, float]


def run(params: Params, workspace: Path, progress: Progress = lambda *_: None) -> TrainedEncoder:
    """Write ``models/encoder`` and, where `train_encoder.reranker` names one, ``models/reranker``.

    Raises NotReadyError before `version-documents` has run.
    """
    place, section = Workspace(workspace), params.train_encoder
    passages = [Passage(**row) for row in read_jsonl(place.corpus / "passages.jsonl", "version-documents")]
    golden = _golden(place)
    starter = resolve(section.starter) if section.starter else None
    model = load_encoder(resolve(section.base), starter)
    metrics: dict[str, float] = {}
    n_pairs = 0
    if section.epochs:
        model, n_pairs, metrics = _tuned(model, golden, passages, params, starter, progress)
    progress(0, 1, "export the encoder to int8")
    partial = _beside(place.encoder)
    export_int8(model, partial)
    encoder = OnnxEncoder(partial)
    metrics |= _closeness(encoder, lambda texts: embed_fp32(model, texts), [item.content for item in passages])
    vectors = encoder.embed([item.content for item in passages])
    metrics |= _dense_quality(encoder.embed, vectors, golden, passages)
    write_json(partial / "metrics.json", metrics)
    _switch(partial, place.encoder)
    _write_reranker(section, place, progress)
    return TrainedEncoder(place.encoder, n_pairs, metrics)


def _tuned(
    model: "SentenceTransformer",
    golden: Sequence[GoldenQuestion],
    passages: Sequence[Passage],
    params: Params,
    starter: Path | None,
    progress: Progress,
) -> tuple["SentenceTransformer", int, dict[str, float]]:
    """The tuned model, on how many pairs, and how it did; the one it started from where that finds more."""
    section = params.train_encoder
    vectors = embed_fp32(model, [item.content for item in passages])
    before = _dense_quality(lambda texts: embed_fp32(model, texts), vectors, golden, passages)
    rows = encoder_rows(golden, passages, vectors)
    n_pairs = sum(len(row.questions) for row in rows)
    if len(rows) < 2:
        return model, n_pairs, {"is_tuned_kept": 0.0}
    size = min(section.batch_passages, len(rows))
    per_epoch = -(-len(rows) // size)
    plan = EncoderPlan(
        section.epochs * per_epoch,
        section.learning_rate,
        batch_passages=size,
        questions_per_passage=_QUESTIONS,
        seed=params.seed,
        n_threads=min(2, n_cores()),
    )
    losses: list[float] = []

    def after_step(step: int, loss: float) -> None:
        losses.append(loss)
        progress(step, plan.n_steps, f"tune the encoder, loss {loss:.3f}")

    train_steps(model, _batches(rows, plan), plan, after_step)
    vectors = embed_fp32(model, [item.content for item in passages])
    after = _dense_quality(lambda texts: embed_fp32(model, texts), vectors, golden, passages)
    is_kept = sum(after.values()) >= sum(before.values())
    metrics = {f"{name}_before": value for name, value in before.items()}
    metrics |= {"is_tuned_kept": float(is_kept), "train_loss": round(float(np.mean(losses[-per_epoch:])), 4)}
    return (model if is_kept else load_encoder(resolve(section.base), starter)), n_pairs, metrics


def _batches(rows: Sequence[TrainingPassage], plan: EncoderPlan) -> Iterator[list[TrainingPassage]]:
    """Without end; each epoch puts neighbours together anew."""
    similar, rng = bm25_similarity(rows), np.random.default_rng((plan.seed, 2))
    while True:
        for batch in neighbour_batches(similar, plan.batch_passages, rng):
            yield [rows[i] for i in batch]


def _write_reranker(section: TrainEncoderParams, place: Workspace, progress: Progress) -> None:
    """``models/reranker`` from the catalogue; an empty folder where none is asked for, since DVC wants its outputs."""
    partial = _beside(place.reranker)
    partial.mkdir(parents=True)
    if section.reranker:
        progress(0, 1, "export the reranker to int8")
        base = resolve(section.base)
        export_cross_encoder(starter_cross_encoder(base, resolve(section.reranker)), base, partial)
    _switch(partial, place.reranker)


def _beside(folder: Path) -> Path:
    partial = folder.with_name(f".{folder.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    return partial


def _switch(partial: Path, folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    partial.replace(folder)


def _golden(place: Workspace) -> list[GoldenQuestion]:
    rows = read_jsonl(place.corpus / "golden.jsonl", "version-documents")
    return [GoldenQuestion.model_validate(_as_tuples(row)) for row in rows]


def _as_tuples(row: Mapping[str, Any]) -> dict[str, Any]:
    return {key: tuple(value) if isinstance(value, list) else value for key, value in row.items()}


def _closeness(
    encoder: OnnxEncoder,
    original: Embed,
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
    embed: Embed, vectors: NDArray[np.float32], golden: Sequence[GoldenQuestion], passages: Sequence[Passage]
) -> dict[str, float]:
    """MRR@10 of nearest passages alone on validation questions, by language; ``vectors`` are the passages'."""
    metrics = {}
    for lang in sorted({row.lang for row in golden}):
        asked = [row for row in golden if row.lang == lang and row.split == "validation" and row.passage_ids]
        own = [i for i, item in enumerate(passages) if item.lang == lang]
        if not asked or not own:
            continue
        keys = [passages[i].passage_id for i in own]
        near = embed([row.asked().standalone for row in asked]) @ vectors[own].T
        ranks = [
            reciprocal_rank([keys[i] for i in np.argsort(-line, kind="stable")[:10]], row.passage_ids)
            for line, row in zip(near, asked, strict=True)
        ]
        metrics[f"dense_mrr_{lang}"] = round(float(np.mean(ranks)), 4)
    return metrics
