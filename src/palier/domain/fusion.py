"""Joins two rankings into one: scores (or ranks) of each are brought to 0..1 and added with a weight per language.

Pure arithmetic on (id, score) pairs; where they come from is not known here. Fused in the client, because the server's
own rank fusion needs a paid licence. The price: both ways look only at the candidates of one question, so
fused scores of two questions cannot be compared; the raw scores travel beside them for that.
"""

from collections.abc import Mapping
from typing import Literal

Fusion = Literal["min_max", "rrf"]
SearchMode = Literal["bm25", "dense", "hybrid", "reranked"]
"""Words alone, vectors alone, both fused, and the fused ones read again with the question."""
RRF_CONSTANT = 60
"""Where nothing else was chosen: the constant of Cormack, Clarke & Büttcher (2009)."""


def min_max(scores: Mapping[str, float]) -> dict[str, float]:
    """Scores mapped to 0..1 within the mapping; all 1.0 when they are equal."""
    if not scores:
        return {}
    low, high = min(scores.values()), max(scores.values())
    if high == low:
        return dict.fromkeys(scores, 1.0)
    return {key: (score - low) / (high - low) for key, score in scores.items()}


def reciprocal_ranks(scores: Mapping[str, float], constant: int) -> dict[str, float]:
    """``(constant + 1) / (constant + rank)``, ranks from 1 by falling score, ties in the order of their ids.

    1 / (constant + rank) is from Cormack, Clarke & Büttcher (2009), *Reciprocal rank fusion outperforms Condorcet*;
    the factor changes no order and puts the best at 1.0, so that fused scores stay in 0..1.
    """
    ranked = sorted(scores, key=lambda key: (-scores[key], key))
    return {key: (constant + 1) / (constant + rank) for rank, key in enumerate(ranked, 1)}


def fuse(
    lexical: Mapping[str, float],
    dense: Mapping[str, float],
    dense_weight: float,
    fusion: Fusion = "min_max",
    rrf_constant: int = RRF_CONSTANT,
    *,
    wording: Mapping[str, float] | None = None,
    wording_weight: float = 0.0,
) -> list[tuple[str, float]]:
    """(id, score) best first: ``(1 - w) * lexical + w * dense``, both by min-max or by reciprocal rank.

    With ``wording`` (0..1 for each id, see `domain.wording`) the lexical side is ``(1 - v) * lexical + v * wording``,
    v its weight.

    An absent id counts as 0. Where one side is empty the other one decides alone, whatever the weight. Ties keep the
    order of their ids, so that the result does not depend on the order of arrival.
    """
    if not lexical or not dense:
        dense_weight = 0.0 if lexical else 1.0
    if fusion == "rrf":
        left, right = reciprocal_ranks(lexical, rrf_constant), reciprocal_ranks(dense, rrf_constant)
    else:
        left, right = min_max(lexical), min_max(dense)
    if wording:
        held = {key: (1 - wording_weight) * left.get(key, 0.0) for key in left.keys() | right.keys()}
        left = {key: value + wording_weight * wording[key] for key, value in held.items()}
    fused = {
        key: (1 - dense_weight) * left.get(key, 0.0) + dense_weight * right.get(key, 0.0)
        for key in left.keys() | right.keys()
    }
    return sorted(fused.items(), key=lambda item: (-item[1], item[0]))
