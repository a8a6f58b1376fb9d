"""Judges how well texts fit a question, question and text read together by an int8 cross-encoder.

Three judges are of this form: the reranker (does this passage answer it?), the verifier (is this claim a right
answer?), and the guard's classifier, which is told a language and reads a question (is it an attack?). No torch is
needed where it runs, and one thread is used, since requests run side by side. Which texts are judged, and what becomes
of the marks, is decided by who asks. Pairs go through one by one: int8 activations share one scale per batch, so in a
batch a mark would move with its neighbours, and batches are no faster on one thread. The price: of a pair past
``max_tokens`` the passage's end is not read.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from palier.adapters.reader_windows import Window, WindowCutter
from palier.errors import IntegrityError, NotReadyError
from palier.params import RetrievalParams

MODEL = "model.onnx"
CONFIG = "config.json"
CROSS_ENCODER_FILES = (MODEL, "tokenizer.json", CONFIG)
MAX_TOKENS = 224
"""Question, passage and marks together: a passage of 80 words under its headings fits, in French too."""


class CrossEncoderConfig(BaseModel):
    """`config.json` of a served cross-encoder."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    max_tokens: int = Field(default=MAX_TOKENS, ge=80, le=512)
    layers: int = Field(ge=1)


class PairCutter:
    """(question, passage) pairs as the model reads them; training and serving both come through here."""

    def __init__(self, folder: Path, max_tokens: int = MAX_TOKENS) -> None:
        self._cutter = WindowCutter(folder, max_tokens)

    def pair(self, question: str, text: str) -> Window:
        """``[CLS] question [SEP] text [SEP]``, the question's part of type 0, the text's cut to what fits.

        Of a question past 64 tokens its end is kept, as the reader does.
        """
        return self._cutter.windows(question, text)[0]


class OnnxCrossEncoder:
    """The cross-encoder of a folder with ``model.onnx``, ``tokenizer.json`` and ``config.json``. Thread-safe."""

    def __init__(self, folder: Path) -> None:
        missing = [name for name in CROSS_ENCODER_FILES if not (folder / name).is_file()]
        if missing:
            raise NotReadyError(
                f"{folder} lacks {', '.join(missing)}: run `palier train-encoder` with a train_encoder.reranker (or "
                "`palier train-reader` with a train_reader.verifier, `palier train-scorer` with guard.enabled), or "
                "fetch the release again."
            )
        config = _read_config(folder / CONFIG)
        self._cutter = PairCutter(folder, config.max_tokens)
        self._session = ort.InferenceSession(
            str(folder / MODEL), _session_options(), providers=["CPUExecutionProvider"]
        )

    def score(self, question: str, texts: Sequence[str]) -> NDArray[np.float32]:
        """One logit per text, float32 of shape (len(texts),), in their order; higher is more relevant.

        A text's logit is the same, to the bit, whatever else is judged with it.
        """
        logits = np.empty(len(texts), dtype=np.float32)
        for row, text in enumerate(texts):
            pair = self._cutter.pair(question, text)
            ids = pair.ids[None]
            inputs = {"input_ids": ids, "attention_mask": np.ones_like(ids), "token_type_ids": pair.type_ids[None]}
            logits[row] = self._session.run(None, inputs)[0][0]
        return logits


def reranker_for(params: RetrievalParams, folder: Path) -> OnnxCrossEncoder | None:
    """The reranker of ``folder`` where some language reranks; None, and nothing loaded, where none does."""
    return OnnxCrossEncoder(folder) if params.reranks else None


def cross_encoder_in(folder: Path) -> OnnxCrossEncoder | None:
    """The cross-encoder of ``folder``; None where the stage that fills it was told of none."""
    return OnnxCrossEncoder(folder) if (folder / MODEL).is_file() else None


def _read_config(path: Path) -> CrossEncoderConfig:
    try:
        return CrossEncoderConfig.model_validate_json(path.read_text(encoding="utf-8"))
    except ValidationError as error:
        problem = IntegrityError(f"{path} is no cross-encoder's config ({error}). Make the model again.")
        raise problem from error


def _session_options() -> ort.SessionOptions:
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    return options
