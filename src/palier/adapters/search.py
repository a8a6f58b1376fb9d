"""Asks Elasticsearch for passages: BM25 and nearest vectors in one request, fused here.

Knows queries and answers, not how an index comes to be (`search_index` does), and uses only what both the official
image and the embedded node offer. Both searches keep to the question's language: a passage in the other one would be
cited to somebody who cannot read it. The price: a fact that only the other language's documents hold is not found.
"""

import time
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, Protocol

import numpy as np
from elastic_transport import ObjectApiResponse
from elasticsearch import ApiError, Elasticsearch, TransportError
from numpy.typing import NDArray

from palier.domain.answering import Hit, Question
from palier.domain.documents import Lang, Passage
from palier.domain.fusion import RRF_CONSTANT, Fusion, fuse
from palier.domain.reranking import rerank
from palier.errors import ParamsError, SearchError
from palier.params import RetrievalParams

TIMEOUT_S = 5.0
RETRIES = 2
EXACT_WEIGHT = 0.5
"""What a word in just this form is worth beside its stem; chosen on training articles (decision 0003)."""
TIE_BREAKER = 0.3
ANALYSED_FIELDS = ("title", "headings", "text")
PASSAGE_FIELDS = tuple(field.name for field in fields(Passage))
_MIXED_RETRIES = 3


class Encoder(Protocol):
    """Texts to unit vectors, float32 of shape (n, 384)."""

    def embed(self, texts: Sequence[str]) -> NDArray[np.float32]: ...


class Reranker(Protocol):
    """How well each text answers the question: logits, float32 of shape (n,)."""

    def score(self, question: str, texts: Sequence[str]) -> NDArray[np.float32]: ...


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

    def fused(
        self, dense_weight: float, k: int, fusion: Fusion = "min_max", rrf_constant: int = RRF_CONSTANT
    ) -> list[Hit]:
        """The best ``k`` by fused score."""
        ranked = fuse(self.bm25, self.cosine, dense_weight, fusion, rrf_constant)[:k]
        return [
            Hit(self.passages[key], score, self.bm25.get(key), self.cosine.get(key), self.index)
            for key, score in ranked
        ]


class HybridRetriever:
    """A `Retriever` over one index or alias. Safe to use from several threads."""

    def __init__(
        self,
        client: Elasticsearch,
        index: str,
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
        self._index = index
        self._encoder = encoder
        self._params = params
        self._reranker = reranker

    def search(self, question: Question, k: int) -> list[Hit]:
        """At most ``k`` passages in the question's language, best first; raises SearchError."""
        depth = self._params.rerank.get(question.lang, 0)
        hits = self.fused(self.candidates(question), question.lang, max(k, depth))
        return (self.reranked(question, hits) if depth else hits)[:k]

    def fused(self, candidates: Candidates, lang: Lang, k: int) -> list[Hit]:
        """The best ``k`` candidates by what the params say of ``lang``."""
        weight = self._params.dense_weight.get(lang, 0.5)
        constant = self._params.rrf_constant.get(lang, RRF_CONSTANT)
        return candidates.fused(weight, k, self._params.fusion, constant)

    def reranked(self, question: Question, hits: Sequence[Hit]) -> list[Hit]:
        """``hits`` with the first of them reordered by the reranker, as many as the question's language asks for."""
        depth = self._params.rerank.get(question.lang, 0)
        if self._reranker is None or not depth:
            return list(hits)
        logits = self._reranker.score(question.standalone, [hit.passage.content for hit in hits[:depth]])
        return rerank(hits, logits.tolist(), self._params.rerank_weight.get(question.lang, 0.5))

    def candidates(self, question: Question) -> Candidates:
        """Both searches in one request; asked again when an alias moved between the two of them."""
        vector = self._encoder.embed([question.standalone])[0]
        size = self._params.candidates
        bodies = [
            lexical_body(question.standalone, question.lang, size, self._params.fields, self._params.exact_weight),
            dense_body(vector, question.lang, size),
        ]
        for _ in range(_MIXED_RETRIES):
            found = _candidates(search_many(self._client, self._index, bodies))
            if found is not None:
                return found
        raise SearchError(
            f"The alias {self._index} at {url_of(self._client)} moved {_MIXED_RETRIES} times within one question. "
            "Ask again."
        )


def lexical_body(
    text: str, lang: Lang, size: int, fields: Sequence[str] = ANALYSED_FIELDS, exact_weight: float = EXACT_WEIGHT
) -> dict[str, Any]:
    """BM25 over the fields of ``lang``; a passage of another language has none of them.

    ``fields`` count as one field for how rare a word is; a word in the very form that was asked for counts
    ``exact_weight`` extra, whatever its accents and in whichever field.
    """
    stems = {
        "query": text,
        "fields": [f"{field}_{lang}" for field in fields],
        "type": "cross_fields",
        "tie_breaker": TIE_BREAKER,
    }
    should: list[dict[str, Any]] = [{"multi_match": stems}]
    if exact_weight:
        should.append({"match": {f"exact_{lang}": {"query": without_accents(text), "boost": exact_weight}}})
    query = {"bool": {"should": should}}
    return {"query": query, "size": size, "_source": list(PASSAGE_FIELDS), "track_total_hits": False}


def without_accents(text: str) -> str:
    """``text`` as somebody in a hurry types it: "été" as "ete". Same at indexing and asking, or nothing matches."""
    bare = "".join(letter for letter in unicodedata.normalize("NFKD", text) if not unicodedata.combining(letter))
    return bare.replace("œ", "oe").replace("Œ", "OE")


def dense_body(vector: NDArray[np.float32], lang: Lang, size: int) -> dict[str, Any]:
    """Nearest vectors among the passages of ``lang``."""
    knn = {
        "field": "vector",
        "query_vector": vector.tolist(),
        "k": size,
        "num_candidates": max(100, 2 * size),
        "filter": {"term": {"lang": lang}},
    }
    return {"knn": knn, "size": size, "_source": list(PASSAGE_FIELDS), "track_total_hits": False}


def search_many(client: Elasticsearch, index: str, bodies: Sequence[Mapping[str, Any]]) -> list[list[dict[str, Any]]]:
    """The raw hits of each search, all sent in one request; raises SearchError, also for a part that failed."""
    searches: list[Mapping[str, Any]] = [item for body in bodies for item in ({}, body)]
    try:
        answer: ObjectApiResponse[Any] = client.msearch(index=index, searches=searches)
    except (ApiError, TransportError) as error:
        raise search_error(url_of(client), f"search {index}", error) from error
    return [_hits(part, index, url_of(client)) for part in answer["responses"]]


def _hits(part: Mapping[str, Any], index: str, url: str) -> list[dict[str, Any]]:
    failures = part.get("_shards", {}).get("failures")
    if "error" in part or failures or part.get("timed_out"):
        cause = part.get("error") or (failures[0]["reason"] if failures else {"type": "timed_out"})
        raise SearchError(
            f"Elasticsearch at {url} could not search {index}: {cause.get('type')}: {cause.get('reason', '')}. "
            "Run `palier build-index` if the index is missing; else see its log."
        )
    hits: list[dict[str, Any]] = part["hits"]["hits"]
    return hits


def _candidates(answers: Sequence[Sequence[Mapping[str, Any]]]) -> Candidates | None:
    """None when the two answers come from different physical indexes."""
    lexical, dense = answers
    indexes = {hit["_index"] for hits in answers for hit in hits}
    if len(indexes) > 1:
        return None
    return Candidates(
        passages={hit["_source"]["passage_id"]: passage_of(hit) for hits in answers for hit in hits},
        bm25={hit["_source"]["passage_id"]: hit["_score"] for hit in lexical},
        # Elasticsearch tells (1 + cosine) / 2, since its scores may not be negative.
        cosine={hit["_source"]["passage_id"]: 2 * hit["_score"] - 1 for hit in dense},
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
