"""Do questions notice that the index under them is exchanged? And is an incremental build as good as a full one?

`palier bench swap --data OLD.tar.gz --data NEW.tar.gz --out FILE.json`. Each tarball holds one version of the same
documents, in folders by language, as `documents/` of a workspace does. Both go through the stages that a workspace
uses, `version-documents` and `build-index`: the old version, then the new one with the cache of the old one, and the
new one once more from nothing. Then the alias moves back and forth while questions arrive at a fixed rate, whether or
not earlier ones are answered (so a stall counts for all that had to wait). The rival, under the same load, deletes
its index and fills it again from vectors that are ready: fewer times, since each takes long.

A question *fails* by an error or an empty answer. An answer is of *mixed version* when a passage in it is not, word for
word and line for line, the one that the index it names holds. Questions are made of the passages' own titles, headings
and words, and their vectors are computed before: the swap is measured, not the encoder. Vectors are searched exactly
(`flat`): two graphs over the same vectors answer differently now and then, however they were built.
"""

import secrets
import shutil
import tarfile
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from elasticsearch import Elasticsearch
from numpy.typing import NDArray

from bench.exported_models import exported_encoder
from bench.report import Report, percentile, tell
from palier.adapters.embedding_cache import embed_remembered
from palier.adapters.index_fence import forget_alias, make_live, take_token
from palier.adapters.index_gate import as_indexed
from palier.adapters.onnx_encoder import OnnxEncoder
from palier.adapters.search import HybridRetriever, connect, wait_ready
from palier.adapters.search_index import (
    create_index,
    delete_indexes,
    fill_index,
    finish_index,
    index_mapping,
    indexes_of,
)
from palier.adapters.workspace import Workspace, read_jsonl
from palier.domain.answering import Hit, Question
from palier.domain.documents import Passage
from palier.errors import InputError, SearchError
from palier.params import Params, load_params
from palier.settings import repository_root
from palier.stages import build_index, version_documents
from palier.stages.build_index import IndexBuild

N_QUESTIONS = 300
N_THREADS = 8
PAUSE_S = 0.5
"""Between two swaps: time for questions that began before, during and after each of them."""
QUIET_S = 5.0
RIVAL_SHARE = 0.1
"""Of the swaps, so many rounds of delete-and-rebuild."""
_WORDS_OF_TEXT = 8
_K = 10

Answer = Sequence[Hit]
Known = Mapping[str, NDArray[np.float32]]


@dataclass(frozen=True, slots=True)
class Version:
    """One version of the documents, and the index that holds it."""

    build: IndexBuild
    passages: Mapping[str, Passage]
    answers: Sequence[Answer]


@dataclass(slots=True)
class Asked:
    """What became of one question: when it was due, begun and done (seconds), and its answer or error."""

    question: int
    due_s: float
    begun_s: float
    done_s: float
    hits: Answer = ()
    error: str | None = None


@dataclass(slots=True)
class Load:
    """Questions at a fixed rate from `N_THREADS` threads, until stopped."""

    retriever: HybridRetriever
    questions: Sequence[Question]
    per_s: float
    asked: list[Asked] = field(default_factory=list)
    seconds: float = 0.0
    _stop: threading.Event = field(default_factory=threading.Event)
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _n_begun: int = 0

    @contextmanager
    def running(self) -> "Iterator[Load]":
        """Ask for as long as the block runs, and until what was begun is answered."""
        started = time.perf_counter()
        threads = [threading.Thread(target=self._work, args=(started,), daemon=True) for _ in range(N_THREADS)]
        for thread in threads:
            thread.start()
        try:
            yield self
        finally:
            self._stop.set()
            for thread in threads:
                thread.join()
            self.seconds = time.perf_counter() - started

    def _work(self, started: float) -> None:
        while not self._stop.is_set():
            with self._lock:
                number = self._n_begun
                self._n_begun += 1
            due = number / self.per_s
            if self._stop.wait(max(0.0, started + due - time.perf_counter())):
                return
            self.asked.append(self._ask(number % len(self.questions), due, started))

    def _ask(self, number: int, due: float, started: float) -> Asked:
        begun, hits, error = time.perf_counter() - started, list[Hit](), None
        try:
            hits = self.retriever.search(self.questions[number], _K)
        except SearchError as problem:
            error = str(problem)
        return Asked(number, due, begun, time.perf_counter() - started, hits, error)


class Remembering:
    """An encoder whose vectors were computed before; safe to share between threads."""

    def __init__(self, encoder: OnnxEncoder, questions: Sequence[Question]) -> None:
        texts = list(dict.fromkeys(question.standalone for question in questions))
        self._known: Known = dict(zip(texts, encoder.embed(texts), strict=True))

    def embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """The vectors of questions that were told at the start."""
        return np.array([self._known[text] for text in texts], dtype=np.float32)


def run(
    data: Sequence[Path],
    out: Path,
    *,
    search_url: str,
    swaps: int = 50,
    queries_per_s: float = 50.0,
    seed: int = 7,
    encoder_folder: Path | None = None,
) -> dict[str, Any]:
    """Measure, write ``out`` and return what it holds. Raises InputError unless ``data`` is two tarballs."""
    if len(data) != 2:
        raise InputError(f"{len(data)} file(s) given. Name two versions: --data OLD.tar.gz --data NEW.tar.gz.")
    params = _params()
    encoder_folder = encoder_folder or exported_encoder(params.train_encoder.base, params.train_encoder.starter)
    told = {"swaps": swaps, "queries_per_s": queries_per_s, "threads": N_THREADS, "pause_s": PAUSE_S, "seed": seed}
    settings = {"dense_options": params.build_index.dense_options, "encoder_sha256": OnnxEncoder(encoder_folder).sha256}
    report = Report("swap", {**told, **settings, "question_vectors": "computed before"})
    client = connect(search_url, timeout_s=60)
    wait_ready(client)
    with tempfile.TemporaryDirectory() as folder, _site(client, Path(folder), encoder_folder, params) as site:
        old, new, full = site.versions(data, seed)
        for path, version in zip(data, (old, new), strict=True):
            report.add_data(path, len({passage.document_id for passage in version.passages.values()}))
        quiet, load, swap_ms = site.swapped(old, new, swaps, queries_per_s)
        rival = site.rebuilt(old, new, max(1, round(RIVAL_SHARE * swaps)), queries_per_s)
    results = {
        "swaps": swaps,
        **summary(load, [old, new]),
        **builds(old, new, full),
        "swap_ms_p50": percentile(swap_ms, 50),
        "swap_ms_p95": percentile(swap_ms, 95),
        "without_swaps": summary(quiet, [old, new]),
        "delete_and_rebuild": rival,
    }
    return report.write(out, results)


def summary(load: Load, versions: Sequence[Version]) -> dict[str, Any]:
    """Counts and times of a load; ``latency`` is from when a question was due, ``service`` from when it was sent."""
    by_index = {version.build.index: version.passages for version in versions}
    firsts = [{_first(version.answers[number]) for version in versions} for number in range(len(load.questions))]
    answered = [asked for asked in load.asked if asked.hits]
    return {
        "queries": len(load.asked),
        "failed": len(load.asked) - len(answered),
        "errors": sum(asked.error is not None for asked in load.asked),
        "empty": sum(asked.error is None and not asked.hits for asked in load.asked),
        "mixed_version": sum(not _is_whole(asked.hits, by_index) for asked in answered),
        "first_hit_of_no_version": sum(_first(asked.hits) not in firsts[asked.question] for asked in answered),
        "queries_per_s": round(len(load.asked) / load.seconds, 1),
        "queries_per_s_asked": load.per_s,
        "rate_held": len(load.asked) >= 0.95 * load.per_s * load.seconds,
        **_times("latency_ms", [1000 * (asked.done_s - asked.due_s) for asked in load.asked]),
        **_times("service_ms", [1000 * (asked.done_s - asked.begun_s) for asked in load.asked]),
    }


def builds(old: Version, new: Version, full: Version) -> dict[str, Any]:
    """How the incremental build of the new version compares with one from nothing, question by question."""
    known = {passage.content for passage in old.passages.values()}
    unseen = {passage.content for passage in new.passages.values()} - known
    differ = sum(not _are_alike(one, two) for one, two in zip(new.answers, full.answers, strict=True))
    return {
        "incremental_equals_full": differ == 0,
        "incremental_differs": {"questions": len(new.answers), "different": differ},
        "unchanged_reembedded": new.build.n_embedded - len(unseen),
        "passages": {"old": len(old.passages), "new": len(new.passages), "of_new_texts_unseen": len(unseen)},
        "embedded": {"incremental": new.build.n_embedded, "full": full.build.n_embedded},
    }


def make_questions(versions: Sequence[Sequence[Passage]], seed: int) -> list[Question]:
    """Distinct questions from the words of passages drawn from all versions."""
    passages = [passage for version in versions for passage in version if len(passage.text.split()) >= _WORDS_OF_TEXT]
    order = np.random.default_rng(seed).permutation(len(passages))
    asked = {}
    for place in order[: 2 * N_QUESTIONS]:
        passage = passages[place]
        words = " ".join(passage.text.split()[:_WORDS_OF_TEXT])
        question = Question(f"{passage.headings.split(' > ')[-1] or passage.title}: {words}", passage.lang)
        asked[question.text] = question
    return list(asked.values())[:N_QUESTIONS]


@contextmanager
def _site(client: Elasticsearch, folder: Path, encoder_folder: Path, params: Params) -> "Iterator[Site]":
    """A place to work, whose indexes are all gone afterwards."""
    site = Site(client, folder, encoder_folder, params, f"bench-swap-{secrets.token_hex(4)}")
    try:
        yield site
    finally:
        for alias in (site.alias, site.full_alias):
            delete_indexes(client, list(indexes_of(client, alias)))
            forget_alias(client, alias)
        delete_indexes(client, [site.rival])


@dataclass
class Site:
    """The two workspaces, the aliases, and what is asked."""

    client: Elasticsearch
    folder: Path
    encoder_folder: Path
    params: Params
    alias: str
    questions: list[Question] = field(default_factory=list)
    encoder: Remembering | None = None

    @property
    def full_alias(self) -> str:
        return f"{self.alias}-full"

    @property
    def rival(self) -> str:
        return f"{self.alias}-rival"

    def versions(self, data: Sequence[Path], seed: int) -> tuple[Version, Version, Version]:
        """Old, new from the cache of the old, and new from nothing; both builds of the new one bear one name."""
        cut = [self._cut(name, path) for name, path in zip(("old", "new"), data, strict=True)]
        self.questions = make_questions(cut, seed)
        self.encoder = Remembering(OnnxEncoder(self.encoder_folder), self.questions)
        full = self._build(self.folder / "new", self.full_alias)
        delete_indexes(self.client, [full.build.index])
        old = self._build(self.folder / "old", self.alias)
        shutil.move(self.folder / "old" / ".cache", self.folder / "cache")
        shutil.rmtree(self.folder / "new" / ".cache")
        shutil.move(self.folder / "cache", self.folder / "new" / ".cache")
        return old, self._build(self.folder / "new", self.alias), full

    def swapped(self, old: Version, new: Version, swaps: int, per_s: float) -> tuple[Load, Load, list[float]]:
        """The load without and with swaps of the alias, and how long each swap took."""
        quiet, load, times = self._load(self.alias, per_s), self._load(self.alias, per_s), []
        with quiet.running():
            time.sleep(QUIET_S)
        with load.running():
            for turn in range(swaps):
                time.sleep(PAUSE_S)
                started = time.perf_counter()
                token = take_token(self.client, self.alias, _now())
                make_live(self.client, self.alias, (old, new)[turn % 2].build.index, token)
                times.append(1000 * (time.perf_counter() - started))
                _tell_tenth("swap", turn + 1, swaps)
            time.sleep(PAUSE_S)
        return quiet, load, times

    def rebuilt(self, old: Version, new: Version, rounds: int, per_s: float) -> dict[str, Any]:
        """The same load on an index that is deleted and filled again, ``rounds`` times."""
        self._fill(new)
        load = self._load(self.rival, per_s)
        with load.running():
            for turn in range(rounds):
                time.sleep(PAUSE_S)
                delete_indexes(self.client, [self.rival])
                self._fill((old, new)[turn % 2])
                tell(f"delete and rebuild: {turn + 1}/{rounds}")
            time.sleep(PAUSE_S)
        # Its one name stands for both versions, so that nothing can be said about which of them a passage is from.
        told = summary(load, [old, new])
        return {"rebuilds": rounds, **{key: value for key, value in told.items() if key != "mixed_version"}}

    def _cut(self, name: str, path: Path) -> list[Passage]:
        """A workspace of the documents of ``path``; its passages."""
        root = self.folder / name
        _unpack(path, root / "documents")
        shutil.copytree(self.encoder_folder, root / "models" / "encoder")
        version_documents.run(self.params, root)
        return _passages(root)

    def _build(self, root: Path, alias: str) -> Version:
        build = build_index.run(
            self.params, root, self.client, alias, clock=_now, progress=lambda *step: _tell_tenth(step[2], *step[:2])
        )
        tell(f"{root.name}: {build.n_embedded} embedded, {build.n_reused} reused")
        retriever = self._retriever(build.index)
        answers = [retriever.search(question, _K) for question in self.questions]
        return Version(build, {passage.passage_id: passage for passage in _passages(root)}, answers)

    def _fill(self, version: Version) -> None:
        encoder, passages = OnnxEncoder(self.encoder_folder), list(version.passages.values())
        texts = [passage.content for passage in passages]
        embedded = embed_remembered(encoder, texts, self.folder / "new" / ".cache" / "embeddings")
        mapping = index_mapping(self.params.build_index.dense_options, encoder.dimensions)
        create_index(self.client, self.rival, mapping, {"purpose": "benchmark"})
        fill_index(self.client, self.rival, passages, embedded.vectors)
        finish_index(self.client, self.rival, len(passages))

    def _load(self, index: str, per_s: float) -> Load:
        return Load(self._retriever(index), self.questions, per_s)

    def _retriever(self, index: str) -> HybridRetriever:
        assert self.encoder is not None
        return HybridRetriever(self.client, index, self.encoder, as_indexed(self.params.retrieval))


def _params() -> Params:
    params = load_params(repository_root() / "params.yaml")
    documents = params.version_documents.model_copy(update={"min_golden_questions": 0})
    exact = {"dense_options": "flat", "keep_indexes": max(2, params.build_index.keep_indexes)}
    index = params.build_index.model_copy(update=exact)
    return params.model_copy(update={"version_documents": documents, "build_index": index})


def _unpack(path: Path, folder: Path) -> None:
    folder.mkdir(parents=True)
    try:
        with tarfile.open(path) as archive:
            archive.extractall(folder, filter="data")
    except (OSError, tarfile.TarError, EOFError) as error:
        raise InputError(f"{path} is no tarball that can be read ({error}).") from error


def _passages(root: Path) -> list[Passage]:
    rows = read_jsonl(Workspace(root).corpus / "passages.jsonl", "version-documents")
    return [Passage(**row) for row in rows]


def _is_whole(hits: Answer, by_index: Mapping[str, Mapping[str, Passage]]) -> bool:
    """Every passage is the one that the named index holds, and one index is named."""
    held = by_index.get(hits[0].index, {})
    return all(hit.index == hits[0].index and held.get(hit.passage.passage_id) == hit.passage for hit in hits)


def _first(hits: Answer) -> str | None:
    return hits[0].passage.passage_id if hits else None


def _are_alike(one: Answer, two: Answer) -> bool:
    """The same passages in the same order, word for word, and all scores the same to rounding.

    Elasticsearch adds up the scores of words in an order that depends on its segments: the last bit is its own.
    """
    passages = [[hit.passage for hit in hits] for hits in (one, two)]
    scores = [[hit.score for hit in hits] + [hit.bm25 or 0.0 for hit in hits] for hits in (one, two)]
    cosines = [[hit.cosine or 0.0 for hit in hits] for hits in (one, two)]
    return passages[0] == passages[1] and np.allclose(scores[0], scores[1]) and np.allclose(cosines[0], cosines[1])


def _times(name: str, values: Sequence[float]) -> dict[str, float | None]:
    return {f"{name}_p50": percentile(values, 50), f"{name}_p95": percentile(values, 95)}


def _now() -> datetime:
    return datetime.now(UTC)


def _tell_tenth(what: str, done: int, total: int) -> None:
    if done == total or (10 * done // total) != (10 * (done - 1) // total):
        tell(f"{what}: {done}/{total}")
