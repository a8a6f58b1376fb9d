"""Makes, fills, points to and clears away the physical indexes of Elasticsearch.

Knows one index at a time and the alias; which passages go in is decided by the stage. An index is finished only when
its mapping says so (``_meta.complete``), which is written after the count was checked: what a kill leaves behind is
recognised and reaped. Price: an index is never changed in place, so a corrected comma costs a whole index (but not
its embeddings).
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from typing import Any, Literal

import numpy as np
from elasticsearch import ApiError, Elasticsearch, NotFoundError, TransportError
from elasticsearch.helpers import streaming_bulk
from numpy.typing import NDArray

from palier.adapters.search import ANALYSED_FIELDS, search_error, url_of, without_accents
from palier.domain.documents import Lang, Passage
from palier.errors import SearchError

DenseOptions = Literal["hnsw", "int8_hnsw", "bbq_hnsw", "flat"]
Progress = Callable[[int, int, str], None]

ANALYSERS: Mapping[Lang, str] = {"en": "english", "fr": "french"}
BM25 = {"k1": 0.9, "b": 0.4}
"""Passages are short and of one length, so length and repetition say less than in whole documents."""
INDEX_PATTERN = "passages-*"
_BULK_PASSAGES = 200
_BULK_TRIES = 4
_BULK_TIMEOUT_S = 60
_ERRORS_SHOWN = 3


def index_mapping(dense_options: DenseOptions, dimensions: int) -> dict[str, Any]:
    """The mapping of a passage index: one analysed set of fields per language, and the vector.

    ``exact_<lang>`` holds the passage's words unstemmed and without accents.
    ``index_options`` is always told: left out, vectors of 384 dimensions and more are kept in one bit per number.
    """
    kept = {"type": "text", "index": False}
    analysed = {
        f"{field}_{lang}": {"type": "text", "analyzer": analyser, "similarity": "passage"}
        for lang, language_analyser in ANALYSERS.items()
        for field, analyser in (*((name, language_analyser) for name in ANALYSED_FIELDS), ("exact", "standard"))
    }
    vector = {
        "type": "dense_vector",
        "dims": dimensions,
        "similarity": "cosine",
        "index": True,
        "index_options": {"type": dense_options},
    }
    return {
        "dynamic": "strict",
        "_source": {"excludes": ["vector", *analysed]},
        "properties": {
            **{key: {"type": "keyword"} for key in ("passage_id", "document_id", "lang")},
            **dict.fromkeys(("title", "headings", "text"), kept),
            **{key: {"type": "integer", "index": False} for key in ("start_line", "end_line")},
            **analysed,
            "vector": vector,
        },
    }


@contextmanager
def _asking(client: Elasticsearch, doing: str) -> Iterator[None]:
    try:
        yield
    except (ApiError, TransportError) as error:
        raise search_error(url_of(client), doing, error) from error


def create_index(client: Elasticsearch, name: str, mapping: Mapping[str, Any], meta: Mapping[str, Any]) -> None:
    """A new, empty index that is not refreshed while it is filled; raises SearchError when the name is taken."""
    settings = {
        "number_of_shards": 1,
        "auto_expand_replicas": "0-1",
        "refresh_interval": "-1",
        "similarity": {"passage": {"type": "BM25", **BM25}},
    }
    with _asking(client, f"create the index {name}"):
        client.indices.create(index=name, mappings={**mapping, "_meta": {**meta, "complete": False}}, settings=settings)


def fill_index(
    client: Elasticsearch,
    name: str,
    passages: Sequence[Passage],
    vectors: NDArray[np.float32],
    progress: Progress = lambda *_: None,
) -> None:
    """Index all passages with their vectors (float32, shape (len(passages), dimensions)).

    A busy server is asked again with growing pauses. Raises SearchError naming the first passages that were refused.
    """
    refused: list[str] = []
    patient = client.options(request_timeout=_BULK_TIMEOUT_S)
    with _asking(client, f"fill the index {name}"):
        results = streaming_bulk(
            patient,
            _actions(name, passages, vectors),
            chunk_size=_BULK_PASSAGES,
            max_retries=_BULK_TRIES,
            initial_backoff=0.5,
            max_backoff=8,
            raise_on_error=False,
            raise_on_exception=False,
        )
        for done, (is_indexed, item) in enumerate(results, 1):
            if not is_indexed:
                refused.append(_reason(item))
            progress(done, len(passages), "index passages")
    if refused:
        shown = "; ".join(refused[:_ERRORS_SHOWN])
        raise SearchError(
            f"Elasticsearch at {url_of(client)} refused {len(refused)} of {len(passages)} passages for {name}: "
            f"{shown}. See its log, then run `palier build-index` again."
        )


def _actions(name: str, passages: Iterable[Passage], vectors: NDArray[np.float32]) -> Iterator[dict[str, Any]]:
    for passage, vector in zip(passages, vectors, strict=True):
        analysed = {f"{field}_{passage.lang}": getattr(passage, field) for field in ANALYSED_FIELDS}
        exact = {f"exact_{passage.lang}": without_accents(passage.content)}
        source = {**asdict(passage), **analysed, **exact, "vector": vector.tolist()}
        yield {"_op_type": "index", "_index": name, "_id": passage.passage_id, "_source": source}


def _reason(item: Mapping[str, Any]) -> str:
    outcome = next(iter(item.values()))
    error = outcome.get("error", outcome)
    return f"{outcome.get('_id')}: {error.get('reason', error) if isinstance(error, dict) else error}"


def finish_index(client: Elasticsearch, name: str, n_expected: int) -> None:
    """Make what was indexed searchable, count it, and mark the index complete; SearchError when the count is off."""
    patient = client.options(request_timeout=_BULK_TIMEOUT_S)
    with _asking(client, f"finish the index {name}"):
        patient.indices.put_settings(index=name, settings={"index": {"refresh_interval": None}})
        patient.indices.refresh(index=name)
        n_found = patient.count(index=name)["count"]
        if n_found != n_expected:
            raise SearchError(
                f"The index {name} at {url_of(client)} holds {n_found} passages, expected {n_expected}. "
                "Run `palier build-index` again: it starts this index anew."
            )
        meta = patient.indices.get_mapping(index=name)[name]["mappings"].get("_meta", {})
        patient.indices.put_mapping(index=name, meta={**meta, "complete": True})


def index_meta(client: Elasticsearch, name: str) -> dict[str, Any] | None:
    """What the index's mapping tells about it; None when there is no such index."""
    with _asking(client, f"look at the index {name}"):
        try:
            answer = client.indices.get_mapping(index=name)
        except NotFoundError:
            return None
    meta: dict[str, Any] = answer[name]["mappings"].get("_meta", {})
    return meta


def reap_unfinished(client: Elasticsearch, alias: str) -> list[str]:
    """Delete the indexes of ``alias`` whose build was interrupted; their names."""
    unfinished = [name for name, meta in _indexes_of(client, alias).items() if not meta.get("complete")]
    return delete_indexes(client, unfinished)


def swap_alias(client: Elasticsearch, alias: str, index: str) -> None:
    """Point ``alias`` at ``index`` alone, in one step: no question finds it pointing at nothing, or at two."""
    with _asking(client, f"point the alias {alias} at {index}"):
        try:
            behind = [name for name in client.indices.get_alias(name=alias) if name != index]
        except NotFoundError:
            behind = []
        actions: list[dict[str, Any]] = [{"add": {"index": index, "alias": alias}}]
        actions += [{"remove": {"index": name, "alias": alias}} for name in behind]
        client.indices.update_aliases(actions=actions)


def aliased_index(client: Elasticsearch, alias: str) -> str | None:
    """The physical index behind ``alias``, or None."""
    with _asking(client, f"look up the alias {alias}"):
        try:
            return next(iter(client.indices.get_alias(name=alias)), None)
        except NotFoundError:
            return None


def prune_indexes(client: Elasticsearch, alias: str, keep: int, protected: frozenset[str]) -> list[str]:
    """Delete finished indexes of ``alias`` but for the newest ``keep``; the names of the deleted.

    One that any alias points to, or that is ``protected`` (a release answers from it), stays, whatever its age.
    """
    with _asking(client, "list the indexes"):
        details = client.indices.get(index=INDEX_PATTERN, features=["aliases", "settings"])
    ages = {name: int(part["settings"]["index"]["creation_date"]) for name, part in details.items()}
    ours = sorted(_indexes_of(client, alias), key=lambda name: (ages.get(name, 0), name), reverse=True)
    old = [name for name in ours[keep:] if name not in protected and not details[name].get("aliases")]
    return delete_indexes(client, old)


def delete_indexes(client: Elasticsearch, names: Sequence[str]) -> list[str]:
    """Delete each of ``names``; one that is gone already counts as deleted."""
    for name in names:
        with _asking(client, f"delete the index {name}"):
            client.options(ignore_status=404).indices.delete(index=name)
    return list(names)


def _indexes_of(client: Elasticsearch, alias: str) -> dict[str, dict[str, Any]]:
    """``_meta`` by name of the indexes built for ``alias``: other workspaces may share the server."""
    with _asking(client, "list the indexes"):
        answer = client.indices.get_mapping(index=INDEX_PATTERN)
    metas = {name: part["mappings"].get("_meta", {}) for name, part in answer.items()}
    return {name: meta for name, meta in metas.items() if meta.get("alias") == alias}
