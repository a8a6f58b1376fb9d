"""Search finds by words and by nearness, in the question's language, from one index at a time, or says why not."""

import threading
import time

import numpy as np
import pytest
from elasticsearch import Elasticsearch

from palier.adapters.index_fence import make_live
from palier.adapters.onnx_encoder import OnnxEncoder
from palier.adapters.search import HybridRetriever, connect
from palier.adapters.search_index import (
    aliased_index,
    create_index,
    fill_index,
    finish_index,
    index_mapping,
    index_meta,
    prune_indexes,
    reap_unfinished,
)
from palier.domain.answering import Question
from palier.domain.documents import Lang, Passage
from palier.errors import SearchError
from palier.params import RetrievalParams
from tests.adapters.tiny_encoder import write_tiny_encoder

TEXTS: list[tuple[Lang, str]] = [
    ("en", "The Regina pizza costs twelve pounds in Leeds."),
    ("en", "Opening hours on bank holidays: noon to ten."),
    ("en", "Complaints need a photo within one day."),
    ("fr", "La pizza Regina coûte douze euros à Lyon."),
    ("fr", "Horaires d'été : ouvert jusqu'à minuit le samedi."),
    ("fr", "Pizza Regina menu in Leeds: voir la carte anglaise."),
]
PARAMS = RetrievalParams(k=3, candidates=20, dense_weight={"en": 0.4, "fr": 0.3})

pytestmark = pytest.mark.service


def passages(version: int = 1) -> list[Passage]:
    return [
        Passage(f"{lang}/page-{i}#v{version}", f"{lang}/page-{i}", lang, f"Page {i}", "Top > Sub", text, 3, 4)
        for i, (lang, text) in enumerate(TEXTS)
    ]


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> OnnxEncoder:
    words = [word.strip(".:,") for _, text in TEXTS for word in text.lower().split()]
    return OnnxEncoder(write_tiny_encoder(tmp_path_factory.mktemp("encoder"), words))


def build(client: Elasticsearch, alias: str, encoder: OnnxEncoder, version: int = 1) -> str:
    name, chosen = f"passages-{alias}-{version}", passages(version)
    create_index(client, name, index_mapping("hnsw", encoder.dimensions), {"alias": alias})
    fill_index(client, name, chosen, encoder.embed([passage.content for passage in chosen]))
    finish_index(client, name, len(chosen))
    return name


def test_hits_hold_the_passage_and_both_scores_best_first(client: Elasticsearch, alias: str, encoder: OnnxEncoder):
    index = build(client, alias, encoder)
    hits = HybridRetriever(client, index, encoder, PARAMS).search(Question("price of the Regina in Leeds", "en"), 3)
    assert hits[0].passage == passages()[0]
    assert hits[0].score == 1.0
    assert hits[0].bm25 is not None
    assert hits[0].bm25 > 0
    expected = float(encoder.embed(["price of the Regina in Leeds"])[0] @ encoder.embed([passages()[0].content])[0])
    assert hits[0].cosine == pytest.approx(expected, abs=1e-4)
    assert [hit.score for hit in hits] == sorted((hit.score for hit in hits), reverse=True)


def test_only_passages_in_the_language_of_the_question_are_found(
    client: Elasticsearch, alias: str, encoder: OnnxEncoder
):
    retriever = HybridRetriever(client, build(client, alias, encoder), encoder, PARAMS)
    for lang in ("en", "fr"):
        hits = retriever.search(Question("pizza Regina Leeds", lang), 10)
        assert len(hits) == 3
        assert {hit.passage.lang for hit in hits} == {lang}


def test_words_are_found_by_their_stem_and_without_accents(client: Elasticsearch, alias: str, encoder: OnnxEncoder):
    """The tiny encoder does not know these forms: only the analysers can have found them."""
    retriever = HybridRetriever(client, build(client, alias, encoder), encoder, PARAMS)
    found = {
        text: retriever.candidates(Question(text, lang)).bm25
        for text, lang in (("costing", "en"), ("horaire ete", "fr"))
    }
    assert "en/page-0#v1" in found["costing"]
    assert max(found["horaire ete"], key=found["horaire ete"].__getitem__) == "fr/page-4#v1"


def test_a_question_without_any_known_word_still_gets_the_nearest(
    client: Elasticsearch, alias: str, encoder: OnnxEncoder
):
    hits = HybridRetriever(client, build(client, alias, encoder), encoder, PARAMS).search(Question("xyzzy", "en"), 2)
    assert len(hits) == 2
    assert all(hit.bm25 is None for hit in hits)


def test_an_index_that_is_missing_is_told_with_the_remedy(client: Elasticsearch, encoder: OnnxEncoder):
    retriever = HybridRetriever(client, "passages-nowhere", encoder, PARAMS)
    with pytest.raises(SearchError, match=r"passages-nowhere[\s\S]*palier build-index"):
        retriever.search(Question("anything", "en"), 3)


def test_a_server_that_is_away_is_told_soon_with_url_and_remedy(encoder: OnnxEncoder):
    with connect("http://127.0.0.1:9", timeout_s=0.5) as client:
        started = time.monotonic()
        with pytest.raises(SearchError, match=r"http://127\.0\.0\.1:9 .*palier services up"):
            HybridRetriever(client, "passages", encoder, PARAMS).search(Question("anything", "en"), 3)
        assert time.monotonic() - started < 5


def test_passages_that_the_server_refuses_are_named(client: Elasticsearch, alias: str, encoder: OnnxEncoder):
    name = f"passages-{alias}-1"
    create_index(client, name, index_mapping("hnsw", encoder.dimensions), {"alias": alias})
    vectors = encoder.embed([passage.content for passage in passages()])
    vectors[2] = np.zeros(encoder.dimensions)  # cosine refuses a vector without direction
    with pytest.raises(SearchError, match=r"refused 1 of 6 passages[\s\S]*en/page-2"):
        fill_index(client, name, passages(), vectors)


def test_an_index_with_too_few_passages_is_not_finished(client: Elasticsearch, alias: str, encoder: OnnxEncoder):
    name = f"passages-{alias}-1"
    create_index(client, name, index_mapping("hnsw", encoder.dimensions), {"alias": alias})
    fill_index(client, name, passages()[:4], encoder.embed([p.content for p in passages()[:4]]))
    with pytest.raises(SearchError, match="holds 4 passages, expected 6"):
        finish_index(client, name, 6)
    assert not (index_meta(client, name) or {})["complete"]
    assert reap_unfinished(client, alias) == [name]
    assert index_meta(client, name) is None


def test_no_question_fails_or_mixes_versions_while_the_alias_moves(
    client: Elasticsearch, alias: str, encoder: OnnxEncoder
):
    """Fifteen swaps under load: every answer comes whole from one of the two versions."""
    indexes = [build(client, alias, encoder, version) for version in (1, 2)]
    make_live(client, alias, indexes[0], token=1)
    retriever, stop, seen, problems = HybridRetriever(client, alias, encoder, PARAMS), threading.Event(), [], []

    def ask() -> None:
        while not stop.is_set():
            try:
                found = retriever.candidates(Question("pizza Regina Leeds", "en"))
                seen.append((found.index, {key[-2:] for key in found.passages}))
            except SearchError as error:
                problems.append(error)

    threads = [threading.Thread(target=ask) for _ in range(3)]
    for thread in threads:
        thread.start()
    for turn in range(16):
        make_live(client, alias, indexes[(turn + 1) % 2], token=turn + 2)
        time.sleep(0.02)
    stop.set()
    for thread in threads:
        thread.join()
    assert problems == []
    assert len(seen) > 16
    assert {(index, *versions) for index, versions in seen} == {(indexes[0], "v1"), (indexes[1], "v2")}
    assert aliased_index(client, alias) == indexes[0]


def test_pruning_keeps_the_newest_the_protected_and_the_one_behind_an_alias(
    client: Elasticsearch, alias: str, encoder: OnnxEncoder
):
    names = [build(client, alias, encoder, version) for version in range(1, 6)]
    make_live(client, alias, names[0], token=1)
    deleted = prune_indexes(client, alias, keep=2, protected=frozenset({names[1]}))
    assert deleted == [names[2]]
    assert [index_meta(client, name) is not None for name in names] == [True, True, False, True, True]


def test_pruning_leaves_indexes_of_other_aliases_alone(client: Elasticsearch, alias: str, encoder: OnnxEncoder):
    name = build(client, alias, encoder)
    assert prune_indexes(client, "another-alias", keep=1, protected=frozenset()) == []
    assert index_meta(client, name) is not None
