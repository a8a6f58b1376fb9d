"""Stage `build-index`: the corpus on disk becomes one searchable index, and the alias points at it.

An act on a live system, so it reconciles: a complete build of the same content is reused, an interrupted one is thrown
away, and running twice does nothing the second time. Changed words cost their own embedding only. The price: two builds
of one workspace wait for each other.
"""

import fcntl
import hashlib
import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from elasticsearch import Elasticsearch

from palier.adapters.embedding_cache import Embedded, embed_remembered
from palier.adapters.onnx_encoder import OnnxEncoder
from palier.adapters.search import wait_ready
from palier.adapters.search_index import (
    BM25,
    create_index,
    delete_indexes,
    fill_index,
    finish_index,
    index_mapping,
    index_meta,
    prune_indexes,
    reap_unfinished,
    swap_alias,
)
from palier.adapters.workspace import Workspace, read_json, read_jsonl, write_json
from palier.domain.documents import Passage, sha256_text
from palier.params import Params

PATIENCE_S = 5.0
"""A server that is still starting is waited for; one that is away should be told soon."""

Progress = Callable[[int, int, str], None]


@dataclass(frozen=True, slots=True)
class IndexBuild:
    """The physical index of a corpus revision, and what making it took."""

    index: str
    revision: str
    n_passages: int
    is_new: bool
    n_embedded: int
    n_reused: int
    deleted: tuple[str, ...] = ()
    settings: Mapping[str, Any] = field(default_factory=dict)

    @property
    def metrics(self) -> dict[str, float]:
        return {
            "n_passages": self.n_passages,
            "n_embedded": self.n_embedded,
            "n_reused": self.n_reused,
            "n_deleted_indexes": len(self.deleted),
        }


def run(
    params: Params,
    workspace: Path,
    client: Elasticsearch,
    alias: str,
    *,
    protected: frozenset[str] = frozenset(),
    progress: Progress = lambda *_: None,
) -> IndexBuild:
    """Build or find the index of ``data/corpus``, point ``alias`` at it, delete old ones, write ``data/index.json``.

    ``protected`` names indexes that releases answer from. Raises NotReadyError before `version-documents` and
    `train-encoder` have run, SearchError when Elasticsearch is away or refuses.
    """
    place = Workspace(workspace)
    revision = read_json(place.corpus / "manifest.json", "version-documents")["revision"]
    rows = read_jsonl(place.corpus / "passages.jsonl", "version-documents")
    passages = [Passage(**row) for row in rows]
    encoder = OnnxEncoder(place.encoder)
    with _only_one(place.cache / "build-index.lock"):
        wait_ready(client, PATIENCE_S)
        corpus = _Corpus(revision, passages, encoder, build_settings(params, encoder, passages))
        build = _reconcile(client, alias, corpus, params, place.cache / "embeddings", progress)
        swap_alias(client, alias, build.index)
        deleted = prune_indexes(client, alias, params.build_index.keep_indexes, protected)
    build = replace(build, deleted=(*build.deleted, *deleted))
    write_json(place.index_file, asdict(build))
    return build


def build_settings(params: Params, encoder: OnnxEncoder, passages: list[Passage]) -> dict[str, Any]:
    """All that decides what an index of the same documents holds: its hash is the build's part of the name."""
    content = hashlib.sha256()
    for passage in passages:
        content.update(json.dumps(asdict(passage), ensure_ascii=False).encode())
    mapping = [index_mapping(params.build_index.dense_options, encoder.dimensions), BM25]
    return {
        "encoder_sha256": encoder.sha256,
        "passages_sha256": content.hexdigest(),
        "mapping_sha256": sha256_text(json.dumps(mapping, sort_keys=True)),
        "dense_options": params.build_index.dense_options,
    }


def index_name(revision: str, settings: Mapping[str, Any]) -> str:
    """``passages-<12 hex of the revision>-<8 hex of the settings>``."""
    return f"passages-{revision[:12]}-{sha256_text(json.dumps(settings, sort_keys=True))[:8]}"


@dataclass(frozen=True, slots=True)
class _Corpus:
    """What is to be indexed."""

    revision: str
    passages: list[Passage]
    encoder: OnnxEncoder
    settings: Mapping[str, Any]

    @property
    def index(self) -> str:
        return index_name(self.revision, self.settings)


def _reconcile(
    client: Elasticsearch, alias: str, corpus: _Corpus, params: Params, cache: Path, progress: Progress
) -> IndexBuild:
    """The complete index of ``corpus``: the one that is there, or a new one."""
    reaped = reap_unfinished(client, alias)
    meta = index_meta(client, corpus.index)
    if meta is not None and not meta.get("complete"):
        reaped += delete_indexes(client, [corpus.index])
        meta = None
    n_passages = len(corpus.passages)
    build = IndexBuild(corpus.index, corpus.revision, n_passages, False, 0, 0, tuple(reaped), corpus.settings)
    if meta is not None:
        return build
    embedded = embed_remembered(corpus.encoder, [item.content for item in corpus.passages], cache, progress)
    _make(client, alias, corpus, params, embedded, progress)
    return replace(build, is_new=True, n_embedded=embedded.n_embedded, n_reused=embedded.n_reused)


def _make(
    client: Elasticsearch, alias: str, corpus: _Corpus, params: Params, embedded: Embedded, progress: Progress
) -> None:
    mapping = index_mapping(params.build_index.dense_options, corpus.encoder.dimensions)
    meta = {"alias": alias, "revision": corpus.revision, "settings": dict(corpus.settings)}
    create_index(client, corpus.index, mapping, meta)
    fill_index(client, corpus.index, corpus.passages, embedded.vectors, progress)
    finish_index(client, corpus.index, len(corpus.passages))


@contextmanager
def _only_one(lock: Path) -> Iterator[None]:
    """Wait for any other build of this workspace: it would be taken for an interrupted one."""
    lock.parent.mkdir(parents=True, exist_ok=True)
    with lock.open("w") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
