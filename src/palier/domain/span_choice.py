"""Which tokens of a passage to say, from a reader's logits of their being the first and the last of the answer.

The likeliest span is often one of several that say nearly the same ("1258", "en 1258", "le 11 mai 1258"), and not the
one that agrees best with the rest. So the span of highest expected F1 is taken, where the reader's own probabilities
say what the answer may be: a minimum-Bayes-risk decision, as Kumar and Byrne (2004) took for translation.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

N_ENDS = 12
"""Best first tokens, and best last ones, that are paired with each other."""


@dataclass(frozen=True, slots=True)
class LikelySpan:
    """Tokens ``first`` to ``last``, which speak for all candidates that overlap them.

    ``score`` is half the logarithm of what those weigh together, exp(start + end) each: the unit is that of a mean of
    two logits. ``expected_f1`` is the token F1 (0 to 1) to expect if one of the candidates is the answer.
    """

    first: int
    last: int
    score: float
    expected_f1: float


def choose_spans(
    start: NDArray[np.float32], end: NDArray[np.float32], allowed: NDArray[np.bool_], longest: int, count: int
) -> list[LikelySpan]:
    """At most ``count`` spans that do not overlap, best expected F1 first; what one speaks for is gone for the next.

    ``start`` and ``end`` are logits of each token, ``allowed`` says which ones may be answered with (one at least), and
    no span is longer than ``longest`` tokens.
    """
    first, last, logits = _candidates(start, end, allowed, longest)
    common = np.minimum(last[:, None], last) - np.maximum(first[:, None], first) + 1
    length = last - first + 1
    agreement = 2 * np.maximum(common, 0) / (length[:, None] + length)
    shares = np.exp(logits - np.logaddexp.reduce(logits))
    left = np.ones(len(logits), dtype=np.bool_)
    spans: list[LikelySpan] = []
    while left.any() and len(spans) < count:
        expected = np.where(left, agreement @ (shares * left), -1.0)
        best = int(np.argmax(expected))
        spoken_for = left & (common[best] > 0)
        score = float(np.logaddexp.reduce(logits[spoken_for])) / 2
        spans.append(LikelySpan(int(first[best]), int(last[best]), score, float(expected[best])))
        left &= ~spoken_for
    return spans


def _candidates(
    start: NDArray[np.float32], end: NDArray[np.float32], allowed: NDArray[np.bool_], longest: int
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]:
    """First and last tokens of the best starts paired with the best ends, and the sum of their logits."""
    places = np.flatnonzero(allowed)
    starts, ends = (places[np.argsort(-logits[places], kind="stable")[:N_ENDS]] for logits in (start, end))
    first, last = (side.ravel() for side in np.meshgrid(starts, ends, indexing="ij"))
    fits = (first <= last) & (last < first + longest)
    if not fits.any():  # no best start stands before a best end: the token that is best as both
        first = last = places[[np.argmax(start[places] + end[places])]]
        fits = np.ones(1, dtype=np.bool_)
    first, last = first[fits], last[fits]
    return first, last, start[first].astype(np.float64) + end[last]
