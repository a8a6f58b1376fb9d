"""What other weights would have given on the same questions: for choosing those of `params.yaml`, on validation titles.

Both searches are asked once per question and fused anew for each weight; the reranker reads the best once, and its
marks are blended anew. So are the margins of the reader (its best span against "no answer here"), which read the
question as well and could order passages before they are answered from. Never run on test titles: a weight chosen there
would have seen what it is measured on.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from bench.asked_rankings import DEPTH, Asked
from bench.report import every
from palier.adapters.onnx_reader import OnnxReader
from palier.adapters.search import HybridRetriever, Reranker
from palier.domain.answering import Hit
from palier.domain.ranking_metrics import ndcg
from palier.domain.reranking import rerank
from palier.params import RetrievalParams

DENSE_WEIGHTS = tuple(round(0.05 * step, 2) for step in range(21))
RERANK_WEIGHTS = tuple(round(0.1 * step, 1) for step in range(11))
RERANK_DEPTHS = (5, 10, 20, 30)
READER_DEPTHS = (3, 5)
WORDING_WEIGHTS = tuple(round(0.1 * step, 1) for step in range(11))
NO_SPAN = -100.0
"""The margin of a passage in which the reader finds nothing at all."""

_Key = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class SecondReaders:
    """What reads the best passages again, where there is one."""

    reranker: Reranker | None = None
    reader: OnnxReader | None = None


def scan_choices(
    retriever: HybridRetriever, second: SecondReaders, asked: Sequence[Asked], params: RetrievalParams
) -> dict[str, Any]:
    """Mean nDCG@10 by language: ``dense_weight`` and ``wording_weight`` {weight: value}, the other one as in
    ``params``; ``rerank`` and ``reader`` {depth: {weight: value}} over the weights of ``params``, where there is one.
    """
    gains: dict[str, dict[_Key, list[float]]] = {}
    for entry in every(asked, len(asked), "scan weights"):
        found = gains.setdefault(entry.question.lang, {})
        for key, hits in _rankings(retriever, second, entry, params):
            found.setdefault(key, []).append(ndcg([hit.passage.passage_id for hit in hits], entry.relevant, 10))
    return {
        lang: _table({key: float(np.mean(values)) for key, values in found.items()}) for lang, found in gains.items()
    }


def _rankings(
    retriever: HybridRetriever, second: SecondReaders, entry: Asked, params: RetrievalParams
) -> Iterator[tuple[_Key, Sequence[Hit]]]:
    lang, question = entry.question.lang, entry.question.standalone
    candidates = retriever.candidates(entry.question)
    constant, served = params.rrf_constant.get(lang, 60), params.dense_weight.get(lang, 0.5)
    for weight in DENSE_WEIGHTS:
        fused = candidates.fused(weight, 10, params.fusion, constant, params.wording_weight)
        yield ("dense_weight", f"{weight:.2f}"), fused
    for weight in WORDING_WEIGHTS:
        yield ("wording_weight", f"{weight:.1f}"), candidates.fused(served, 10, params.fusion, constant, weight)
    hits = retriever.fused(candidates, lang, DEPTH)
    texts = [hit.passage.content for hit in hits]
    if second.reranker is not None:
        logits = second.reranker.score(question, texts[: max(RERANK_DEPTHS)]).tolist()
        yield from _blends("rerank", hits, logits, RERANK_DEPTHS)
    if second.reader is not None:
        margins = [_margin(second.reader, question, text) for text in texts[: max(READER_DEPTHS)]]
        yield from _blends("reader", hits, margins, READER_DEPTHS)


def _blends(
    name: str, hits: Sequence[Hit], marks: Sequence[float], depths: Sequence[int]
) -> Iterator[tuple[_Key, Sequence[Hit]]]:
    """The hits in the order that each depth and weight of ``marks`` gives them."""
    for depth in depths:
        for weight in RERANK_WEIGHTS:
            yield (name, str(depth), f"{weight:.1f}"), rerank(hits, marks[:depth], weight)


def _margin(reader: OnnxReader, question: str, text: str) -> float:
    readings = reader.read(question, [text])
    return readings[0].margin if readings else NO_SPAN


def _table(means: Mapping[_Key, float]) -> dict[str, Any]:
    table: dict[str, Any] = {}
    for (*path, last), value in means.items():
        place = table
        for name in path:
            place = place.setdefault(name, {})
        place[last] = round(value, 4)
    return table
