"""Search keeps to what documents state: the days they hold, and that two passages say the same; in every mode."""

from collections.abc import Iterator
from datetime import date, timedelta
from typing import get_args

import numpy as np
import pytest
from elasticsearch import Elasticsearch

from palier.adapters.onnx_cross_encoder import OnnxCrossEncoder
from palier.adapters.onnx_encoder import OnnxEncoder
from palier.adapters.search import HybridRetriever
from palier.adapters.search_index import create_index, delete_indexes, fill_index, finish_index, index_mapping
from palier.domain.answering import Question
from palier.domain.documents import Passage
from palier.domain.fusion import SearchMode
from palier.params import RetrievalParams
from tests.adapters.tiny_encoder import write_tiny_encoder
from tests.adapters.tiny_reranker import write_tiny_reranker

WORDS = ["the", "regina", "costs", "twelve", "pounds", "in", "leeds", "york", "bath", "at", "noon", "we", "open"]
PARAMS = RetrievalParams(
    k=3, candidates=60, dense_weight={"en": 0.5}, rerank={"en": 10}, rerank_weight={"en": 0.5}, exact_weight=0.5
)
MODES: tuple[SearchMode, ...] = get_args(SearchMode)
DAY = date(2026, 3, 1)
N_DATED = 40

pytestmark = pytest.mark.service


def day(offset: int | None) -> str | None:
    return None if offset is None else (DAY + timedelta(offset)).isoformat()


def passages() -> list[Passage]:
    """Three shops that say the same, one of them the original, one that says more, and many with dates around `DAY`."""
    same = "The Regina costs twelve pounds."
    shops = [
        Passage(f"en/{shop}", f"en/{shop}", "en", shop, "", same, 1, 1, duplicate_of=first)
        for shop, first in (("Leeds", None), ("York", "en/Leeds"), ("Bath", "en/Leeds"))
    ]
    rng = np.random.default_rng(3)
    dated = [
        Passage(f"en/dated-{i}", f"en/dated-{i}", "en", "", "", f"We open at noon, {i}.", 1, 1, None, day(a), day(b))
        for i in range(N_DATED)
        for a, b in [sorted(int(n) for n in rng.integers(-2, 3, 2))]
    ]
    halves = [
        Passage("en/from", "en/from", "en", "", "", "We open at noon.", 1, 1, None, day(1), None),
        Passage("en/until", "en/until", "en", "", "", "We open at noon.", 1, 1, None, None, day(-1)),
        Passage("fr/from", "fr/from", "fr", "", "", "We open at noon.", 1, 1),
    ]
    return [*shops, Passage("en/open", "en/open", "en", "", "", "In York we open at noon.", 1, 1), *dated, *halves]


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> OnnxEncoder:
    return OnnxEncoder(write_tiny_encoder(tmp_path_factory.mktemp("encoder"), WORDS))


@pytest.fixture(scope="module")
def reranker(tmp_path_factory: pytest.TempPathFactory) -> OnnxCrossEncoder:
    return OnnxCrossEncoder(write_tiny_reranker(tmp_path_factory.mktemp("reranker"), WORDS))


@pytest.fixture(scope="module")
def index(client: Elasticsearch, encoder: OnnxEncoder) -> Iterator[str]:
    name = "passages-test-as-stated"
    delete_indexes(client, [name])
    create_index(client, name, index_mapping("hnsw", encoder.dimensions), {})
    fill_index(client, name, passages(), encoder.embed([passage.content for passage in passages()]))
    finish_index(client, name, len(passages()))
    yield name
    delete_indexes(client, [name])


@pytest.fixture
def retriever(client: Elasticsearch, index: str, encoder: OnnxEncoder, reranker: OnnxCrossEncoder) -> HybridRetriever:
    return HybridRetriever(client, index, encoder, PARAMS, reranker)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("shop", ["Leeds", "York", "Bath"])
def test_of_shops_that_say_the_same_the_one_that_was_asked_about_is_found(
    retriever: HybridRetriever, mode: SearchMode, shop: str
):
    hits = retriever.search(Question(f"The Regina costs in {shop}", "en"), 60, mode)
    (hit,) = [hit for hit in hits if "Regina" in hit.passage.text]
    assert hit.passage.title == shop
    assert set(hit.near_duplicates) == {"en/Leeds", "en/York", "en/Bath"} - {hit.passage.passage_id}
    assert len({hit.passage.passage_id for hit in hits}) == len(hits)


@pytest.mark.parametrize("mode", MODES)
def test_twins_do_not_take_the_places_of_other_passages(retriever: HybridRetriever, mode: SearchMode):
    hits = retriever.search(Question("The Regina costs in York", "en"), 2, mode)
    assert len(hits) == 2
    assert sum("Regina" in hit.passage.text for hit in hits) == 1


def test_a_team_that_wants_all_twins_gets_them(client: Elasticsearch, index: str, encoder: OnnxEncoder):
    params = PARAMS.model_copy(update={"collapse_duplicates": False, "rerank": {}})
    hits = HybridRetriever(client, index, encoder, params).search(Question("The Regina costs in York", "en"), 3)
    assert {hit.passage.title for hit in hits} == {"Leeds", "York", "Bath"}
    assert all(hit.near_duplicates == () for hit in hits)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("offset", range(-3, 4))
def test_what_does_not_hold_on_the_day_is_not_found_and_the_rest_is(
    retriever: HybridRetriever, mode: SearchMode, offset: int
):
    """Checked against the plain rule: first day <= day <= last day, where they are stated."""
    asked = DAY + timedelta(offset)
    told = asked.isoformat()
    valid = {
        item.passage_id
        for item in passages()
        if item.lang == "en" and (item.valid_from or told) <= told <= (item.valid_until or told)
    }
    hits = retriever.search(Question("We open at noon in York: the Regina costs", "en", as_of=asked), 60, mode)
    assert {key for hit in hits for key in (hit.passage.passage_id, *hit.near_duplicates)} == valid


def test_without_a_day_and_for_a_team_that_does_not_look_at_dates_all_are_found(
    client: Elasticsearch, index: str, encoder: OnnxEncoder, retriever: HybridRetriever
):
    params = PARAMS.model_copy(update={"only_valid": False, "rerank": {}})
    dateless = HybridRetriever(client, index, encoder, params)
    for hits in (
        dateless.search(Question("We open at noon", "en", as_of=DAY + timedelta(300)), 60),
        retriever.search(Question("We open at noon", "en"), 60),
    ):
        assert sum(hit.passage.document_id.startswith("en/dated") for hit in hits) == N_DATED


def test_one_way_alone_asks_for_nothing_of_the_other(retriever: HybridRetriever):
    question = Question("We open at noon", "en")
    by_words, by_vectors = retriever.search(question, 5, "bm25"), retriever.search(question, 5, "dense")
    assert {(hit.bm25 is None, hit.cosine is None) for hit in by_words} == {(False, True)}
    assert {(hit.bm25 is None, hit.cosine is None) for hit in by_vectors} == {(True, False)}
    for hits in (by_words, by_vectors):
        scores = [hit.score for hit in hits]
        assert scores == sorted(scores, reverse=True)
        assert 0.0 <= scores[-1] <= scores[0] == 1.0
    assert all(hit.rerank is None for hit in retriever.search(question, 5, "hybrid"))
    assert any(hit.rerank is not None for hit in retriever.search(question, 5, "reranked"))
