"""What other weights would have given on the same questions: for choosing those of `params.yaml`, on validation titles.

Both searches are asked once per question and fused anew for each weight; the reranker reads the best once, and its
marks are blended anew. Never run on test titles: a weight chosen there would have seen what it is measured on.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from bench.asked_rankings import DEPTH, Asked
from bench.report import every
from palier.adapters.search import HybridRetriever, Reranker
from palier.domain.answering import Hit
from palier.domain.ranking_metrics import ndcg
from palier.domain.reranking import rerank
from palier.params import RetrievalParams

DENSE_WEIGHTS = tuple(round(0.05 * step, 2) for step in range(21))
RERANK_WEIGHTS = tuple(round(0.1 * step, 1) for step in range(11))
RERANK_DEPTHS = (5, 10, 20, 30)

Table = dict[str, float]


def scan_choices(
    retriever: HybridRetriever, reranker: Reranker | None, asked: Sequence[Asked], params: RetrievalParams
) -> dict[str, Any]:
    """Mean nDCG@10 by language: ``dense_weight`` {weight: value} and, with a reranker, ``rerank`` {depth: {weight:
    value}} over the weights of ``params``; the marks of all depths come from one reading of the deepest."""
    gains: dict[str, dict[tuple[str, ...], list[float]]] = {}
    for entry in every(asked, len(asked), "scan weights"):
        found = gains.setdefault(entry.question.lang, {})
        for key, hits in _rankings(retriever, reranker, entry, params).items():
            found.setdefault(key, []).append(ndcg([hit.passage.passage_id for hit in hits], entry.relevant, 10))
    return {
        lang: _table({key: float(np.mean(values)) for key, values in found.items()}) for lang, found in gains.items()
    }


def _rankings(
    retriever: HybridRetriever, reranker: Reranker | None, entry: Asked, params: RetrievalParams
) -> dict[tuple[str, ...], Sequence[Hit]]:
    question = entry.question
    candidates = retriever.candidates(question)
    constant = params.rrf_constant.get(question.lang, 60)
    rankings: dict[tuple[str, ...], Sequence[Hit]] = {
        ("dense_weight", f"{weight:.2f}"): candidates.fused(weight, 10, params.fusion, constant, params.wording_weight)
        for weight in DENSE_WEIGHTS
    }
    if reranker is not None:
        hits = retriever.fused(candidates, question.lang, DEPTH)
        logits = reranker.score(question.standalone, [hit.passage.content for hit in hits[: max(RERANK_DEPTHS)]])
        for depth in RERANK_DEPTHS:
            for weight in RERANK_WEIGHTS:
                key = ("rerank", str(depth), f"{weight:.1f}")
                rankings[key] = rerank(hits, logits[:depth].tolist(), weight)
    return rankings


def _table(means: Mapping[tuple[str, ...], float]) -> dict[str, Any]:
    table: dict[str, Any] = {}
    for (*path, last), value in means.items():
        place = table
        for name in path:
            place = place.setdefault(name, {})
        place[last] = round(value, 4)
    return table
