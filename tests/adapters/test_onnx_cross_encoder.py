"""The served reranker: marks do not depend on neighbours, long texts are cut, what is missing is named."""

from pathlib import Path

import numpy as np
import pytest

from palier.adapters.onnx_cross_encoder import OnnxCrossEncoder, PairCutter, reranker_for
from palier.errors import IntegrityError, NotReadyError
from palier.params import RetrievalParams
from tests.adapters.tiny_reranker import write_tiny_reranker

WORDS = ["what", "does", "the", "regina", "cost", "twelve", "pounds", "noon", "photo"]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_tiny_reranker(tmp_path / "reranker", WORDS, max_tokens=80)


def test_one_mark_per_text_in_their_order(folder: Path):
    marks = OnnxCrossEncoder(folder).score(
        "What does the Regina cost?", ["The Regina: twelve", "noon", "Regina cost cost"]
    )
    assert marks.dtype == np.float32
    assert marks.tolist() == [2.0, 0.0, 2.0]


def test_no_text_gives_no_mark(folder: Path):
    assert OnnxCrossEncoder(folder).score("What?", []).shape == (0,)


def test_a_question_is_of_type_0_and_its_text_of_type_1(folder: Path):
    pair = PairCutter(folder, 80).pair("regina cost", "twelve pounds noon")
    assert pair.ids.tolist() == [1, *[3 + sorted(WORDS).index(word) for word in ("regina", "cost")], 2] + [
        3 + sorted(WORDS).index(word) for word in ("twelve", "pounds", "noon")
    ] + [2]
    assert pair.type_ids.tolist() == [0, 0, 0, 0, 1, 1, 1, 1]


def test_a_text_past_the_window_is_cut_and_so_is_a_question(folder: Path):
    """The end of a text is not read; of a long question the end is."""
    reranker = OnnxCrossEncoder(folder)
    assert reranker.score("photo", ["noon " * 100 + "photo"]).tolist() == [0.0]
    assert reranker.score("noon " * 100 + "photo", ["photo"]).tolist() == [1.0]
    assert len(PairCutter(folder, 80).pair("noon " * 100, "noon " * 100).ids) == 80


def test_missing_files_are_named_with_the_remedy(folder: Path):
    (folder / "tokenizer.json").unlink()
    with pytest.raises(NotReadyError, match=r"lacks tokenizer\.json.*train-encoder"):
        OnnxCrossEncoder(folder)


def test_a_broken_config_is_refused(folder: Path):
    (folder / "config.json").write_text('{"max_tokens": "many"}', encoding="utf-8")
    with pytest.raises(IntegrityError, match=r"config\.json is no cross-encoder's config"):
        OnnxCrossEncoder(folder)


def test_nothing_is_loaded_where_no_language_reranks(tmp_path: Path, folder: Path):
    params = RetrievalParams(k=3, candidates=20, dense_weight={"en": 0.4})
    assert reranker_for(params, tmp_path / "nowhere") is None
    assert reranker_for(params.model_copy(update={"rerank": {"en": 0, "fr": 0}}), tmp_path / "nowhere") is None
    reranking = params.model_copy(update={"rerank": {"fr": 5}})
    assert isinstance(reranker_for(reranking, folder), OnnxCrossEncoder)
    with pytest.raises(NotReadyError, match="nowhere lacks"):
        reranker_for(reranking, tmp_path / "nowhere")
