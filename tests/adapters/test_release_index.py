"""A release reads only vectors of its own encoder, whenever the alias moves, and asks nothing extra per question."""

import logging
import threading
import time

import numpy as np
import pytest
from elasticsearch import Elasticsearch

from palier.adapters.index_fence import make_live
from palier.adapters.onnx_encoder import OnnxEncoder
from palier.adapters.release_index import RECHECK_S, ReleaseIndex
from palier.adapters.search import HybridRetriever
from palier.adapters.search_index import create_index, delete_indexes, fill_index, finish_index, index_mapping
from palier.domain.answering import Question
from palier.domain.documents import Passage
from palier.errors import SearchError
from palier.params import RetrievalParams
from tests.adapters.tiny_encoder import write_tiny_encoder

WORDS = ["pizza", "costs", "twelve", "open", "at", "noon"]
PARAMS = RetrievalParams(k=3, candidates=10, dense_weight={"en": 0.5})
ASKED = Question("pizza costs", "en")
SIZE_OF_ANOTHER = 8

pytestmark = pytest.mark.service


class Clock:
    """Seconds, moved by hand."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> OnnxEncoder:
    return OnnxEncoder(write_tiny_encoder(tmp_path_factory.mktemp("encoder"), WORDS))


@pytest.fixture
def clock() -> Clock:
    return Clock()


def build(client: Elasticsearch, alias: str, version: str, encoder_sha256: str, encoder: OnnxEncoder | None) -> str:
    """An index whose build mark names ``encoder_sha256``; without an ``encoder``, of vectors of another size."""
    name = f"passages-{alias}-{version}"
    texts = ["pizza costs twelve", "open at noon"]
    rows = [Passage(f"{i}#{version}", "en/page", "en", "", "", text, i, i) for i, text in enumerate(texts, 1)]
    vectors = encoder.embed(texts) if encoder else np.ones((2, SIZE_OF_ANOTHER), dtype=np.float32)
    meta = {"alias": alias, "settings": {"encoder_sha256": encoder_sha256}}
    create_index(client, name, index_mapping("hnsw", vectors.shape[1]), meta)
    fill_index(client, name, rows, vectors)
    finish_index(client, name, len(rows))
    return name


def retriever(client: Elasticsearch, alias: str, own: str, encoder: OnnxEncoder, clock: Clock) -> HybridRetriever:
    return HybridRetriever(client, ReleaseIndex(client, alias, own, encoder.sha256, clock), encoder, PARAMS)


def found_in(release: HybridRetriever) -> str:
    (index,) = {hit.index for hit in release.search(ASKED, 2)}
    return index


@pytest.mark.parametrize("is_of_another_size", [False, True], ids=["vectors that lie", "vectors of another size"])
def test_when_another_encoders_index_goes_live_the_very_next_question_goes_to_the_releases_own(
    client: Elasticsearch, alias: str, encoder: OnnxEncoder, clock: Clock, is_of_another_size: bool
):
    own = build(client, alias, "own", encoder.sha256, encoder)
    newer = build(client, alias, "newer", encoder.sha256, encoder)
    foreign = build(client, alias, "foreign", "f" * 64, None if is_of_another_size else encoder)
    release = retriever(client, alias, own, encoder, clock)
    make_live(client, alias, own, token=1)
    assert found_in(release) == own
    make_live(client, alias, newer, token=2)
    assert found_in(release) == newer
    make_live(client, alias, foreign, token=3)
    assert found_in(release) == own
    make_live(client, alias, newer, token=4)
    assert found_in(release) == own  # for a few seconds it does not look
    clock.now += RECHECK_S
    assert found_in(release) == newer


def test_an_index_is_asked_for_its_encoder_once_and_a_question_costs_one_request(
    client: Elasticsearch, alias: str, encoder: OnnxEncoder, clock: Clock, caplog: pytest.LogCaptureFixture
):
    own = build(client, alias, "own", encoder.sha256, encoder)
    newer = build(client, alias, "newer", encoder.sha256, encoder)
    foreign = build(client, alias, "foreign", "f" * 64, encoder)
    release = retriever(client, alias, own, encoder, clock)

    def requests(n_questions: int) -> list[str]:
        caplog.clear()
        with caplog.at_level(logging.INFO, logger="elastic_transport.transport"):
            for _ in range(n_questions):
                release.search(ASKED, 2)
        lines = [record.getMessage().split(" ")[1].split("/", 3)[3] for record in caplog.records]
        return [line.split("?")[0] for line in lines if line.startswith(("passages-", alias))]

    make_live(client, alias, newer, token=1)
    assert requests(5) == [f"{alias}/_msearch", f"{newer}/_mapping", *[f"{alias}/_msearch"] * 4]
    make_live(client, alias, foreign, token=2)
    assert requests(4) == [f"{alias}/_msearch", f"{foreign}/_mapping", *[f"{own}/_msearch"] * 4]
    clock.now += RECHECK_S
    assert requests(3) == [f"{alias}/_msearch", *[f"{own}/_msearch"] * 3]


def test_an_alias_that_is_gone_leaves_the_release_its_own_index(
    client: Elasticsearch, alias: str, encoder: OnnxEncoder, clock: Clock
):
    own = build(client, alias, "own", encoder.sha256, encoder)
    release = retriever(client, alias, own, encoder, clock)
    assert found_in(release) == own
    delete_indexes(client, [own])
    with pytest.raises(SearchError, match=rf"{own}[\s\S]*palier build-index"):
        release.search(ASKED, 2)


def test_a_refusal_that_has_another_cause_is_told_as_it_is(
    client: Elasticsearch, alias: str, encoder: OnnxEncoder, clock: Clock
):
    """The alias leads to our own encoder's vectors: a search that is refused there would be refused anywhere."""
    own = build(client, alias, "own", encoder.sha256, encoder)
    make_live(client, alias, own, token=1)
    index = ReleaseIndex(client, alias, own, encoder.sha256, clock)
    with pytest.raises(SearchError, match=rf"could not search {alias}"):
        HybridRetriever(client, index, encoder, PARAMS).search(ASKED, 20_000, "bm25")  # past the result window
    assert index.name() == alias


def test_under_load_no_answer_comes_from_another_encoders_index_and_none_fails(
    client: Elasticsearch, alias: str, encoder: OnnxEncoder
):
    """Twenty moves of the alias between readable and unreadable, three threads asking, looking again at once."""
    own = build(client, alias, "own", encoder.sha256, encoder)
    newer = build(client, alias, "newer", encoder.sha256, encoder)
    foreign = build(client, alias, "foreign", "f" * 64, None)
    make_live(client, alias, newer, token=1)
    ticks = iter(range(10**9))
    index = ReleaseIndex(client, alias, own, encoder.sha256, lambda: RECHECK_S * next(ticks) / 8)
    release = HybridRetriever(client, index, encoder, PARAMS)
    stop, seen, problems = threading.Event(), [], []

    def ask() -> None:
        while not stop.is_set():
            try:
                seen.append(found_in(release))
            except (SearchError, ValueError) as error:
                problems.append(error)

    threads = [threading.Thread(target=ask) for _ in range(3)]
    for thread in threads:
        thread.start()
    for turn in range(20):
        make_live(client, alias, (foreign, newer)[turn % 2], token=turn + 2)
        time.sleep(0.05)
    stop.set()
    for thread in threads:
        thread.join()
    assert problems == []
    assert set(seen) == {own, newer}
