"""Tries retrieval settings on real indexes: one index per way of cutting, made when it is first asked for.

The stage decides what is tried; here it is indexed, asked and timed. Each question's candidates are fetched once per
set of searched fields, and every fusion of them is worked out from those. The indexes are this workspace's own, are
behind no alias, and are deleted at the end; what a killed sweep left is used again or deleted. The price: fewer
candidates are taken as the first ones of many, where the approximate search might have found others.
"""

import hashlib
import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Self

import numpy as np
from elasticsearch import Elasticsearch

from palier.adapters.embedding_cache import embed_remembered
from palier.adapters.onnx_encoder import OnnxEncoder
from palier.adapters.search import HybridRetriever, Reranker
from palier.adapters.search_index import (
    asking,
    create_index,
    delete_indexes,
    fill_index,
    finish_index,
    index_mapping,
    index_meta,
)
from palier.domain.answering import Question
from palier.domain.documents import Passage, sha256_text
from palier.domain.retrieval_sweep import Chunking, Found
from palier.errors import SearchError
from palier.params import BuildIndexParams, RetrievalParams

Progress = Callable[[int, int, str], None]
TIMED_QUESTIONS = 40
_WARM_UP = 5


@dataclass(frozen=True)
class Cut:
    """All documents cut in one way: the passages, and the ids of the right ones for each golden row."""

    chunking: Chunking
    passages: Sequence[Passage]
    gold: Mapping[str, frozenset[str]]

    @cached_property
    def sha256(self) -> str:
        """Of all that is searched."""
        digest = hashlib.sha256()
        for passage in self.passages:
            digest.update(f"{passage.passage_id}\0{passage.lang}\0{passage.content}\0".encode())
        return digest.hexdigest()


class TrialIndexes:
    """Temporary indexes of one workspace, as a context: on leaving, all of them are deleted."""

    def __init__(
        self,
        client: Elasticsearch,
        root: Path,
        encoder: OnnxEncoder,
        built: BuildIndexParams,
        cache: Path,
        max_candidates: int,
        progress: Progress,
    ) -> None:
        self.max_candidates = max_candidates
        self._client = client
        self._prefix = f"sweep-{sha256_text(str(root.resolve()))[:8]}-"
        self._encoder = encoder
        self._mapping = index_mapping(built.dense_options, encoder.dimensions)
        self._cache = cache
        self._progress = progress

    def __enter__(self) -> Self:
        return self

    def __exit__(self, error: type[BaseException] | None, *_: object) -> None:
        try:
            with asking(self._client, "list the sweep's indexes"):
                ours = list(self._client.indices.get(index=f"{self._prefix}*", features=["aliases"]))
            delete_indexes(self._client, ours)
        except SearchError:
            if error is None:  # what went wrong first is what people must read
                raise

    @cached_property
    def fingerprint(self) -> str:
        """What a result depends on beside the cut: the encoder, the mapping, how many candidates are fetched."""
        mapping = json.dumps(self._mapping, sort_keys=True)
        return sha256_text(f"{self._encoder.sha256}{mapping}{self.max_candidates}")

    def index_of(self, cut: Cut) -> str:
        """The complete index of ``cut``: the one that is there, or a new one. Raises SearchError."""
        name = f"{self._prefix}{sha256_text(cut.sha256 + self.fingerprint)[:16]}"
        meta = index_meta(self._client, name)
        if meta is not None and meta.get("complete"):
            return name
        delete_indexes(self._client, [name])
        texts = [passage.content for passage in cut.passages]
        kept = self._cache / f"{cut.chunking.passage_words}-{cut.chunking.overlap_words}"
        embedded = embed_remembered(self._encoder, texts, kept, self._progress)
        create_index(self._client, name, self._mapping, {"purpose": "sweep"})
        fill_index(self._client, name, cut.passages, embedded.vectors, self._progress)
        finish_index(self._client, name, len(cut.passages))
        return name

    def retriever(self, cut: Cut, params: RetrievalParams, reranker: Reranker | None = None) -> HybridRetriever:
        """What would answer with ``params`` over the index of ``cut``; without a ``reranker``, nothing is reranked."""
        params = params if reranker else params.model_copy(update={"rerank": {}})
        return HybridRetriever(self._client, self.index_of(cut), self._encoder, params, reranker)


def fetch(
    retriever: HybridRetriever, questions: Mapping[str, Question], gold: Mapping[str, frozenset[str]]
) -> dict[str, Found]:
    """Both searches' candidates of each question, best first, by row id."""
    found = {}
    for row_id, question in questions.items():
        candidates = retriever.candidates(question)
        found[row_id] = Found(dict(candidates.bm25), dict(candidates.cosine), gold[row_id], dict(candidates.wording))
    return found


def query_times_ms(retriever: HybridRetriever, questions: Sequence[Question], k: int) -> tuple[float, float]:
    """p50 and p95 of whole queries (embed, search, fuse), one after the other, over some of ``questions``.

    The questions are spread evenly over the list; the first few are asked twice, to warm up.
    """
    step = max(1, len(questions) // TIMED_QUESTIONS)
    chosen = list(questions[::step])[:TIMED_QUESTIONS]
    for question in chosen[:_WARM_UP]:
        retriever.search(question, k)
    times = []
    for question in chosen:
        started = time.perf_counter()
        retriever.search(question, k)
        times.append(1000 * (time.perf_counter() - started))
    return float(np.percentile(times, 50)), float(np.percentile(times, 95))
