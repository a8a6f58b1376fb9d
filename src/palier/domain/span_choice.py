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
TEMPERATURE = 0.6
"""Of the probabilities by which spans are chosen; at 1 answers to English questions grow too long."""


@dataclass(frozen=True, slots=True)
class LikelySpan:
    """Tokens ``first`` to ``last``, which stand for all candidates that earlier spans left over.

    ``score`` is half the logarithm of what those weigh together, exp(start + end) each: the unit is that of a mean of
    two logits. ``expected_f1`` is the token F1 (0 to 1) to expect if one of them is the answer.
    """

    first: int
    last: int
    score: float
    expected_f1: float


def choose_spans(
    start: NDArray[np.float32], end: NDArray[np.float32], allowed: NDArray[np.bool_], longest: int, count: int
) -> list[LikelySpan]:
    """At most ``count`` spans that do not overlap; each next one is chosen as if all that touches an earlier one were
    wrong, so that scores fall.

    ``start`` and ``end`` are logits of each token, ``allowed`` says which ones may be answered with (one at least), and
    no span is longer than ``longest`` tokens.
    """
    first, last, logits = _candidates(start, end, allowed, longest)
    common = np.minimum(last[:, None], last) - np.maximum(first[:, None], first) + 1
    length = last - first + 1
    agreement = 2 * np.maximum(common, 0) / (length[:, None] + length)
    left = np.arange(len(logits))
    spans: list[LikelySpan] = []
    while len(left) and len(spans) < count:
        mass = np.logaddexp.reduce(logits[left])
        sharp = np.exp((logits[left] - mass) / TEMPERATURE)
        best = left[np.argmax(agreement[np.ix_(left, left)] @ sharp)]
        expected = float(agreement[best, left] @ np.exp(logits[left] - mass))
        spans.append(LikelySpan(int(first[best]), int(last[best]), float(mass) / 2, expected))
        left = left[common[best, left] <= 0]
    return spans


def _candidates(
    start: NDArray[np.float32], end: NDArray[np.float32], allowed: NDArray[np.bool_], longest: int
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]:
    """First and last tokens of the best starts paired with the best ends, and the sum of their logits.

    Each of these tokens is also a candidate alone, so that there is one where no best start stands before a best end.
    """
    places = np.flatnonzero(allowed)
    starts, ends = (places[np.argsort(-logits[places], kind="stable")[:N_ENDS]] for logits in (start, end))
    first, last = (side.ravel() for side in np.meshgrid(starts, ends, indexing="ij"))
    fits = (first <= last) & (last < first + longest)
    alone = np.setxor1d(starts, ends)  # what is in both is paired with itself already
    first, last = np.concatenate([first[fits], alone]), np.concatenate([last[fits], alone])
    return first, last, start[first].astype(np.float64) + end[last]
