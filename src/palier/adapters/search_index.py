"""Makes, fills, finishes and clears away the physical indexes of Elasticsearch.

Knows one index at a time; which passages go in is decided by the stage, and which index is live by `index_fence`. An
index is finished only when its mapping says so (``_meta.complete``), which is written after the count was checked:
what a kill leaves behind is recognised and reaped. Price: an index is never changed in place, so a corrected comma
costs a whole index (but not its embeddings).
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from typing import Any, Literal

import numpy as np
from elasticsearch import ApiError, Elasticsearch, NotFoundError, TransportError
from numpy.typing import NDArray

from palier.adapters.patient_bulk import index_all
from palier.adapters.search import search_error, url_of
from palier.adapters.search_bodies import ANALYSED_FIELDS, without_accents
from palier.domain.documents import Lang, Passage
from palier.errors import SearchError

DenseOptions = Literal["hnsw", "int8_hnsw", "bbq_hnsw", "flat"]
Progress = Callable[[int, int, str], None]

ANALYSERS: Mapping[Lang, str] = {"en": "english", "fr": "french"}
BM25 = {"k1": 0.9, "b": 0.4}
"""Passages are short and of one length, so length and repetition say less than in whole documents."""
INDEX_PATTERN = "passages-*"
IsBusy = Callable[[str], bool]
"""Whether a living run still works on the index of that name."""
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
            **{key: {"type": "keyword"} for key in ("passage_id", "document_id", "lang", "duplicate_of")},
            **dict.fromkeys(("title", "headings", "text"), kept),
            **{key: {"type": "integer", "index": False} for key in ("start_line", "end_line", "page")},
            **{key: {"type": "date", "format": "strict_date"} for key in ("valid_from", "valid_until")},
            **analysed,
            "vector": vector,
        },
    }


@contextmanager
def asking(client: Elasticsearch, doing: str) -> Iterator[None]:
    """Turns what the client raises inside the block into a SearchError that says what was being done, and where."""
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
    with asking(client, f"create the index {name}"):
        client.indices.create(index=name, mappings={**mapping, "_meta": {**meta, "complete": False}}, settings=settings)


def fill_index(
    client: Elasticsearch,
    name: str,
    passages: Sequence[Passage],
    vectors: NDArray[np.float32],
    progress: Progress = lambda *_: None,
) -> None:
    """Index all passages with their vectors (float32, shape (len(passages), dimensions)).

    A server that is busy or out of reach is asked again with growing pauses. Raises SearchError when that does not
    help, and for passages that it refuses, naming the first of them.
    """
    patient = client.options(request_timeout=_BULK_TIMEOUT_S)
    with asking(client, f"fill the index {name}"):
        actions = _actions(name, passages, vectors)
        refused = index_all(patient, actions, lambda done: progress(done, len(passages), "index passages"))
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


def finish_index(client: Elasticsearch, name: str, n_expected: int, token: int | None = None) -> None:
    """Make what was indexed searchable, count it, and mark the index complete.

    Raises SearchError when the count is off, or when the index is not the one that the run of ``token`` made: another
    run took it for a leftover and deleted it, and Elasticsearch made a new one at the next passage that came in.
    """
    patient = client.options(request_timeout=_BULK_TIMEOUT_S)
    with asking(client, f"finish the index {name}"):
        patient.indices.put_settings(index=name, settings={"index": {"refresh_interval": None}})
        patient.indices.refresh(index=name)
        n_found = patient.count(index=name)["count"]
        meta = patient.indices.get_mapping(index=name)[name]["mappings"].get("_meta", {})
    if n_found != n_expected or (token is not None and meta.get("token") != token):
        raise SearchError(
            f"The index {name} at {url_of(client)} holds {n_found} passages, expected {n_expected}, and was made by "
            f"run {meta.get('token')} (this is {token}). Run `palier build-index` again: it starts this index anew."
        )
    add_meta(client, name, {"complete": True, "n_passages": n_found})


def add_meta(client: Elasticsearch, name: str, told: Mapping[str, Any]) -> None:
    """Write ``told`` beside what the index's mapping tells about it already."""
    with asking(client, f"write about the index {name}"):
        meta = client.indices.get_mapping(index=name)[name]["mappings"].get("_meta", {})
        client.indices.put_mapping(index=name, meta={**meta, **told})


def index_meta(client: Elasticsearch, name: str) -> dict[str, Any] | None:
    """What the index's mapping tells about it; None when there is no such index."""
    with asking(client, f"look at the index {name}"):
        try:
            answer = client.indices.get_mapping(index=name)
        except NotFoundError:
            return None
    meta: dict[str, Any] = answer[name]["mappings"].get("_meta", {})
    return meta


def _nobody(_name: str) -> bool:
    return False


def index_sizes(client: Elasticsearch) -> dict[str, dict[str, int]]:
    """``n_passages`` and ``bytes`` on disk (one copy) of each passage index."""
    with asking(client, "measure the indexes"):
        stats = client.indices.stats(index=INDEX_PATTERN, metric=["docs", "store"])["indices"]
    return {
        name: {
            "n_passages": part["primaries"]["docs"]["count"],
            "bytes": part["primaries"]["store"]["size_in_bytes"],
        }
        for name, part in stats.items()
    }


def reap_unfinished(client: Elasticsearch, alias: str, is_busy: IsBusy = _nobody) -> list[str]:
    """Delete the indexes of ``alias`` whose build was interrupted, but for those still worked on; their names."""
    unfinished = [name for name, meta in indexes_of(client, alias).items() if not meta.get("complete")]
    return delete_indexes(client, [name for name in unfinished if not is_busy(name)])


def aliased_index(client: Elasticsearch, alias: str) -> str | None:
    """The physical index behind ``alias``, or None."""
    with asking(client, f"look up the alias {alias}"):
        try:
            return next(iter(client.indices.get_alias(name=alias)), None)
        except NotFoundError:
            return None


def prune_indexes(
    client: Elasticsearch, alias: str, keep: int, protected: frozenset[str], is_busy: IsBusy = _nobody
) -> list[str]:
    """Delete finished indexes of ``alias`` but for the newest ``keep``; the names of the deleted.

    One that any alias points to (live, or previous), that is ``protected`` (a release answers from it), or that
    another run still works on stays, whatever its age.
    """
    with asking(client, "list the indexes"):
        details = client.indices.get(index=INDEX_PATTERN, features=["aliases", "settings"])
    ages = {name: int(part["settings"]["index"]["creation_date"]) for name, part in details.items()}
    ours = sorted(indexes_of(client, alias), key=lambda name: (ages.get(name, 0), name), reverse=True)
    unused = [name for name in ours[keep:] if name not in protected and name in details]
    old = [name for name in unused if not details[name].get("aliases") and not is_busy(name)]
    return delete_indexes(client, old)


def delete_indexes(client: Elasticsearch, names: Sequence[str]) -> list[str]:
    """Delete each of ``names``; one that is gone already counts as deleted."""
    for name in names:
        with asking(client, f"delete the index {name}"):
            client.options(ignore_status=404).indices.delete(index=name)
    return list(names)


def indexes_of(client: Elasticsearch, alias: str) -> dict[str, dict[str, Any]]:
    """``_meta`` by name of the indexes built for ``alias``: other workspaces may share the server."""
    with asking(client, "list the indexes"):
        answer = client.indices.get_mapping(index=INDEX_PATTERN)
    metas = {name: part["mappings"].get("_meta", {}) for name, part in answer.items()}
    return {name: meta for name, meta in metas.items() if meta.get("alias") == alias}
