"""Which passages of a document's two versions say the same, when both were freely written and cut anew.

Pure: likeness in, pairs out. Two documents of one name below the folders of two languages (`en/x`, `fr/x`) are taken
for versions of each other, and both tell things in about the same order, so pairs may not cross: the best chain of
pairs is found by dynamic programming, as sentences of translations are aligned (Gale & Church 1993, *A program for
aligning sentences in bilingual corpora*, with likeness of meaning in place of length). A passage may pair with several
that follow each other, since two short sections of one version can be one passage of the other, and with none. The
price: what was moved to another place of the document is left out.
"""

from collections import defaultdict
from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from palier.domain.documents import Passage

NEAREST = 10
LEAST_GAIN = 0.04
"""Cosine above chance below which two passages are not taken for counterparts."""
Matrix = NDArray[np.float32]


def parallel_passages(passages: Sequence[Passage], vectors: Matrix) -> Iterator[tuple[Passage, Passage]]:
    """(English, French) passages that say the same; ``vectors`` (n, dimensions) are their unit vectors."""
    for english, french in _versions(passages):
        rest_english = [i for i, item in enumerate(passages) if item.lang == "en" and i not in english]
        rest_french = [i for i, item in enumerate(passages) if item.lang == "fr" and i not in french]
        gains = above_chance(
            vectors[english] @ vectors[french].T,
            vectors[english] @ vectors[rest_french].T,
            vectors[french] @ vectors[rest_english].T,
        )
        for row, column in aligned(gains - LEAST_GAIN):
            yield passages[english[row]], passages[french[column]]


def _versions(passages: Sequence[Passage]) -> Iterator[tuple[list[int], list[int]]]:
    """Row numbers of the English and the French passages of each document that has both."""
    rows: dict[str, dict[str, list[int]]] = defaultdict(lambda: defaultdict(list))
    for i, item in enumerate(passages):
        _, _, name = item.document_id.partition("/")
        rows[name][item.lang].append(i)
    for versions in rows.values():
        if len(versions) == 2:
            yield versions["en"], versions["fr"]


def above_chance(near: Matrix, rest_of_rows: Matrix, rest_of_columns: Matrix) -> Matrix:
    """How much nearer two passages are than each of them is to what cannot be its counterpart.

    ``near`` (n, m) holds the cosines within a document; ``rest_of_rows`` (n, x) and ``rest_of_columns`` (m, y) those
    to the other language's passages of other documents. The mean of the ten nearest of these is taken off:
    cross-domain similarity local scaling (Conneau et al. 2018, *Word translation without parallel data*, section 2.3).
    Nothing is taken off where there are none.
    """
    return np.asarray(near - (_nearest(rest_of_rows)[:, None] + _nearest(rest_of_columns)[None, :]) / 2)


def _nearest(rest: Matrix) -> Matrix:
    """Mean of the ten highest of each row; zeros where there are no columns."""
    if not rest.shape[1]:
        return np.zeros(len(rest), dtype=np.float32)
    return np.asarray(np.sort(rest, axis=1)[:, -NEAREST:].mean(axis=1))


def aligned(gains: Matrix) -> list[tuple[int, int]]:
    """The pairs (row, column) of the chain with the highest sum of ``gains`` (n, m), in order.

    Neither number falls along the chain; only pairs with a gain above 0 are in it.
    """
    n, m = gains.shape
    best = np.zeros((n + 1, m + 1))
    for i in range(1, n + 1):
        for j in range(1, m + 1):
            best[i, j] = max(best[i - 1, j], best[i, j - 1]) + max(0.0, float(gains[i - 1, j - 1]))
    pairs, i, j = [], n, m
    while i and j:
        if gains[i - 1, j - 1] > 0:
            pairs.append((i - 1, j - 1))
        if best[i - 1, j] >= best[i, j - 1]:
            i -= 1
        else:
            j -= 1
    return pairs[::-1]
