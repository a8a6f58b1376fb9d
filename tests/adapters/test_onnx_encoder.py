"""The encoder's vectors have unit length, and a text's vector does not depend on its neighbours."""

from pathlib import Path

import numpy as np
import pytest

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
