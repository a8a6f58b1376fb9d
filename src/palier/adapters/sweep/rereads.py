"""What reranking would change: the reranker reads each (question, passage) pair once, and every blend is worked out.

Knows one base configuration's hits; whether reranking pays is decided by `domain.retrieval_choice`. Marks and their
time are remembered by the pair. The price: the time of a depth is told from the time of the deepest reading, pair by
pair, since pairs are read one after the other.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from palier.adapters.remembered import Remembered, content_key
from palier.adapters.search import HybridRetriever, Reranker
from palier.domain.answering import Hit, Question
from palier.domain.reranking import rerank
from palier.domain.retrieval_choice import Reread
from palier.domain.retrieval_sweep import Scores, ranking_scores

Progress = Callable[[int, int, str], None]


@dataclass(frozen=True)
class RereadScores:
    """``scores`` of shape (metrics, rereads, questions), and milliseconds for one passage (median over questions)."""

    scores: Scores
    ms_per_passage: float


class RereadTrials:
    """Rereads hits with ``reranker``, which ``fingerprint`` names."""

    def __init__(self, reranker: Reranker, fingerprint: str, memory: Remembered) -> None:
        self._reranker = reranker
        self._fingerprint = fingerprint
        self._memory = memory

    def score(
        self,
        retriever: HybridRetriever,
        questions: Mapping[str, Question],
        gold: Mapping[str, frozenset[str]],
        rereads: Sequence[Reread],
        progress: Progress,
    ) -> RereadScores:
        """Each of ``rereads`` on each of ``questions``, over what ``retriever`` finds without reranking."""
        deepest = max(reread.depth for reread in rereads)
        columns, times = [], []
        for done, (row_id, question) in enumerate(questions.items(), 1):
            hits = retriever.search(question, max(10, deepest))
            logits, ms = self._read(question, hits[:deepest])
            columns.append([_scores(hits, logits, reread, gold[row_id]) for reread in rereads])
            times.append(ms / max(1, len(logits)))
            progress(done, len(questions), f"rerank {question.lang}")
        return RereadScores(np.array(columns).transpose(2, 1, 0), float(np.median(times)) if times else 0.0)

    def _read(self, question: Question, hits: Sequence[Hit]) -> tuple[list[float], float]:
        texts = [hit.passage.content for hit in hits]
        key = content_key("marks", self._fingerprint, question.standalone, texts)
        known = self._memory.get(key)
        if known is None:
            started = time.perf_counter()
            logits = self._reranker.score(question.standalone, texts).tolist()
            known = {"logits": logits, "ms": 1000 * (time.perf_counter() - started)}
            self._memory.put(key, known)
        return known["logits"], known["ms"]


def _scores(
    hits: Sequence[Hit], logits: Sequence[float], reread: Reread, relevant: frozenset[str]
) -> tuple[float, float, float]:
    ranked = rerank(hits, logits[: reread.depth], reread.weight)
    return ranking_scores([hit.passage.passage_id for hit in ranked], relevant)
