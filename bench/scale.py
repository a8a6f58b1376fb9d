"""How speed, size and answering time grow with the number of passages, towards a million of real, distinct text.

`palier bench scale --data FILE-OR-FOLDER… --out F.json [--max-passages N] [--minutes M] [--latency] [--merge]`. What
may be given as data, `bench.scale_texts` tells. One index of its own grows in steps (1,000, 3,000, 10,000, …) until the
passages or the minutes end (or Ctrl-C), is measured at each step, and is deleted. The file says how many passages were
reached and what stopped it. Embedding runs as in `build-index`, with `build_index.engine` and `workers` of the
repository's `params.yaml`; its vectors are kept, so that a run can be gone on with: what was remembered counts in no
rate. Index sizes are those after a flush, before any merge that Elasticsearch did not do by itself; `--merge` adds one
of one segment at the end.

`bulk_embedding` compares embedding with torch in fp32 (`bench.scale_speed`). `--latency` measures questions while
benchmark and node share one core, at 10,000 passages or at the end, and with them the reranker of `params.yaml` (or
`reranker-starter`, or `--reranker FOLDER`) over the best twenty. Questions are those of the data, or the first words of
passages. The price: one run, one machine, no interval on rates.
"""

import secrets
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import chain, islice
from pathlib import Path
from typing import Any

import numpy as np
import psutil
from elasticsearch import Elasticsearch

from bench.exported_models import exported_encoder, exported_reranker
from bench.report import Report, tell
from bench.scale_speed import (
    BATCH,
    compare_with_torch,
    node_process,
    on_one_core,
    resident_mb,
    texts_of_size,
    times_ms,
    token_counter,
)
from bench.scale_texts import TextStream
from palier.adapters.bulk_embedding import EmbedBlocks, Workforce, bulk_embedder, n_cores
from palier.adapters.embedding_cache import EmbeddingCache
from palier.adapters.onnx_cross_encoder import OnnxCrossEncoder
from palier.adapters.onnx_encoder import OnnxEncoder
from palier.adapters.search import HybridRetriever, connect, search_many, wait_ready
from palier.adapters.search_bodies import dense_body, lexical_body
from palier.adapters.search_index import create_index, delete_indexes, fill_index, index_mapping
from palier.domain.answering import Question
from palier.domain.documents import Passage
from palier.errors import InputError
from palier.params import Params, load_params
from palier.settings import repository_root

PASSAGE_WORDS = 80
N_QUESTIONS = 200
LATENCY_AT = 10_000
RERANKED = 20
_FIRST = 3_000
_PER_ROUND = 2_000
_WORDS_OF_QUESTION = 10
_TIMEOUT_S = 120.0
_MERGE_TIMEOUT_S = 7_200.0


@dataclass(slots=True)
class Growth:
    """An index that grows, and what it took since the last step."""

    client: Elasticsearch
    index: str
    cache: EmbeddingCache
    embed: EmbedBlocks
    passages: Iterator[Passage]
    deadline: float
    n_passages: int = 0
    n_embedded: int = 0
    embed_s: float = 0.0
    index_s: float = 0.0
    n_indexed: int = 0
    stopped_by: str | None = None
    sample: list[Passage] = field(default_factory=list)
    """One passage of each round of 2,000 and more, for questions where the data holds none."""

    def grow_to(self, target: int) -> None:
        """Embed and index until there are ``target``, or the passages or the time end."""
        self.n_embedded = self.n_indexed = 0
        self.embed_s = self.index_s = 0.0
        while self.n_passages < target and not self.stopped_by:
            block = list(islice(self.passages, min(_PER_ROUND, target - self.n_passages)))
            if block:
                self._add(block)
            if not block:
                self.stopped_by = "end of the data"
            elif time.monotonic() > self.deadline:
                self.stopped_by = "minutes"

    def _add(self, block: Sequence[Passage]) -> None:
        started = time.perf_counter()
        embedded = self.cache.embed([passage.content for passage in block], self.embed)
        if embedded.n_embedded > len(block) / 2:  # a round that was mostly remembered says nothing of the speed
            self.n_embedded += embedded.n_embedded
            self.embed_s += time.perf_counter() - started
        started = time.perf_counter()
        fill_index(self.client, self.index, block, embedded.vectors)
        self.index_s += time.perf_counter() - started
        self.n_indexed += len(block)
        self.n_passages += len(block)
        self.sample += block[:: max(1, len(block) // 20)]
        left = max(0.0, self.deadline - time.monotonic())
        tell(f"{self.n_passages} passages" + (f", at most {left / 60:.0f} min left" if left < float("inf") else ""))


def run(
    data: Sequence[Path],
    out: Path,
    *,
    search_url: str,
    max_passages: int | None = None,
    minutes: float | None = None,
    latency: bool = False,
    merge: bool = False,
    encoder_folder: Path | None = None,
    reranker_folder: Path | None = None,
    seed: int = 7,
) -> dict[str, Any]:
    """Measure, write ``out`` and return what it holds. Raises InputError where there is nothing to read."""
    if not data:
        raise InputError("Give --data: question or outcome files, archives, or folders of text.")
    params = load_params(repository_root() / "params.yaml")
    encoder_folder = encoder_folder or exported_encoder(params.train_encoder.base, params.train_encoder.starter)
    encoder = OnnxEncoder(encoder_folder)
    if latency and not reranker_folder:
        reranker_folder = exported_reranker(params.train_encoder)
    reranker = OnnxCrossEncoder(reranker_folder) if latency and reranker_folder else None
    report = Report("scale", _told(params, encoder, max_passages, minutes, seed))
    rng = np.random.default_rng(seed)
    stream = TextStream(data, PASSAGE_WORDS)
    passages = stream.passages()
    first = list(islice(passages, _FIRST))
    if not first:
        raise InputError(f"No passage of enough words in {', '.join(path.name for path in data)}.")
    results = _measured_texts(encoder, params, first, rng)
    client = connect(search_url, timeout_s=_TIMEOUT_S)
    wait_ready(client)
    workforce = Workforce(params.build_index.engine, params.build_index.workers)
    deadline = time.monotonic() + 60 * minutes if minutes else float("inf")
    with _growing_index(client, encoder, params, workforce) as (index, cache, embed):
        growth = Growth(client, index, cache, embed, chain(first, passages), deadline)
        asker = _Asker(client, index, encoder, reranker, params, search_url)
        results |= _grow(growth, asker, stream, max_passages or 10**9, latency=latency, rng=rng)
        if merge:
            results["merged"] = _merged(growth, asker, _questions(stream, growth, rng))
    for path, count in zip(data, stream.counts, strict=False):
        if path.is_file():
            report.add_data(path, count.texts)
    return report.write(out, results | {"sources": stream.told()})


def _measured_texts(
    encoder: OnnxEncoder, params: Params, first: Sequence[Passage], rng: np.random.Generator
) -> dict[str, Any]:
    """What the passages are like, and the comparison with torch."""
    count = token_counter(encoder)
    tokens = [count(passage.content) for passage in first]
    texts = texts_of_size(count, first, rng)
    found: dict[str, Any] = {
        "passage_tokens": {"mean": round(float(np.mean(tokens)), 1), "p95": float(np.percentile(tokens, 95))},
        "passage_words_mean": round(float(np.mean([len(passage.text.split()) for passage in first])), 1),
    }
    if len(texts) < BATCH:
        return found | {"bulk_embedding": None, "not_measured": {"bulk_embedding": f"{len(texts)} texts of that size"}}
    return found | {"bulk_embedding": compare_with_torch(encoder, params.train_encoder.base, texts, rng)}


@contextmanager
def _growing_index(
    client: Elasticsearch, encoder: OnnxEncoder, params: Params, workforce: Workforce
) -> Iterator[tuple[str, EmbeddingCache, EmbedBlocks]]:
    """An empty index for as long as the block runs, the vectors of earlier runs, and workers that embed."""
    index = f"bench-scale-{secrets.token_hex(6)}"
    cache = EmbeddingCache(repository_root() / ".palier" / "bench" / "embeddings-scale", encoder)
    try:
        mapping = index_mapping(params.build_index.dense_options, encoder.dimensions)
        create_index(client, index, mapping, {"purpose": "benchmark"})
        with bulk_embedder(encoder, workforce) as embed:
            yield index, cache, embed
    finally:
        delete_indexes(client, [index])


def _grow(
    growth: Growth, asker: "_Asker", stream: TextStream, n_wanted: int, *, latency: bool, rng: np.random.Generator
) -> dict[str, Any]:
    """All steps; Ctrl-C ends them like the last minute."""
    steps: list[dict[str, Any]] = []
    found: dict[str, Any] = {}
    try:
        for target in _targets(n_wanted):
            before = growth.n_passages
            growth.grow_to(target)
            if growth.n_passages == before:
                break
            questions = _questions(stream, growth, rng)
            steps.append(_step(growth, asker, questions))
            if latency and "latency" not in found and growth.n_passages >= LATENCY_AT:
                found["latency"] = asker.on_one_core(questions) | {"n_passages": growth.n_passages}
            if growth.stopped_by is not None:
                break
        if latency and "latency" not in found:
            questions = _questions(stream, growth, rng)
            found["latency"] = asker.on_one_core(questions) | {"n_passages": growth.n_passages}
    except KeyboardInterrupt:
        growth.stopped_by = "Ctrl-C"
    reached = {"n_passages": growth.n_passages, "stopped_by": growth.stopped_by or "max_passages"}
    return {"reached": reached, "steps": steps, **found}


def _targets(n_wanted: int) -> Iterator[int]:
    """1,000, 3,000, 10,000, 30,000 and so on; the last one is ``n_wanted``."""
    power = 1000
    while True:
        for target in (power, 3 * power):
            yield min(target, n_wanted)
            if target >= n_wanted:
                return
        power *= 10


def _step(growth: Growth, asker: "_Asker", questions: Sequence[Question]) -> dict[str, Any]:
    size = _size(growth.client, growth.index)
    rates = {
        "embed_passages_per_s": _rate(growth.n_embedded, growth.embed_s),
        "index_passages_per_s": _rate(growth.n_indexed, growth.index_s),
    }
    step = {
        "n_passages": growth.n_passages,
        "n_embedded": growth.n_embedded,
        **rates,
        **size,
        "bytes_per_passage": round(size["index_bytes"] / growth.n_passages),
        "node_rss_mb": resident_mb(asker.node),
        "benchmark_rss_mb": resident_mb(psutil.Process()),
        "query": asker.all_modes(questions),
    }
    tell(f"step: {step}")
    return step


def _size(client: Elasticsearch, index: str) -> dict[str, int]:
    """Bytes and segments on disk, once all that was indexed is there."""
    patient = client.options(request_timeout=_MERGE_TIMEOUT_S)
    patient.indices.flush(index=index, wait_if_ongoing=True)
    patient.indices.refresh(index=index)
    stats = patient.indices.stats(index=index, metric=["store", "segments"])["_all"]["primaries"]
    return {"index_bytes": stats["store"]["size_in_bytes"], "segments": stats["segments"]["count"]}


def _merged(growth: Growth, asker: "_Asker", questions: Sequence[Question]) -> dict[str, Any]:
    """The same index as one segment."""
    started = time.perf_counter()
    growth.client.options(request_timeout=_MERGE_TIMEOUT_S).indices.forcemerge(index=growth.index, max_num_segments=1)
    seconds = time.perf_counter() - started
    size = _size(growth.client, growth.index)
    per_passage = round(size["index_bytes"] / growth.n_passages)
    modes = asker.all_modes(questions)
    return {"merge_s": round(seconds, 1), **size, "bytes_per_passage": per_passage, "query": modes}


def _questions(stream: TextStream, growth: Growth, rng: np.random.Generator) -> list[Question]:
    """200 of the data's own questions, drawn at random; else the first words of passages in the index."""
    known = stream.questions or [
        Question(" ".join(passage.text.split()[:_WORDS_OF_QUESTION]), passage.lang) for passage in growth.sample
    ]
    picked = rng.permutation(len(known))[:N_QUESTIONS]
    return [known[i] for i in sorted(picked)]


def _rate(n: int, seconds: float) -> float | None:
    return round(n / seconds, 1) if n and seconds else None


class _Asker:
    """Asks the growing index in each mode, and knows the node's process where it may."""

    def __init__(
        self,
        client: Elasticsearch,
        index: str,
        encoder: OnnxEncoder,
        reranker: OnnxCrossEncoder | None,
        params: Params,
        search_url: str,
    ) -> None:
        self.node = node_process(search_url)
        self._client, self._index, self._encoder = client, index, encoder
        self._size = params.retrieval.candidates
        self._k = params.retrieval.k
        plain = params.retrieval.model_copy(update={"rerank": {}})
        self._hybrid = HybridRetriever(client, index, encoder, plain)
        depth = dict.fromkeys(("en", "fr"), RERANKED)
        self._reranked = reranker and HybridRetriever(
            client, index, encoder, params.retrieval.model_copy(update={"rerank": depth}), reranker
        )

    def all_modes(self, questions: Sequence[Question]) -> dict[str, Any]:
        """p50 and p95 of each mode, in milliseconds, embedding the question included where it is embedded."""
        modes: dict[str, Callable[[Question], object]] = {
            "bm25": self._bm25,
            "dense": self._dense,
            "hybrid": lambda question: self._hybrid.search(question, self._k),
        }
        return {mode: times_ms(ask, questions) for mode, ask in modes.items()} | {"n_questions": len(questions)}

    def on_one_core(self, questions: Sequence[Question]) -> dict[str, Any]:
        """The same, embedding alone and reranking, with this process and the node bound to one core."""
        bound = {"benchmark": psutil.Process()} | ({"node": self.node} if self.node else {})
        with on_one_core(bound) as told:
            encode = times_ms(lambda question: self._encoder.embed([question.standalone]), questions)
            found = {**told, "encode": encode, **self.all_modes(questions)}
            if self._reranked:
                retriever = self._reranked
                times = times_ms(lambda question: retriever.search(question, self._k), questions)
                found["reranked"] = {**times, "n_read": RERANKED}
            return found

    def _bm25(self, question: Question) -> object:
        return search_many(self._client, self._index, [lexical_body(question.standalone, question.lang, self._size)])

    def _dense(self, question: Question) -> object:
        vector = self._encoder.embed([question.standalone])[0]
        return search_many(self._client, self._index, [dense_body(vector, question.lang, self._size)])


def _told(
    params: Params, encoder: OnnxEncoder, max_passages: int | None, minutes: float | None, seed: int
) -> Mapping[str, Any]:
    return {
        "max_passages": max_passages,
        "minutes": minutes,
        "seed": seed,
        "passage_words": PASSAGE_WORDS,
        "engine": params.build_index.engine,
        "workers": params.build_index.workers or n_cores(),
        "encoder_sha256": encoder.sha256,
        "dense_options": params.build_index.dense_options,
        "index_size": "after a flush, not force-merged",
    }
