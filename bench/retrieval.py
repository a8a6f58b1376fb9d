"""How well, and how fast, the right passage is found: BM25, nearest vectors, and both fused.

`palier bench retrieval --data FILE… --lang en|fr --out FILE.json`. All passages of the files (QA rows, as JSON lines)
go into an index of their own, which is deleted afterwards; each question has the passage that it was asked about as
the only right one, or several where an id occurs with several. Public files of this form can be made from SQuAD
(rajpurkar.github.io/SQuAD-explorer), PIAF (piaf.etalab.studio) and Natural Questions. Unanswerable questions are left
out, since no passage answers them. The price: other passages that would answer as well count as wrong.

Encoder and fusion weights are those of the repository's `params.yaml`. `reranked` is not measured: there is no
reranker yet.
"""

import secrets
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, get_args

import numpy as np
from elasticsearch import Elasticsearch

from bench.report import Metric, QaRow, Report, every, metric, percentile, read_qa, tell
from palier.adapters.catalogue import resolve
from palier.adapters.embedding_cache import embed_remembered
from palier.adapters.onnx_encoder import OnnxEncoder
from palier.adapters.search import HybridRetriever, connect, dense_body, lexical_body, search_many, wait_ready
from palier.adapters.search_index import (
    create_index,
    delete_indexes,
    fill_index,
    finish_index,
    index_mapping,
)
from palier.adapters.torch_encoder import export_int8, load_encoder
from palier.domain import ranking_metrics
from palier.domain.answering import Question
from palier.domain.documents import Lang, Passage, sha256_text
from palier.errors import InputError
from palier.params import Params, load_params
from palier.settings import repository_root

DEPTH = 100
WARM_UP = 10

Ranking = list[str]
Search = Callable[[Question], Ranking]


@dataclass(slots=True)
class Asked:
    """A question and the ids of the passages that are right for it."""

    question: Question
    relevant: set[str] = field(default_factory=set)


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
    encoder_folder = encoder_folder or exported_encoder(params.train_encoder.base)
    encoder = OnnxEncoder(encoder_folder)
    report = Report("retrieval", _told(params, encoder, lang, max_questions, seed))
    rows = []
    for path in data:
        read = read_qa(path)
        report.add_data(path, len(read))
        rows += read
    rng = np.random.default_rng(seed)
    passages, asked = prepare(rows, lang)
    asked = sample(asked, max_questions, rng)
    client = connect(search_url, timeout_s=60)
    wait_ready(client)
    with temporary_index(client, passages, encoder, params) as index:
        retriever = HybridRetriever(client, index, encoder, params.retrieval)
        modes: dict[str, Search] = {
            "bm25": partial(search_bm25, client, index),
            "dense": partial(search_dense, client, index, encoder),
            "hybrid": lambda question: [hit.passage.passage_id for hit in retriever.search(question, DEPTH)],
        }
        results = {mode: measure(mode, search, asked, rng) for mode, search in modes.items()}
    return report.write(out, results)


def prepare(rows: Sequence[QaRow], lang: str | None) -> tuple[list[Passage], list[Asked]]:
    """Distinct passages (by title and text) and the answerable questions, of ``lang`` or of both languages."""
    rows = [row for row in rows if row.lang == (lang or row.lang)]
    unknown = {row.lang for row in rows} - set(get_args(Lang))
    if not rows or unknown:
        raise InputError(
            f"No rows of language {lang} in the data." if not rows else f"Languages {sorted(unknown)} are not known."
        )
    passages: dict[str, Passage] = {}
    asked: dict[tuple[str, str], Asked] = {}
    for row in rows:
        passage = _passage(row)
        passages.setdefault(passage.passage_id, passage)
        if row.question.strip() and row.answerable:
            entry = asked.setdefault((row.id, row.question), Asked(Question(row.question, passage.lang)))
            entry.relevant.add(passage.passage_id)
    if not asked:
        raise InputError("No row has a question that is answerable: nothing to measure.")
    return list(passages.values()), list(asked.values())


def _passage(row: QaRow) -> Passage:
    title = row.title.replace("_", " ")
    key = sha256_text(f"{title}\n{row.context}")[:24]
    lang: Lang = "fr" if row.lang == "fr" else "en"
    n_lines = row.context.count("\n") + 1
    return Passage(key, row.title or key, lang, title, "", row.context, 1, n_lines)


def sample(asked: list[Asked], n: int | None, rng: np.random.Generator) -> list[Asked]:
    """``n`` of the questions, drawn without replacement, in their order; all of them without ``n``."""
    if n is None or n >= len(asked):
        return asked
    return [asked[i] for i in sorted(rng.choice(len(asked), size=n, replace=False))]


@contextmanager
def temporary_index(
    client: Elasticsearch, passages: Sequence[Passage], encoder: OnnxEncoder, params: Params
) -> Iterator[str]:
    """An index of ``passages`` for as long as the block runs."""
    cache = repository_root() / ".palier" / "bench" / "embeddings"
    embedded = embed_remembered(encoder, [passage.content for passage in passages], cache, _Teller())
    name = f"bench-retrieval-{secrets.token_hex(6)}"
    try:
        mapping = index_mapping(params.build_index.dense_options, encoder.dimensions)
        create_index(client, name, mapping, {"purpose": "benchmark"})
        fill_index(client, name, passages, embedded.vectors, _Teller())
        finish_index(client, name, len(passages))
        yield name
    finally:
        delete_indexes(client, [name])


def search_bm25(client: Elasticsearch, index: str, question: Question) -> Ranking:
    """The first 100 by BM25 alone."""
    (hits,) = search_many(client, index, [lexical_body(question.standalone, question.lang, DEPTH)])
    return [hit["_id"] for hit in hits]


def search_dense(client: Elasticsearch, index: str, encoder: OnnxEncoder, question: Question) -> Ranking:
    """The nearest 100, embedding the question included."""
    vector = encoder.embed([question.standalone])[0]
    (hits,) = search_many(client, index, [dense_body(vector, question.lang, DEPTH)])
    return [hit["_id"] for hit in hits]


def measure(
    mode: str, search: Search, asked: Sequence[Asked], rng: np.random.Generator
) -> dict[str, Metric | float | None]:
    """All metrics of one mode; questions go one after the other, the first ten twice (to warm up)."""
    for entry in asked[:WARM_UP]:
        search(entry.question)
    rankings, times_ms = [], []
    for entry in every(asked, len(asked), mode):
        started = time.perf_counter()
        rankings.append(search(entry.question))
        times_ms.append(1000 * (time.perf_counter() - started))
    pairs = [(ranking, entry.relevant) for ranking, entry in zip(rankings, asked, strict=True)]
    return {
        "ndcg_at_10": metric([ranking_metrics.ndcg(*pair, 10) for pair in pairs], rng),
        "mrr_at_10": metric([ranking_metrics.reciprocal_rank(*pair, 10) for pair in pairs], rng),
        "recall_at_10": metric([ranking_metrics.recall(*pair, 10) for pair in pairs], rng),
        "recall_at_100": metric([ranking_metrics.recall(*pair, 100) for pair in pairs], rng),
        "hit_at_1": metric([ranking_metrics.hit(*pair, 1) for pair in pairs], rng),
        "query_ms_p50": percentile(times_ms, 50),
        "query_ms_p95": percentile(times_ms, 95),
    }


def exported_encoder(base: str) -> Path:
    """The catalogue's encoder ``base`` as int8 ONNX, exported once and kept beside the services' state."""
    source = resolve(base)
    folder = repository_root() / ".palier" / "bench" / "encoders" / base
    if not (folder / "config.json").is_file():
        tell(f"export {base} to int8")
        export_int8(load_encoder(source), folder)
    return folder


def _told(
    params: Params, encoder: OnnxEncoder, lang: str | None, max_questions: int | None, seed: int
) -> Mapping[str, Any]:
    return {
        "lang": lang,
        "max_questions": max_questions,
        "seed": seed,
        "encoder_sha256": encoder.sha256,
        "dense_options": params.build_index.dense_options,
        "retrieval": params.retrieval.model_dump(mode="json"),
        "not_measured": {"reranked": "there is no reranker yet"},
    }


class _Teller:
    """Progress of the stages' shape, told in steps of a tenth."""

    def __init__(self) -> None:
        self._told = -1

    def __call__(self, done: int, total: int, what: str) -> None:
        tenth = 10 * done // max(1, total)
        if tenth != self._told:
            self._told = tenth
            tell(f"{what}: {done}/{total}")
