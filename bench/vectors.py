"""What each way of keeping vectors costs and loses: `flat`, `int8_flat`, `hnsw`, `int8_hnsw`, `bbq_hnsw`.

`palier bench vectors --data FILE… --lang en|fr --out FILE.json [--encoder FOLDER]`. The passages of all files (QA rows;
more files, more passages) are embedded once and go, with the very same vectors, into one index per way, each merged to
one segment; questions are embedded beforehand, so milliseconds are the search's alone, and every question is put to
all indexes in turn before the next one, so that a busy moment of the machine falls on all of them. `recall_at_10` is
the share of the ten exactly nearest passages (in float32, computed here) that are among the ten found; `ndcg_at_10`
counts the passage that the question was asked about. The price: a graph in one fresh segment is at its best, and the
deletions of a living index are not in the numbers (ours have none: an index is never changed in place).

A way that the server does not know is told under `refused`, and the others are measured.
"""

import secrets
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from elasticsearch import ApiError, Elasticsearch
from numpy.typing import NDArray

from bench.asked_rankings import Asked
from bench.exported_models import exported_encoder
from bench.report import Report, every, metric, percentile, read_qa, tell
from bench.retrieval import prepare, sample
from palier.adapters.embedding_cache import embed_remembered
from palier.adapters.onnx_encoder import OnnxEncoder
from palier.adapters.search import connect, search_many, wait_ready
from palier.adapters.search_bodies import dense_body
from palier.adapters.search_index import create_index, delete_indexes, fill_index, finish_index, index_mapping
from palier.domain import ranking_metrics
from palier.domain.documents import Passage
from palier.errors import SearchError
from palier.params import load_params
from palier.settings import repository_root

OPTIONS = ("flat", "int8_flat", "hnsw", "int8_hnsw", "bbq_hnsw")
K = 10
WARM_UP = 20
_PATIENCE_S = 600

Vectors = NDArray[np.float32]


@dataclass(frozen=True)
class Collection:
    """Passages with their vectors, and questions with theirs: float32 of shape (n, dimensions), of unit length."""

    passages: Sequence[Passage]
    vectors: Vectors
    asked: Sequence[Asked]
    question_vectors: Vectors

    def exact(self, row: int) -> list[str]:
        """Ids of the ten nearest passages of the question's language, nearest first."""
        lang = self.asked[row].question.lang
        own = [i for i, passage in enumerate(self.passages) if passage.lang == lang]
        near = np.argsort(-(self.vectors[own] @ self.question_vectors[row]), kind="stable")[:K]
        return [self.passages[own[i]].passage_id for i in near]


@dataclass
class Kept:
    """One way of keeping the vectors: its index, what making it took, and what each question found."""

    option: str
    index: str
    build_s: float
    merge_s: float
    n_bytes: int
    vector_bytes: int | None
    rankings: list[list[str]] = field(default_factory=list)
    times_ms: list[float] = field(default_factory=list)


def run(
    data: Sequence[Path],
    out: Path,
    *,
    lang: str | None = None,
    search_url: str,
    max_questions: int | None = None,
    seed: int = 7,
    encoder_folder: Path | None = None,
) -> dict[str, Any]:
    """Measure, write ``out`` and return what it holds. Raises InputError for files without a usable row."""
    params = load_params(repository_root() / "params.yaml")
    section = params.train_encoder
    encoder = OnnxEncoder(encoder_folder or exported_encoder(section.base, section.starter))
    size = params.retrieval.candidates
    told = {"lang": lang, "max_questions": max_questions, "seed": seed, "encoder_sha256": encoder.sha256}
    report = Report("vectors", {**told, "k": size, "num_candidates": max(100, 2 * size), "segments": 1})
    rows = []
    for path in data:
        read = read_qa(path)
        report.add_data(path, len(read))
        rows += read
    rng = np.random.default_rng(seed)
    passages, asked = prepare(rows, lang)
    collection = _collection(encoder, passages, sample(asked, max_questions, rng))
    with connect(search_url, timeout_s=60) as client:
        wait_ready(client)
        with _indexes(client, collection, encoder.dimensions) as (kept, refused):
            _ask_all(client, kept, collection, size)
            results = _results(kept, collection, rng)
    return report.write(out, {**results, "refused": refused})


def _collection(encoder: OnnxEncoder, passages: Sequence[Passage], asked: Sequence[Asked]) -> Collection:
    cache = repository_root() / ".palier" / "bench" / "embeddings"
    embedded = embed_remembered(encoder, [passage.content for passage in passages], cache, _tell_steps)
    questions = encoder.embed([entry.question.standalone for entry in asked])
    return Collection(passages, embedded.vectors, asked, questions)


@contextmanager
def _indexes(
    client: Elasticsearch, collection: Collection, dimensions: int
) -> Iterator[tuple[list[Kept], dict[str, str]]]:
    """An index per option that the server knows, and why it refuses the others; all are gone afterwards."""
    prefix = f"bench-vectors-{secrets.token_hex(6)}"
    kept, refused = [], {}
    try:
        for option in OPTIONS:
            name = f"{prefix}-{option}"
            mapping = index_mapping("flat", dimensions)
            mapping["properties"]["vector"]["index_options"] = {"type": option}
            try:
                create_index(client, name, mapping, {"purpose": "benchmark"})
            except SearchError as error:
                if getattr(error.__cause__, "status_code", None) != 400:
                    raise
                refused[option] = str(error)
                continue
            kept.append(_fill(client, name, option, collection))
            tell(f"{option}: built in {kept[-1].build_s:.1f} s, {kept[-1].n_bytes / 1e6:.1f} MB")
        yield kept, refused
    finally:
        delete_indexes(client, [f"{prefix}-{option}" for option in OPTIONS])


def _fill(client: Elasticsearch, name: str, option: str, collection: Collection) -> Kept:
    started = time.perf_counter()
    fill_index(client, name, collection.passages, collection.vectors)
    finish_index(client, name, len(collection.passages))
    built = time.perf_counter()
    patient = client.options(request_timeout=_PATIENCE_S)
    patient.indices.forcemerge(index=name, max_num_segments=1, flush=True)
    merged = time.perf_counter()
    patient.indices.refresh(index=name)
    stats = client.indices.stats(index=name, metric=["store"])["indices"][name]["primaries"]["store"]
    vectors = _vector_bytes(patient, name)
    return Kept(option, name, built - started, merged - built, int(stats["size_in_bytes"]), vectors)


def _vector_bytes(client: Elasticsearch, name: str) -> int | None:
    """Bytes of the field `vector` on disk; None where the server does not analyse its disk usage."""
    try:
        answer = client.indices.disk_usage(index=name, run_expensive_tasks=True)
    except ApiError as error:
        tell(f"{name}: no disk usage by field ({error.status_code})")
        return None
    return int(answer[name]["fields"]["vector"]["total_in_bytes"])


def _ask_all(client: Elasticsearch, kept: Sequence[Kept], collection: Collection, size: int) -> None:
    """Every question to every index, the first one another one each time; the first questions twice, to warm up."""
    numbered = list(enumerate(collection.asked))
    for row, entry in [*numbered[:WARM_UP], *every(numbered, len(numbered), "search")]:
        body = dense_body(collection.question_vectors[row], entry.question.lang, size)
        for turn in range(len(kept)):
            one = kept[(row + turn) % len(kept)]
            started = time.perf_counter()
            (hits,) = search_many(client, one.index, [body])
            one.times_ms.append(1000 * (time.perf_counter() - started))
            one.rankings.append([hit["_id"] for hit in hits[:K]])
    n_warm = min(WARM_UP, len(numbered))
    for one in kept:
        del one.times_ms[:n_warm], one.rankings[:n_warm]


def _results(kept: Sequence[Kept], collection: Collection, rng: np.random.Generator) -> dict[str, Any]:
    exact = [collection.exact(row) for row in range(len(collection.asked))]
    relevant = [entry.relevant for entry in collection.asked]
    return {
        "n_passages": len(collection.passages),
        "n_questions": len(collection.asked),
        "exact": {"ndcg_at_10": metric(_ndcg(exact, relevant), rng)},
        "options": {one.option: _measures(one, exact, relevant, rng) for one in kept},
    }


def _measures(
    one: Kept, exact: Sequence[list[str]], relevant: Sequence[set[str]], rng: np.random.Generator
) -> dict[str, Any]:
    found = [len(set(ranking) & set(near)) / len(near) for ranking, near in zip(one.rankings, exact, strict=True)]
    return {
        "recall_at_10": metric(found, rng),
        "ndcg_at_10": metric(_ndcg(one.rankings, relevant), rng),
        "query_ms_p50": percentile(one.times_ms, 50),
        "query_ms_p95": percentile(one.times_ms, 95),
        "bytes_on_disk": one.n_bytes,
        "vector_bytes_on_disk": one.vector_bytes,
        "build_s": round(one.build_s, 2),
        "merge_s": round(one.merge_s, 2),
    }


def _ndcg(rankings: Sequence[list[str]], relevant: Sequence[set[str]]) -> list[float]:
    return [ranking_metrics.ndcg(ranking, right, K) for ranking, right in zip(rankings, relevant, strict=True)]


def _tell_steps(done: int, total: int, what: str) -> None:
    if done % 1024 == 0 or done == total:
        tell(f"{what}: {done}/{total}")
