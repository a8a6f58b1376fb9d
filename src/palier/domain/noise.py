"""What happens to a question on its way: typing errors, no accents, capitals, passages beside the point.

Pure: text, passages and a random generator in, the same with noise out; how much worse answers become is measured
elsewhere. The same generator state gives the same noise. The price: typing errors are three plain slips (two letters
swapped, one left out, one typed twice), not those of a keyboard or of a learner of the language.
"""

import re
import unicodedata
from collections.abc import Sequence
from dataclasses import replace
from typing import Literal, get_args

import numpy as np

from palier.domain.answering import Hit, Question

Noise = Literal["typos", "no_accents", "upper_case", "padding"]
NOISES: tuple[Noise, ...] = get_args(Noise)

_WORD = re.compile(r"[^\W\d_]{4,}")
"""What is misspelt: words of at least four letters; a slip in a figure would make another question."""


def noisy_question(question: Question, noise: Noise, typo_share: float, rng: np.random.Generator) -> Question:
    """``question`` as somebody might type it; as it is under ``padding``, which concerns passages.

    ``typo_share`` is the share of longer words with a slip, at least one. The conversation before stays untouched.
    """
    if noise == "typos":
        return replace(question, text=with_typos(question.text, typo_share, rng))
    if noise == "no_accents":
        return replace(question, text=without_accents(question.text))
    return replace(question, text=question.text.upper()) if noise == "upper_case" else question


def with_typos(text: str, share: float, rng: np.random.Generator) -> str:
    """``text`` with a slip in ``share`` (0..1) of its longer words, at least in one where there is one."""
    words = list(_WORD.finditer(text))
    if not words:
        return text
    n = max(1, round(share * len(words)))
    # From the end: a slip changes the length, and so the place of every word after it.
    for i in sorted(rng.choice(len(words), size=n, replace=False).tolist(), reverse=True):
        start, end = words[i].span()
        text = text[:start] + _slip(words[i].group(), rng) + text[end:]
    return text


def _slip(word: str, rng: np.random.Generator) -> str:
    """One letter after the first left out, typed twice, or swapped with the next one that differs."""
    at = int(rng.integers(1, len(word) - 1))
    kind = int(rng.integers(3))
    if kind == 0 and word[at] != word[at + 1]:
        return word[:at] + word[at + 1] + word[at] + word[at + 2 :]
    return word[:at] + word[at + 1 :] if kind == 1 else word[:at] + word[at] + word[at:]


def without_accents(text: str) -> str:
    """``text`` with every accented letter as the bare one, and "œ" as "oe"."""
    bare = "".join(letter for letter in unicodedata.normalize("NFKD", text) if not unicodedata.combining(letter))
    return bare.replace("œ", "oe").replace("Œ", "OE")


def padded(hits: Sequence[Hit], pool: Sequence[Hit], rng: np.random.Generator) -> list[Hit]:
    """``hits`` with a passage of another document after each, drawn from ``pool``: half of what a rung reads is beside
    the point.

    A padding takes over the score of the hit before it. Where the pool has too few passages of other documents in the
    language of the hits, the last hits stay without.
    """
    documents = {hit.passage.document_id for hit in hits}
    langs = {hit.passage.lang for hit in hits}
    known = {hit.passage.passage_id: hit for hit in pool}
    others = [hit for hit in known.values() if hit.passage.document_id not in documents and hit.passage.lang in langs]
    drawn = [others[i] for i in rng.permutation(len(others))[: len(hits)].tolist()]
    mixed: list[Hit] = []
    for i, hit in enumerate(hits):
        mixed.append(hit)
        if i < len(drawn):
            mixed.append(replace(drawn[i], score=hit.score, bm25=None, cosine=None, rerank=None))
    return mixed
