"""Learnt chances as plain numbers: what was fitted elsewhere, ready to be asked, with numpy alone.

Every class here is a frozen dataclass of arrays, numbers and other such classes, so that a file of tensors can hold it
and nothing in it could run. Price paid: trees are walked in numpy, some five times slower than compiled.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
ROWS_AT_ONCE = 2048
N_NEIGHBOURS = (15, 40, 80)
SHARPNESS = 10
"""A neighbour's weight is e to this many times its cosine."""
TIE = 1e-14
"""Of questions that are equally near, the one known first counts as nearer: alone and in a batch the same ones do."""


class Chance(Protocol):
    """P(right) from a matrix of features (n, d): (n), each in 0..1."""

    def predict(self, features: Any) -> Floats: ...


@dataclass(frozen=True)
class Constant:
    """The same chance for every row: what is learnt from one label only."""

    value: float

    def predict(self, features: Any) -> Floats:
        return np.full(features.shape[0], self.value)


@dataclass(frozen=True)
class Mean:
    """The mean of several chances."""

    parts: tuple[Chance, ...]

    def predict(self, features: Any) -> Floats:
        return np.asarray(np.mean([part.predict(features) for part in self.parts], axis=0))


@dataclass(frozen=True)
class Line:
    """Logistic regression on standardised numbers.

    ``told`` (k) are the columns that are read, ``gaps`` (g) those whose absence is a number of its own; a number that
    is missing counts as ``filled`` (k). ``mean``, ``scale`` and ``weights`` have k + g numbers.
    """

    told: Ints
    gaps: Ints
    filled: Floats
    mean: Floats
    scale: Floats
    weights: Floats
    bias: float

    def predict(self, features: Floats) -> Floats:
        numbers = without_gaps(features, self.told, self.gaps, self.filled)
        return sigmoid((numbers - self.mean) / self.scale @ self.weights + self.bias)


def without_gaps(features: Floats, told: Ints, gaps: Ints, filled: Floats) -> Floats:
    """(n, k + g): the columns ``told`` with what is missing filled in, and whether each of ``gaps`` was missing."""
    read = features[:, told]
    return np.column_stack([np.where(np.isnan(read), filled, read), np.isnan(features[:, gaps])])


@dataclass(frozen=True)
class Forest:
    """Boosted trees. All arrays are (trees, nodes); a leaf is its own child, so that ``depth`` steps end everywhere.

    A number at most ``threshold`` goes left, a missing one where ``missing_left`` says; log-odds are ``base`` and the
    sum of the leaves' ``value``.
    """

    column: NDArray[np.int32]
    threshold: Floats
    missing_left: NDArray[np.bool_]
    left: NDArray[np.int32]
    right: NDArray[np.int32]
    value: Floats
    base: float
    depth: int

    def predict(self, features: Floats) -> Floats:
        parts = [
            self._log_odds(features[start : start + ROWS_AT_ONCE]) for start in range(0, len(features), ROWS_AT_ONCE)
        ]
        return sigmoid(np.concatenate(parts)) if parts else np.zeros(0)

    def _log_odds(self, features: Floats) -> Floats:
        n_trees, n_nodes = self.column.shape
        rows, start = np.arange(len(features))[:, None], np.arange(n_trees) * n_nodes
        at = np.zeros((len(features), n_trees), dtype=np.int64)
        for _ in range(self.depth):
            node = start + at
            number = features[rows, self.column.take(node)]
            goes_left = np.where(np.isnan(number), self.missing_left.take(node), number <= self.threshold.take(node))
            at = np.where(goes_left, self.left.take(node), self.right.take(node))
        return np.asarray(self.base + self.value.take(start + at).sum(axis=1))


@dataclass(frozen=True)
class WordLine:
    """Logistic regression on which words stand in a text, each weighed by how rare it is (``rarity``), at length 1.

    Both arrays have one number for each of the hashed words of `texts.word_counts`.
    """

    rarity: NDArray[np.float32]
    weights: NDArray[np.float32]
    bias: float

    def predict(self, counts: csr_matrix) -> Floats:
        weighed = csr_matrix(counts.multiply(self.rarity[None, :]))
        length = np.sqrt(np.ravel(weighed.power(2).sum(axis=1)))
        return sigmoid(np.ravel(weighed @ self.weights) / np.maximum(length, 1e-12) + self.bias)


@dataclass(frozen=True)
class Neighbours:
    """How rungs did on known questions: unit ``vectors`` (K, d), and ``quality`` (K, R)."""

    vectors: NDArray[np.float32]
    quality: NDArray[np.float32]

    def means(self, vectors: Floats, own: Ints | None = None) -> list[Floats]:
        """(n, R) for each of N_NEIGHBOURS: mean quality on the nearest known questions, the nearer the more.

        ``own`` (n): where a row stands among the known ones (it is not its own neighbour), -1 where it does not.
        """
        means = [np.zeros((len(vectors), self.quality.shape[1])) for _ in N_NEIGHBOURS]
        for start in range(0, len(vectors), ROWS_AT_ONCE):
            rows = slice(start, start + ROWS_AT_ONCE)
            for found, part in zip(means, self._part(vectors[rows], None if own is None else own[rows]), strict=True):
                found[rows] = part
        return means

    def _part(self, vectors: Floats, own: Ints | None) -> list[Floats]:
        near = np.round(vectors @ self._known.T, 9) - TIE * np.arange(len(self.vectors))
        if own is not None:
            near[np.flatnonzero(own >= 0), own[own >= 0]] = -np.inf
        most = min(max(N_NEIGHBOURS), len(self.vectors) - 1)
        best = np.argpartition(-near, most, axis=1)[:, :most]
        best = np.take_along_axis(best, np.argsort(-np.take_along_axis(near, best, axis=1), axis=1), axis=1)
        weight = np.exp(SHARPNESS * np.take_along_axis(near, best, axis=1))[:, :, None]
        weighted = weight * self.quality[best]
        return [np.asarray(weighted[:, :k].sum(axis=1) / weight[:, :k].sum(axis=1)) for k in N_NEIGHBOURS]

    @cached_property
    def _known(self) -> Floats:
        """(K, d): in double precision a cosine is the same, to nine digits, alone and in a batch."""
        return self.vectors.astype(np.float64)


def sigmoid(log_odds: Floats) -> Floats:
    """Chances of log-odds."""
    return np.asarray(1.0 / (1.0 + np.exp(-np.clip(log_odds, -30, 30))))


def logit(chance: Floats) -> Floats:
    """Log-odds, held within what a few hundred rows can tell."""
    clipped = np.clip(chance, 0.005, 0.995)
    return np.asarray(np.log(clipped / (1 - clipped)))
