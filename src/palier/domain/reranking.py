"""Puts retrieved passages into a better order, once a second model has read the best of them with the question.

Pure arithmetic on hits and marks: the marks come in as numbers, the model is not known here. The fused score keeps a
say, because the reranker never saw how rare a word is. The price: a passage past the depth cannot rise, however good.
"""

from collections.abc import Sequence
from dataclasses import replace

from palier.domain.answering import Hit
from palier.domain.fusion import min_max


def rerank(hits: Sequence[Hit], logits: Sequence[float], weight: float) -> list[Hit]:
    """``hits`` with as many of the first reordered as there are ``logits``; the others follow as they were.

    The reordered ones go by ``(1 - weight) * fused + weight * logit``, both after min-max among themselves, ties as
    they came. Their ``score`` is that blend laid between the best score of the others (0 without any) and 1, so that
    scores still fall down the list. Raises ValueError when there are more logits than hits.
    """
    if len(logits) > len(hits):
        raise ValueError(f"{len(logits)} logits for {len(hits)} hits: score only what was retrieved.")
    head, rest = hits[: len(logits)], hits[len(logits) :]
    fused = min_max({str(i): hit.score for i, hit in enumerate(head)})
    marks = min_max({str(i): float(logit) for i, logit in enumerate(logits)})
    floor = rest[0].score if rest else 0.0
    judged = []
    for i, (hit, logit) in enumerate(zip(head, logits, strict=True)):
        blend = (1 - weight) * fused[str(i)] + weight * marks[str(i)]
        judged.append(replace(hit, score=floor + (1 - floor) * blend, rerank=float(logit)))
    return sorted(judged, key=lambda hit: -hit.score) + list(rest)
