"""Asks Elasticsearch for passages: BM25 and nearest vectors in one request, fused here.

Knows answers, not how a query is written (`search_bodies`) or an index comes to be (`search_index`), and uses only what
both the official image and the embedded node offer. Both searches keep to the question's language: a passage in the
other one would be cited to somebody who cannot read it. The price: a fact that only the other language's documents hold
is not found. And near-duplicates are told apart after the fusion, so fewer than ``k`` remain where most candidates say
the same.
"""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal, Protocol

import numpy as np
from elastic_transport import ObjectApiResponse
from elasticsearch import ApiError, Elasticsearch, TransportError
from numpy.typing import NDArray

from palier.adapters.search_bodies import PASSAGE_FIELDS, dense_body, lexical_body
from palier.domain.answering import Hit, Question
from palier.domain.documents import Lang, Passage
from palier.domain.fusion import RRF_CONSTANT, Fusion, SearchMode, fuse
from palier.domain.near_duplicates import best_of_each
from palier.domain.reranking import rerank
from palier.domain.wording import wording
from palier.errors import ParamsError, SearchError
from palier.params import RetrievalParams

TIMEOUT_S = 5.0
RETRIES = 2
_TRIES = 4


class Encoder(Protocol):
    """Texts to unit vectors, float32 of shape (n, 384)."""

    def embed(self, texts: Sequence[str]) -> NDArray[np.float32]: ...


class Reranker(Protocol):
    """How well each text answers the question: logits, float32 of shape (n,)."""

    def score(self, question: str, texts: Sequence[str]) -> NDArray[np.float32]: ...


class IndexChoice(Protocol):
    """Which index a question goes to, and whether what came back can be believed."""

    def name(self) -> str:
        """An index or an alias to search now; nothing is asked for that."""
        ...

    def accepts(self, searched: str, found: str | None) -> bool:
        """Whether what a search of ``searched`` gave may be used; else ask `name` again, which has learned from it.

        ``found`` is the physical index that answered or refused; empty where there were no hits, None where nobody
        knows. Raises SearchError.
        """
        ...


@dataclass(frozen=True, slots=True)
class OneIndex:
    """Always the same index or alias, whoever built what stands behind it."""

    index: str

    def name(self) -> str:
        return self.index

    def accepts(self, searched: str, found: str | None) -> bool:  # noqa: ARG002 (part of the protocol)
        return True


class RefusedSearchError(SearchError):
    """Elasticsearch answered that it cannot search ``index`` (None where it does not say which) in this way."""

    def __init__(self, message: str, index: str | None) -> None:
        super().__init__(message)
        self.index = index


def connect(url: str, api_key: str | None = None, *, timeout_s: float = TIMEOUT_S) -> Elasticsearch:
    """A client whose every call ends within ``timeout_s`` times the tries; nothing is sent yet."""
    return Elasticsearch(url, api_key=api_key, request_timeout=timeout_s, max_retries=RETRIES, retry_on_timeout=False)


def search_error(url: str, doing: str, error: ApiError | TransportError) -> SearchError:
    """The client's error as ours: what was tried, where, what came back, and what to do."""
    if isinstance(error, ApiError):
        if error.status_code == 404:
            remedy = "Run `palier build-index` for an index that is missing."
        elif error.status_code in (401, 403):
            remedy = "Check ELASTICSEARCH_API_KEY and its rights."
        else:
            remedy = "See the log of Elasticsearch (`palier services status` names it)."
        return SearchError(f"Elasticsearch at {url} refused to {doing}: {error.status_code} {error}. {remedy}")
    return SearchError(
        f"Elasticsearch at {url} does not answer ({doing}: {type(error).__name__}). "
        "Start it with `palier services up`, or set ELASTICSEARCH_URL."
    )


def url_of(client: Elasticsearch) -> str:
    """Where ``client`` sends its requests."""
    return next(iter(client.transport.node_pool.all())).base_url


@dataclass(frozen=True, slots=True)
class Candidates:
    """What the two searches of one question found: passages by id, BM25 scores and cosines (-1..1) by id."""

    passages: Mapping[str, Passage]
    bm25: Mapping[str, float]
    cosine: Mapping[str, float]
    index: str
    """The physical index that both searches read; empty when nothing was found."""
    wording: Mapping[str, float] = field(default_factory=dict)
    """How closely each passage words the question, 0..1; empty where nobody asked for it."""

    def fused(
        self,
        dense_weight: float,
        k: int,
        fusion: Fusion = "min_max",
        rrf_constant: int = RRF_CONSTANT,
        wording_weight: float = 0.0,
    ) -> list[Hit]:
        """The best ``k`` by fused score."""
        ranked = fuse(
            self.bm25,
            self.cosine,
            dense_weight,
            fusion,
            rrf_constant,
            wording=self.wording,
            wording_weight=wording_weight,
        )[:k]
        return [
            Hit(self.passages[key], score, self.bm25.get(key), self.cosine.get(key), self.index)
            for key, score in ranked
        ]


class HybridRetriever:
    """A `Retriever` over one index, an alias, or what ``index`` chooses. Safe to use from several threads."""

    def __init__(
        self,
        client: Elasticsearch,
        index: str | IndexChoice,
        encoder: Encoder,
        params: RetrievalParams,
        reranker: Reranker | None = None,
    ) -> None:
        """Raises ParamsError when ``params`` rerank and there is no ``reranker``."""
        if params.reranks and reranker is None:
            raise ParamsError(
                f"retrieval.rerank is {dict(params.rerank)}, but no reranker was given. Set it to 0 for each "
                "language, or name a train_encoder.reranker and run `palier train-encoder`."
            )
        self._client = client
        self._index = OneIndex(index) if isinstance(index, str) else index
        self._encoder = encoder
        self._params = params
        self._reranker = reranker

    def search(self, question: Question, k: int, mode: SearchMode | None = None) -> list[Hit]:
        """At most ``k`` passages in the question's language, best first; raises SearchError.

        ``reranked`` is the same as ``hybrid`` in a language that the params do not rerank.
        """
        mode = mode or self._params.search_mode(question.lang)
        if mode == "reranked":
            depth = self._params.rerank.get(question.lang, 0)
            return self.reranked(question, self.fused(self.candidates(question), question.lang, max(k, depth)))[:k]
        if mode == "hybrid":
            return self.fused(self.candidates(question), question.lang, k)
        size = max(k, self._params.candidates)
        return self.fused(self._candidates(self._body_of(question, mode, size)), question.lang, k)

    def fused(self, candidates: Candidates, lang: Lang, k: int) -> list[Hit]:
        """The best ``k`` candidates by what the params say of ``lang``, one of each near-duplicates."""
        weight = self._params.dense_weight.get(lang, 0.5)
        constant = self._params.rrf_constant.get(lang, RRF_CONSTANT)
        wording_weight = self._params.wording_weight
        hits = candidates.fused(weight, len(candidates.passages), self._params.fusion, constant, wording_weight)
        return (best_of_each(hits) if self._params.collapse_duplicates else hits)[:k]

    def reranked(self, question: Question, hits: Sequence[Hit]) -> list[Hit]:
        """``hits`` with the first of them reordered by the reranker, as many as the question's language asks for."""
        depth = self._params.rerank.get(question.lang, 0)
        if self._reranker is None or not depth:
            return list(hits)
        logits = self._reranker.score(question.standalone, [hit.passage.content for hit in hits[:depth]])
        return rerank(hits, logits.tolist(), self._params.rerank_weight.get(question.lang, 0.5))

    def candidates(self, question: Question) -> Candidates:
        """Both searches in one request; asked again when an alias moved between the two of them."""
        size = self._params.candidates
        found = self._candidates(self._body_of(question, "bm25", size), self._body_of(question, "dense", size))
        if not self._params.wording_weight:
            return found
        texts = {key: passage.content for key, passage in found.passages.items()}
        return replace(found, wording=wording(question.standalone, texts))

    def _body_of(self, question: Question, mode: Literal["bm25", "dense"], size: int) -> dict[str, Any]:
        as_of = question.as_of if self._params.only_valid else None
        if mode == "dense":
            vector = self._encoder.embed([question.standalone])[0]
            return dense_body(vector, question.lang, size, as_of=as_of)
        fields, exact_weight = self._params.fields, self._params.exact_weight
        return lexical_body(question.standalone, question.lang, size, fields, exact_weight, as_of=as_of)

    def _candidates(self, *bodies: Mapping[str, Any]) -> Candidates:
        for _ in range(_TRIES):
            searched = self._index.name()
            try:
                found = _found(bodies, search_many(self._client, searched, bodies))
            except RefusedSearchError as refused:
                if self._index.accepts(searched, refused.index):
                    raise
                continue
            if found is not None and self._index.accepts(searched, found.index):
                return found
        raise SearchError(
            f"The alias {self._index.name()} at {url_of(self._client)} moved {_TRIES} times within one question. "
            "Ask again."
        )


def search_many(client: Elasticsearch, index: str, bodies: Sequence[Mapping[str, Any]]) -> list[list[dict[str, Any]]]:
    """The raw hits of each search, all sent in one request; raises SearchError, also for a part that failed."""
    searches: list[Mapping[str, Any]] = [item for body in bodies for item in ({}, body)]
    try:
        answer: ObjectApiResponse[Any] = client.msearch(index=index, searches=searches)
    except (ApiError, TransportError) as error:
        raise search_error(url_of(client), f"search {index}", error) from error
    return [_hits(part, index, url_of(client)) for part in answer["responses"]]


def _hits(part: Mapping[str, Any], index: str, url: str) -> list[dict[str, Any]]:
    error = part.get("error", {})
    failures = part.get("_shards", {}).get("failures") or error.get("failed_shards")
    if error or failures or part.get("timed_out"):
        cause = error or (failures[0]["reason"] if failures else {"type": "timed_out"})
        raise RefusedSearchError(
            f"Elasticsearch at {url} could not search {index}: {cause.get('type')}: {cause.get('reason', '')}. "
            "Run `palier build-index` if the index is missing; else see its log.",
            failures[0].get("index") if failures else None,
        )
    hits: list[dict[str, Any]] = part["hits"]["hits"]
    return hits


def _found(bodies: Sequence[Mapping[str, Any]], answers: Sequence[Sequence[Mapping[str, Any]]]) -> Candidates | None:
    """None when the answers come from different physical indexes."""
    indexes = {hit["_index"] for hits in answers for hit in hits}
    if len(indexes) > 1:
        return None
    pairs = [("knn" in body, hit) for body, hits in zip(bodies, answers, strict=True) for hit in hits]
    return Candidates(
        passages={hit["_source"]["passage_id"]: passage_of(hit) for _, hit in pairs},
        bm25={hit["_source"]["passage_id"]: hit["_score"] for is_dense, hit in pairs if not is_dense},
        # Elasticsearch tells (1 + cosine) / 2, since its scores may not be negative.
        cosine={hit["_source"]["passage_id"]: 2 * hit["_score"] - 1 for is_dense, hit in pairs if is_dense},
        index=next(iter(indexes), ""),
    )


def passage_of(hit: Mapping[str, Any]) -> Passage:
    """The passage that a raw hit holds; an index of an earlier release may lack the newer fields."""
    return Passage(**{field: hit["_source"][field] for field in PASSAGE_FIELDS if field in hit["_source"]})


def find_passage(client: Elasticsearch, index: str, passage_id: str) -> Passage | None:
    """The passage of that id in ``index``; None when the index or the passage is gone. Raises SearchError."""
    try:
        found = client.options(ignore_status=404).get(index=index, id=passage_id)
    except (ApiError, TransportError) as error:
        raise search_error(url_of(client), f"read {passage_id}", error) from error
    return passage_of(found.body) if found.body.get("found") else None


def wait_ready(client: Elasticsearch, seconds: float = 30.0) -> None:
    """Return once the cluster answers and its indexes can be searched; raises SearchError after ``seconds``."""
    deadline = time.monotonic() + seconds
    while True:
        try:
            health = client.cluster.health(wait_for_status="yellow", timeout="5s")
            if health["status"] in ("yellow", "green"):
                return
            problem = f"its status is {health['status']}"
        except (ApiError, TransportError) as error:
            problem = type(error).__name__
        if time.monotonic() > deadline:
            raise SearchError(
                f"Elasticsearch at {url_of(client)} is not ready after {seconds:.0f} s ({problem}). "
                "Start it with `palier services up`, or set ELASTICSEARCH_URL."
            )
        time.sleep(0.2)
