"""Small collections of passages with questions that are, and that are not, about them: what guard and scorer start
from, and are measured with.

A pool is searched exactly, in memory, by the product's own fusion of BM25 and cosine, so that hundreds of pools need
no index each. The price: Elasticsearch's analysers find a little more than plain words do.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from palier.adapters.encoder_training import bm25_scores
from palier.domain.answering import Hit, Question
from palier.domain.documents import Lang, Passage
from palier.domain.fusion import fuse
from palier.domain.scoring import TextEncoder

N_HITS = 10
N_CANDIDATES = 50


@dataclass(frozen=True, slots=True)
class Pool:
    """Passages of one language, and questions about them."""

    name: str
    lang: Lang
    passages: tuple[Passage, ...]
    questions: tuple[str, ...]


def pools_of(
    passages: Sequence[Passage], questions: Sequence[tuple[str, str]], lang: Lang, *, least: int, most: int
) -> list[Pool]:
    """Documents dealt into pools of at least ``least`` passages (a last small one is left out), at most ``most`` of
    each kept. ``questions`` are (document id, question).
    """
    by_document: dict[str, list[Passage]] = {}
    for passage in passages:
        by_document.setdefault(passage.document_id, []).append(passage)
    found, names, held = [], [], 0
    for document in sorted(by_document):
        names.append(document)
        held += len(by_document[document])
        if held >= least:
            kept = [passage for name in names for passage in by_document[name]][:most]
            ids = {passage.document_id for passage in kept}
            asked = tuple(question for name, question in questions if name in ids)
            found.append(Pool(names[0], lang, tuple(kept), asked))
            names, held = [], 0
    return found


def hits_of(pool: Pool, questions: Sequence[Question], encoder: TextEncoder, dense_weight: float) -> list[list[Hit]]:
    """The best passages of ``pool`` for each question, as the retriever would give them."""
    texts = [passage.content for passage in pool.passages]
    asked = [question.standalone for question in questions]
    cosines = encoder.embed(asked) @ encoder.embed(texts).T
    words = bm25_scores(asked, texts)
    return [_hits(pool, bm25, cosine, dense_weight) for bm25, cosine in zip(words, cosines, strict=True)]


def _hits(pool: Pool, bm25: NDArray[np.float32], cosine: NDArray[np.float32], dense_weight: float) -> list[Hit]:
    passages = {str(place): passage for place, passage in enumerate(pool.passages)}
    lexical = {str(i): float(bm25[i]) for i in np.argsort(-bm25, kind="stable")[:N_CANDIDATES] if bm25[i] > 0}
    dense = {str(i): float(cosine[i]) for i in np.argsort(-cosine, kind="stable")[:N_CANDIDATES]}
    ranked = fuse(lexical, dense, dense_weight)[:N_HITS]
    return [Hit(passages[key], score, lexical.get(key), dense.get(key)) for key, score in ranked]
