"""Questions, passages and an encoder that the tests of answering, prompting and scoring share."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from palier.domain.answering import Hit
from palier.domain.documents import Lang, Passage


def hit(text: str, name: str = "menu", score: float = 0.5, lang: Lang = "en", **scores: float) -> Hit:
    """A hit on one passage of the document ``name``."""
    passage = Passage(f"{name}#1", name, lang, name.capitalize(), "", text, 1, 1 + text.count("\n"))
    return Hit(passage, score, **scores)


class CountEncoder:
    """A real, small encoder: letter counts of each text, scaled to length 1, shape (n, 26)."""

    def embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
        counts = np.array(
            [[text.casefold().count(chr(ord("a") + i)) for i in range(26)] for text in texts], dtype=np.float32
        )
        return counts / np.maximum(np.linalg.norm(counts, axis=1, keepdims=True), 1e-9)
