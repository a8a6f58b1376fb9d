"""How good a ranking is for one question, with binary relevance.

Each function takes the ranked ids (best first, without repeats) and the relevant ones, and returns 0..1.
Formulas as in Manning, Raghavan & Schütze, *Introduction to Information Retrieval* (2008), chapter 8; nDCG after
Järvelin & Kekäläinen (2002) with gain 1 and discount log2(rank + 1). No relevant id at all is a ValueError: such a
question measures nothing and belongs left out before.
"""

from collections.abc import Collection, Sequence
from math import log2


def ndcg(ranked: Sequence[str], relevant: Collection[str], k: int = 10) -> float:
    """Discounted gain of the first ``k``, as a share of the best possible order's."""
    _require(relevant)
    gain = sum(1 / log2(rank + 2) for rank, key in enumerate(ranked[:k]) if key in relevant)
    best = sum(1 / log2(rank + 2) for rank in range(min(k, len(relevant))))
    return gain / best


def reciprocal_rank(ranked: Sequence[str], relevant: Collection[str], k: int = 10) -> float:
    """1 / rank of the first relevant id among the first ``k``, else 0."""
    _require(relevant)
    return next((1 / (rank + 1) for rank, key in enumerate(ranked[:k]) if key in relevant), 0.0)


def recall(ranked: Sequence[str], relevant: Collection[str], k: int) -> float:
    """Share of the relevant ids that stand among the first ``k``."""
    _require(relevant)
    return len(set(ranked[:k]) & set(relevant)) / len(set(relevant))


def hit(ranked: Sequence[str], relevant: Collection[str], k: int = 1) -> float:
    """1.0 when any relevant id stands among the first ``k``."""
    _require(relevant)
    return float(any(key in relevant for key in ranked[:k]))


def _require(relevant: Collection[str]) -> None:
    if not relevant:
        raise ValueError("No relevant ids: leave out questions without a gold passage.")
