"""The encoder's vectors have unit length, and a text's vector does not depend on its neighbours."""

from pathlib import Path

import numpy as np
import pytest

from palier.adapters.embedding_cache import embed_remembered
from palier.adapters.onnx_encoder import OnnxEncoder
from palier.errors import NotReadyError
from tests.adapters.tiny_encoder import write_tiny_encoder

WORDS = ["pizza", "price", "opening", "hours", "delivery", "late", "refund"]


@pytest.fixture
def encoder(tmp_path: Path) -> OnnxEncoder:
    return OnnxEncoder(write_tiny_encoder(tmp_path / "encoder", WORDS))


def test_vectors_are_unit_and_the_same_alone_or_in_company(encoder: OnnxEncoder):
    texts = ["pizza price", "opening hours delivery late refund " * 30, "pizza"]
    together = encoder.embed(texts)
    assert together.shape == (3, 384)
    assert together.dtype == np.float32
    assert np.linalg.norm(together, axis=1) == pytest.approx(1, abs=1e-5)
    assert all((encoder.embed([text])[0] == row).all() for text, row in zip(texts, together, strict=True))
    assert encoder.embed([]).shape == (0, 384)


def test_a_missing_file_names_the_command(tmp_path: Path):
    with pytest.raises(NotReadyError, match=r"model.onnx.*train-encoder"):
        OnnxEncoder(tmp_path)


def test_only_new_texts_are_embedded_and_vectors_stay_the_same(encoder: OnnxEncoder, tmp_path: Path):
    first = embed_remembered(encoder, ["pizza price", "late refund", "pizza price"], tmp_path)
    assert (first.n_embedded, first.n_reused) == (2, 0)
    again = embed_remembered(encoder, ["late refund", "opening hours"], tmp_path)
    assert (again.n_embedded, again.n_reused) == (1, 1)
    assert (again.vectors[0] == first.vectors[1]).all()


def test_a_broken_cache_file_is_made_again(encoder: OnnxEncoder, tmp_path: Path):
    embed_remembered(encoder, ["pizza"], tmp_path)
    (cache,) = tmp_path.glob("*.npz")
    cache.write_bytes(cache.read_bytes()[:100])
    assert embed_remembered(encoder, ["pizza"], tmp_path).n_embedded == 1
    assert embed_remembered(encoder, ["pizza"], tmp_path).n_reused == 1


def test_vectors_of_two_encoders_never_mix(encoder: OnnxEncoder, tmp_path: Path):
    embed_remembered(encoder, ["pizza"], tmp_path / "cache")
    other = OnnxEncoder(write_tiny_encoder(tmp_path / "other", WORDS, seed=1))
    assert other.sha256 != encoder.sha256
    assert embed_remembered(other, ["pizza"], tmp_path / "cache").n_embedded == 1
