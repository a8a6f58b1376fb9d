"""Reranking in the retriever: the language that asks for it gets it, to its depth, and no other language pays."""

import secrets
from collections.abc import Iterator, Sequence

import numpy as np
import pytest
from elasticsearch import Elasticsearch
from numpy.typing import NDArray

from palier.adapters.onnx_cross_encoder import OnnxCrossEncoder
from palier.adapters.onnx_encoder import OnnxEncoder
from palier.adapters.search import HybridRetriever
from palier.adapters.search_index import create_index, delete_indexes, fill_index, finish_index, index_mapping
from palier.domain.answering import Question
from palier.domain.documents import Lang, Passage
from palier.errors import ParamsError
from palier.params import RetrievalParams
from tests.adapters.tiny_encoder import write_tiny_encoder
from tests.adapters.tiny_reranker import write_tiny_reranker

TEXTS: list[tuple[Lang, str]] = [
    ("en", "Regina Regina Regina, our pizza."),
    ("en", "The Regina costs twelve pounds in Leeds."),
    ("en", "In Leeds we open at noon."),
    ("fr", "La Regina coûte douze euros."),
    ("fr", "Regina, Regina, la pizza."),
]
PARAMS = RetrievalParams(k=3, candidates=20, dense_weight={"en": 0.0, "fr": 0.0})
WORDS = [word.strip(".,") for _, text in TEXTS for word in text.lower().split()]
ASKED = Question("Regina costs in Leeds", "en")

pytestmark = pytest.mark.service


class Watched:
    """A reranker that remembers what it was asked."""

    def __init__(self, reranker: OnnxCrossEncoder) -> None:
        self._reranker = reranker
        self.read: list[list[str]] = []

    def score(self, question: str, texts: Sequence[str]) -> NDArray[np.float32]:
        self.read.append(list(texts))
        return self._reranker.score(question, texts)


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> OnnxEncoder:
    return OnnxEncoder(write_tiny_encoder(tmp_path_factory.mktemp("encoder"), WORDS))


@pytest.fixture
def reranker(tmp_path_factory: pytest.TempPathFactory) -> Watched:
    return Watched(OnnxCrossEncoder(write_tiny_reranker(tmp_path_factory.mktemp("reranker"), WORDS)))


@pytest.fixture(scope="module")
def index(client: Elasticsearch, encoder: OnnxEncoder) -> Iterator[str]:
    name = f"passages-test-{secrets.token_hex(4)}-1"
    passages = [
        Passage(f"{lang}/page-{i}", f"{lang}/page-{i}", lang, f"Page {i}", "Top", text, 1, 1)
        for i, (lang, text) in enumerate(TEXTS)
    ]
    create_index(client, name, index_mapping("hnsw", encoder.dimensions), {})
    fill_index(client, name, passages, encoder.embed([passage.content for passage in passages]))
    finish_index(client, name, len(passages))
    yield name
    delete_indexes(client, [name])


def test_the_best_are_read_with_the_question_and_reordered(
    client: Elasticsearch, index: str, encoder: OnnxEncoder, reranker: Watched
):
    """The passage that shares most words comes first; the rest keep scores that fall, and say their logits."""
    params = PARAMS.model_copy(update={"rerank": {"en": 3}, "rerank_weight": {"en": 1.0}})
    hits = HybridRetriever(client, index, encoder, params, reranker).search(ASKED, 3)
    assert hits[0].passage.passage_id == "en/page-1"
    assert hits[0].rerank == 4.0
    assert [hit.rerank for hit in hits] == sorted((hit.rerank or 0.0 for hit in hits), reverse=True)
    assert [hit.score for hit in hits] == sorted((hit.score for hit in hits), reverse=True)
    (read,) = reranker.read
    assert {text.split("\n")[0] for text in read} == {"Page 0 > Top", "Page 1 > Top", "Page 2 > Top"}


def test_only_so_many_are_read_also_where_more_or_fewer_are_returned(
    client: Elasticsearch, index: str, encoder: OnnxEncoder, reranker: Watched
):
    plain = HybridRetriever(client, index, encoder, PARAMS).search(ASKED, 3)
    params = PARAMS.model_copy(update={"rerank": {"en": 2}, "rerank_weight": {"en": 1.0}})
    retriever = HybridRetriever(client, index, encoder, params, reranker)
    assert retriever.search(ASKED, 3)[2] == plain[2]
    assert retriever.search(ASKED, 1)[0] == retriever.search(ASKED, 3)[0]
    assert [len(texts) for texts in reranker.read] == [2, 2, 2]


def test_another_language_is_left_as_it_is_and_the_model_is_not_called(
    client: Elasticsearch, index: str, encoder: OnnxEncoder, reranker: Watched
):
    params = PARAMS.model_copy(update={"rerank": {"en": 3, "fr": 0}})
    question = Question("la Regina coûte", "fr")
    with_reranker = HybridRetriever(client, index, encoder, params, reranker).search(question, 3)
    assert with_reranker == HybridRetriever(client, index, encoder, PARAMS).search(question, 3)
    assert reranker.read == []


def test_params_that_rerank_without_a_reranker_are_refused(client: Elasticsearch, index: str, encoder: OnnxEncoder):
    params = PARAMS.model_copy(update={"rerank": {"fr": 5}})
    with pytest.raises(ParamsError, match=r"retrieval\.rerank is \{'fr': 5\}.*train-encoder"):
        HybridRetriever(client, index, encoder, params)
