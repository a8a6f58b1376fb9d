"""Stage `build-index`: the corpus on disk becomes one searchable index, and the alias points at it.

An act on a live system, so it reconciles: a complete build of the same content is reused, an interrupted one is thrown
away, and running twice does nothing the second time. Changed words cost their own embedding only. An index becomes live
only through the gate, and only if no run that began later was faster; one that is refused is kept, and nothing changes.

The run takes its token before it reads the corpus: of two runs, the one with the higher token has read documents that
are at least as new. The price: two builds of one workspace wait for each other, and on two machines may both work.
"""

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from elasticsearch import Elasticsearch

from palier.adapters.build_marks import Builder, Clock, claimed, clear_dead_marks, is_worked_on, only_builder
from palier.adapters.bulk_embedding import Workforce
from palier.adapters.embedding_cache import Embedded, embed_remembered
from palier.adapters.index_fence import LiveState, swap, take_token
from palier.adapters.index_gate import Candidate, examine, require
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
)
from palier.adapters.workspace import Workspace, read_json, read_jsonl, write_json
from palier.domain.documents import Passage, sha256_text
from palier.domain.golden import GoldenQuestion
from palier.domain.index_gate import GateReport
from palier.params import Params

PATIENCE_S = 5.0
"""A server that is still starting is waited for; one that is away should be told soon."""
TIMEOUT_S = 60.0
"""Of one request, once the server has answered: a build is not in a hurry, and a busy server is not away."""

Progress = Callable[[int, int, str], None]


@dataclass(frozen=True, slots=True)
class IndexBuild:
    """The physical index of a corpus revision, and what making it took.

    ``gate`` is None when the index was live already; ``previous`` is what a rollback would bring back.
    """

    index: str
    revision: str
    n_passages: int
    is_new: bool
    n_embedded: int
    n_reused: int
    token: int
    deleted: tuple[str, ...] = ()
    previous: str | None = None
    gate: GateReport | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)

    @property
    def metrics(self) -> dict[str, float]:
        return {
            "n_passages": self.n_passages,
            "n_embedded": self.n_embedded,
            "n_reused": self.n_reused,
            "n_deleted_indexes": len(self.deleted),
            **(self.gate.metrics if self.gate else {}),
        }


@dataclass(frozen=True, slots=True)
class _Corpus:
    """What is to be indexed."""

    revision: str
    passages: list[Passage]
    golden: list[GoldenQuestion]
    encoder: OnnxEncoder
    settings: Mapping[str, Any]

    @property
    def index(self) -> str:
        return index_name(self.revision, self.settings)


@dataclass(frozen=True, slots=True)
class _Site:
    """Where a run works: what it may delete is told by ``builder`` and ``protected``."""

    client: Elasticsearch
    params: Params
    builder: Builder
    place: Workspace
    protected: frozenset[str]
    progress: Progress

    def is_busy(self, index: str) -> bool:
        return is_worked_on(self.client, index, self.builder)


def run(
    params: Params,
    workspace: Path,
    client: Elasticsearch,
    alias: str,
    *,
    clock: Clock,
    protected: frozenset[str] = frozenset(),
    progress: Progress = lambda *_: None,
) -> IndexBuild:
    """Build or find the index of ``data/corpus``, point ``alias`` at it, delete old ones, write ``data/index.json``.

    ``protected`` names indexes that releases answer from. Raises NotReadyError before `version-documents` and
    `train-encoder` have run, SearchError when Elasticsearch is away or refuses or a later run was faster, and
    DataGateError when the index is refused: then all stays as it is.
    """
    place = Workspace(workspace)
    with only_builder(place.cache / "build-index.lock") as owner:
        wait_ready(client, PATIENCE_S)
        client = client.options(request_timeout=TIMEOUT_S)
        builder = Builder(alias, owner, take_token(client, alias, clock()), clock)
        corpus = _read_corpus(place, params)
        build = _reconcile(_Site(client, params, builder, place, protected, progress), corpus)
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


def _read_corpus(place: Workspace, params: Params) -> _Corpus:
    revision = read_json(place.corpus / "manifest.json", "version-documents")["revision"]
    passages = [Passage(**row) for row in read_jsonl(place.corpus / "passages.jsonl", "version-documents")]
    golden = read_jsonl(place.corpus / "golden.jsonl", "version-documents")
    rows = [GoldenQuestion.model_validate_json(json.dumps(row)) for row in golden]
    encoder = OnnxEncoder(place.encoder)
    return _Corpus(revision, passages, rows, encoder, build_settings(params, encoder, passages))


def _reconcile(site: _Site, corpus: _Corpus) -> IndexBuild:
    """The complete index of ``corpus``, the one that is there or a new one, through the gate and live."""
    client, builder = site.client, site.builder
    reaped = reap_unfinished(client, builder.alias, site.is_busy)
    clear_dead_marks(client, builder)
    n_passages = len(corpus.passages)
    build = IndexBuild(
        corpus.index, corpus.revision, n_passages, False, 0, 0, builder.token, tuple(reaped), settings=corpus.settings
    )
    if _is_complete(client, corpus.index):
        return _promote(site, corpus, build)
    with claimed(client, corpus.index, builder) as name:
        if _is_complete(client, name):  # by a run that ended between the look and the claim
            return _promote(site, corpus, build)
        delete_indexes(client, [name])  # a leftover of another alias; ours are reaped
        embedded = _make(site, corpus, name)
        made = replace(build, index=name, is_new=True, n_embedded=embedded.n_embedded, n_reused=embedded.n_reused)
        return _promote(site, corpus, made)


def _is_complete(client: Elasticsearch, index: str) -> bool:
    return bool((index_meta(client, index) or {}).get("complete"))


def _make(site: _Site, corpus: _Corpus, name: str) -> Embedded:
    texts = [item.content for item in corpus.passages]
    workforce = Workforce(site.params.build_index.engine, site.params.build_index.workers)
    embedded = embed_remembered(corpus.encoder, texts, site.place.cache / "embeddings", site.progress, workforce)
    mapping = index_mapping(site.params.build_index.dense_options, corpus.encoder.dimensions)
    alias, token = site.builder.alias, site.builder.token
    meta = {"alias": alias, "token": token, "revision": corpus.revision, "settings": dict(corpus.settings)}
    create_index(site.client, name, mapping, {**meta, "built_at": site.builder.clock().isoformat()})
    fill_index(site.client, name, corpus.passages, embedded.vectors, site.progress)
    finish_index(site.client, name, len(corpus.passages), token)
    return embedded


def _promote(site: _Site, corpus: _Corpus, build: IndexBuild) -> IndexBuild:
    """Through the gate, live, and old ones deleted, after a refusal too: refused ones may not pile up."""
    client, alias = site.client, site.builder.alias
    gate = _Gate(site, Candidate(build.index, corpus.passages, corpus.golden, corpus.encoder))
    try:
        live = swap(client, alias, build.token, gate.choose)
    finally:
        kept = site.protected | {build.index}
        deleted = prune_indexes(client, alias, site.params.build_index.keep_indexes, kept, site.is_busy)
    return replace(build, deleted=(*build.deleted, *deleted), previous=live.previous, gate=gate.report)


class _Gate:
    """Chooses the candidate, if it passes against what is live; asked again only when that has changed."""

    def __init__(self, site: _Site, candidate: Candidate) -> None:
        self._site = site
        self._candidate = candidate
        self._against: str | None = None
        self.report: GateReport | None = None

    def choose(self, seen: LiveState) -> str:
        """The candidate's index; raises DataGateError when it is refused. What is live already is not examined."""
        index = self._candidate.index
        if seen.index != index and (self.report is None or seen.index != self._against):
            self._against = seen.index
            self.report = examine(self._site.client, self._candidate, seen.index, self._site.params)
            require(self.report, index, seen.index)
        return index
