"""Texts into the token windows that the reader reads: [CLS] question [SEP] piece of a passage [SEP].

Training (torch) and serving (ONNX) both come through here, so that they can never cut a passage differently. Knows
the tokenizer and nothing of models. A passage longer than the window is read in overlapping pieces: each piece costs
one pass of the model.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer

from palier.errors import IntegrityError, NotReadyError

MAX_QUESTION_TOKENS = 64
"""The smallest ``max_tokens`` that a config allows leaves room for a passage beside it."""

STRIDE_SHARE = 0.5


@dataclass(frozen=True, slots=True)
class Window:
    """One input of the model. ``offsets`` holds (start, end) characters in the passage, -1 outside of it."""

    ids: NDArray[np.int64]  # (n,)
    type_ids: NDArray[np.int64]  # (n,)
    offsets: NDArray[np.int64]  # (n, 2)

    @property
    def in_passage(self) -> NDArray[np.bool_]:
        return self.offsets[:, 0] >= 0


class WindowCutter:
    """Cuts (question, passage) pairs with the tokenizer of ``folder`` (`tokenizer.json`)."""

    def __init__(self, folder: Path, max_tokens: int) -> None:
        path = folder / "tokenizer.json"
        if not path.is_file():
            raise NotReadyError(f"No tokenizer at {path}. Train the reader first: `palier train-reader`.")
        self._tokenizer = Tokenizer.from_file(str(path))
        self._tokenizer.no_padding()
        self._tokenizer.no_truncation()
        self._max_tokens = max_tokens
        self._cls, self._sep = self._token("[CLS]", path), self._token("[SEP]", path)

    def _token(self, mark: str, path: Path) -> int:
        number = self._tokenizer.token_to_id(mark)
        if number is None:
            raise IntegrityError(f"{path} has no {mark} token: it is not a BERT tokenizer. Use a BERT-like base.")
        return int(number)

    def windows(self, question: str, content: str) -> list[Window]:
        """At least one window; of an over-long question its end is kept (a follow-up's own words stand there)."""
        asked = self._tokenizer.encode(question, add_special_tokens=False).ids[-MAX_QUESTION_TOKENS:]
        read = self._tokenizer.encode(content, add_special_tokens=False)
        ids = np.asarray(read.ids, dtype=np.int64)
        offsets = np.asarray(read.offsets, dtype=np.int64).reshape(-1, 2)
        room = self._max_tokens - len(asked) - 3
        return [self._window(asked, ids[piece], offsets[piece]) for piece in _pieces(len(ids), room)]

    def _window(self, asked: list[int], ids: NDArray[np.int64], offsets: NDArray[np.int64]) -> Window:
        head = np.asarray([self._cls, *asked, self._sep], dtype=np.int64)
        outside = np.full((len(head), 2), -1, dtype=np.int64)
        types = np.zeros(len(head) + len(ids) + 1, dtype=np.int64)
        types[len(head) :] = 1
        return Window(
            ids=np.concatenate([head, ids, [self._sep]]),
            type_ids=types,
            offsets=np.concatenate([outside, offsets, outside[:1]]),
        )


def _pieces(n_tokens: int, room: int) -> Iterator[slice]:
    step = max(1, int(room * STRIDE_SHARE))
    start = 0
    while True:
        yield slice(start, start + room)
        if start + room >= n_tokens:
            return
        start += step


def padded(windows: list[Window]) -> dict[str, NDArray[np.int64]]:
    """Windows as one batch: `input_ids`, `attention_mask`, `token_type_ids`, each (n windows, longest)."""
    longest = max(len(window.ids) for window in windows)
    batch = {
        name: np.zeros((len(windows), longest), dtype=np.int64)
        for name in ("input_ids", "attention_mask", "token_type_ids")
    }
    for row, window in enumerate(windows):
        n = len(window.ids)
        batch["input_ids"][row, :n] = window.ids
        batch["attention_mask"][row, :n] = 1
        batch["token_type_ids"][row, :n] = window.type_ids
    return batch
