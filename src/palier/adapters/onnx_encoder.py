"""Turns texts into unit vectors with an int8 ONNX sentence encoder, on one thread.

The only encoder that answers questions: no torch is needed where it runs. Mean pooling and unit length are part of
the graph, so vectors cannot depend on who loads it. Texts go through one by one: int8 activations share one scale per
batch, so in a batch a vector moves with its neighbours (cosines of .984 to itself were seen), and on one thread
batches were slower as well. The price: a text past ``max_tokens`` is cut, without a word.
"""

import hashlib
import json
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray
from tokenizers import Tokenizer

from palier.errors import NotReadyError

ENCODER_FILES = ("model.onnx", "tokenizer.json", "config.json")


class OnnxEncoder:
    """The encoder of a folder with ``model.onnx``, ``tokenizer.json`` and ``config.json``. Thread-safe."""

    def __init__(self, folder: Path) -> None:
        missing = [name for name in ENCODER_FILES if not (folder / name).is_file()]
        if missing:
            raise NotReadyError(
                f"{folder} lacks {', '.join(missing)}: run `palier train-encoder`, or fetch the release again."
            )
        self.folder = folder
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        self.dimensions: int = config["dimensions"]
        self._tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        self._tokenizer.enable_truncation(config["max_tokens"])
        self._tokenizer.no_padding()
        self._session = ort.InferenceSession(
            str(folder / "model.onnx"), _session_options(), providers=["CPUExecutionProvider"]
        )

    @cached_property
    def sha256(self) -> str:
        """Of all three files: two encoders with the same hash give the same vectors."""
        digest = hashlib.sha256()
        for name in ENCODER_FILES:
            digest.update(hashlib.sha256((self.folder / name).read_bytes()).digest())
        return digest.hexdigest()

    def embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Vectors of unit length, float32 of shape (len(texts), dimensions), in the order of ``texts``.

        A text's vector is the same, to the bit, whatever else is embedded with it.
        """
        vectors = np.empty((len(texts), self.dimensions), dtype=np.float32)
        for row, encoding in enumerate(self._tokenizer.encode_batch_fast(list(texts))):
            ids = np.array([encoding.ids], dtype=np.int64)
            inputs = {"input_ids": ids, "attention_mask": np.ones_like(ids)}
            vectors[row] = self._session.run(None, inputs)[0][0]
        return vectors


def _session_options() -> ort.SessionOptions:
    """One thread: requests run side by side, and two threads per request are slower under load."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    return options
