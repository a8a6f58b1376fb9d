"""The reader as it is served: an int8 ONNX model that marks the span of a passage that answers a question.

Loads onnxruntime, tokenizers and numpy, and nothing that trains. One intra-op thread: with more, two requests at a
time are slower than one after the other. Windows go through the model one by one, because int8 activations are scaled
per batch: an answer must not change with the passages beside it. The price is a little speed on many short passages.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnxruntime
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from palier.adapters.reader_windows import Window, WindowCutter, padded
from palier.domain.span_choice import choose_spans
from palier.domain.spans import block_answer, span_answer
from palier.errors import IntegrityError, NotReadyError

CONFIG = "config.json"
MODEL = "model.onnx"
SPANS_PER_PASSAGE = 2


class ReaderConfig(BaseModel):
    """What a reader needs beside its weights; written by training, read with the model."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    max_tokens: int = Field(ge=128, le=512)
    answer_tokens: int = Field(default=32, gt=0)
    block_tokens: int = Field(default=256, gt=0)
    null_threshold: float = 0.0
    """An answer whose margin is below this is "no answer here"; chosen on validation questions."""
    kind_weight: float = 0.5
    """How much the answer's kind weighs against its span, in the margin."""


@dataclass(frozen=True, slots=True)
class Reading:
    """A span that may answer: characters ``start`` to ``end`` of the passage, ``text`` as it would be said.

    ``score`` (of all that the window may answer, or for a second reading of what is left of it) and ``null_score`` are
    logits, as means of start and end; their difference is the margin. ``expected_f1`` is the token F1 that the reader
    expects of this place if the window answers at all. A block is a whole list or table: its text is the items joined
    by "; ".
    """

    passage_index: int
    text: str
    start: int
    end: int
    score: float
    null_score: float
    expected_f1: float
    is_block: bool

    @property
    def margin(self) -> float:
        """Log-odds of "the answer is here" against "no answer here", up to calibration."""
        return self.score - self.null_score


class OnnxReader:
    """Reads passages with the model of ``folder`` (`model.onnx`, `tokenizer.json`, `config.json`).

    Safe to use from several threads. Raises NotReadyError when a file is absent, IntegrityError when one is broken.
    """

    def __init__(self, folder: Path, model: str = MODEL) -> None:
        if not (folder / model).is_file():
            raise NotReadyError(f"No reader at {folder / model}. Train it first: `palier train-reader`.")
        try:
            self.config = ReaderConfig.model_validate(json.loads((folder / CONFIG).read_text(encoding="utf-8")))
        except (OSError, ValueError, ValidationError) as error:
            problem = IntegrityError(f"{folder / CONFIG} is no reader's config ({error}). Train the reader again.")
            raise problem from error
        self._cutter = WindowCutter(folder, self.config.max_tokens)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        options.inter_op_num_threads = 1
        self._session = onnxruntime.InferenceSession(str(folder / model), options, providers=["CPUExecutionProvider"])

    def read(self, question: str, contents: Sequence[str]) -> list[Reading]:
        """Up to two readings per passage, best margin first; empty only when there is no passage with words."""
        readings = [
            reading
            for index, content in enumerate(contents)
            for reading in self._read_passage(question, index, content)
        ]
        return sorted(readings, key=lambda reading: -reading.margin)

    def _read_passage(self, question: str, index: int, content: str) -> list[Reading]:
        found = [
            reading
            for window in self._cutter.windows(question, content)
            if window.in_passage.any()
            for reading in self._read_window(index, content, window)
        ]
        best: list[Reading] = []
        for reading in sorted(found, key=lambda reading: -reading.margin):
            if all(reading.end <= kept.start or reading.start >= kept.end for kept in best):
                best.append(reading)
        return best[:SPANS_PER_PASSAGE]

    def _read_window(self, index: int, content: str, window: Window) -> list[Reading]:
        start, end, kind = (out[0] for out in self._session.run(None, dict(padded([window]))))
        is_block = bool(kind[2] > kind[1])
        longest = self.config.block_tokens if is_block else self.config.answer_tokens
        some = self.config.kind_weight * float(np.logaddexp(kind[1], kind[2]))
        null = float(start[0] + end[0]) / 2 + self.config.kind_weight * float(kind[0])
        readings = []
        for span in choose_spans(start, end, window.in_passage, longest, SPANS_PER_PASSAGE):
            first, last = int(window.offsets[span.first, 0]), int(window.offsets[span.last, 1])
            text = block_answer(content, first, last) if is_block else span_answer(content, first, last)
            readings.append(Reading(index, text, first, last, span.score + some, null, span.expected_f1, is_block))
        return readings
