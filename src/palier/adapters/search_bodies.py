"""What is asked of Elasticsearch: one query by words and one by vectors, as the bodies of two searches.

Knows the fields of an index and nothing of servers: the same bodies go to a search, a gate and a benchmark. Only what
the official image and the embedded node both understand stands here. The price: a field that is renamed must be renamed
here and in `search_index` at once.
"""

import unicodedata
from collections.abc import Sequence
from dataclasses import fields
from datetime import date
from typing import Any

import numpy as np
from numpy.typing import NDArray

from palier.domain.documents import Lang, Passage

EXACT_WEIGHT = 0.5
"""What a word in just this form is worth beside its stem; chosen on training articles (decision 0003)."""
TIE_BREAKER = 0.3
ANALYSED_FIELDS = ("title", "headings", "text")
PASSAGE_FIELDS = tuple(field.name for field in fields(Passage))


def lexical_body(
    text: str,
    lang: Lang,
    size: int,
    fields: Sequence[str] = ANALYSED_FIELDS,
    exact_weight: float = EXACT_WEIGHT,
    *,
    as_of: date | None = None,
) -> dict[str, Any]:
    """BM25 over the fields of ``lang``; a passage of another language has none of them.

    ``fields`` count as one field for how rare a word is; a word in the very form that was asked for counts
    ``exact_weight`` extra, whatever its accents and in whichever field. With ``as_of``, only what holds on that day.
    """
    stems = {
        "query": unicodedata.normalize("NFC", text),  # as documents are: an analyser takes "é" in two for another word
        "fields": [f"{field}_{lang}" for field in fields],
        "type": "cross_fields",
        "tie_breaker": TIE_BREAKER,
    }
    should: list[dict[str, Any]] = [{"multi_match": stems}]
    if exact_weight:
        should.append({"match": {f"exact_{lang}": {"query": without_accents(text), "boost": exact_weight}}})
    query: dict[str, Any] = {"bool": {"should": should}}
    if as_of:
        query["bool"] |= {"minimum_should_match": 1, "must_not": _invalid_on(as_of)}
    return {"query": query, "size": size, "_source": list(PASSAGE_FIELDS), "track_total_hits": False}


def without_accents(text: str) -> str:
    """``text`` as somebody in a hurry types it: "été" as "ete". Same at indexing and asking, or nothing matches."""
    bare = "".join(letter for letter in unicodedata.normalize("NFKD", text) if not unicodedata.combining(letter))
    return bare.replace("œ", "oe").replace("Œ", "OE")


def dense_body(vector: NDArray[np.float32], lang: Lang, size: int, *, as_of: date | None = None) -> dict[str, Any]:
    """Nearest vectors among the passages of ``lang``; with ``as_of``, among those that hold on that day."""
    spoken: dict[str, Any] = {"term": {"lang": lang}}
    knn = {
        "field": "vector",
        "query_vector": vector.tolist(),
        "k": size,
        "num_candidates": max(100, 2 * size),
        "filter": {"bool": {"filter": spoken, "must_not": _invalid_on(as_of)}} if as_of else spoken,
    }
    return {"knn": knn, "size": size, "_source": list(PASSAGE_FIELDS), "track_total_hits": False}


def _invalid_on(day: date) -> list[dict[str, Any]]:
    """What does not hold on ``day``; the first and the last day of a validity are within it."""
    told = day.isoformat()
    return [{"range": {"valid_until": {"lt": told}}}, {"range": {"valid_from": {"gt": told}}}]
