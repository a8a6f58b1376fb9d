"""Remembers the vectors of the last texts, so that retrieval, guard and scorer embed a question once between them.

An encoder gives a text the same vector to the bit each time, so a remembered one changes nothing. The price: a few
hundred vectors in memory (half a megabyte).
"""

import threading
from collections import OrderedDict
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from palier.domain.scoring import TextEncoder

SIZE = 512


class RecentVectors:
    """An encoder in front of another one. Safe to use from several threads."""

    def __init__(self, encoder: TextEncoder, size: int = SIZE) -> None:
        self._encoder = encoder
        self._size = size
        self._known: OrderedDict[str, NDArray[np.float32]] = OrderedDict()
        self._lock = threading.Lock()

    def embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """As the encoder's own `embed`: float32 of shape (len(texts), dimensions), in the order of ``texts``."""
        wanted = list(dict.fromkeys(texts))
        with self._lock:
            found = {text: self._known[text] for text in wanted if text in self._known}
        missing = [text for text in wanted if text not in found]
        if missing or not texts:
            vectors = self._encoder.embed(missing)
            if not texts:
                return vectors
            found |= dict(zip(missing, vectors, strict=True))
        self._remember({text: found[text] for text in wanted})
        return np.stack([found[text] for text in texts])

    def _remember(self, vectors: dict[str, NDArray[np.float32]]) -> None:
        with self._lock:
            for text, vector in vectors.items():
                self._known[text] = vector
                self._known.move_to_end(text)
            while len(self._known) > self._size:
                self._known.popitem(last=False)
