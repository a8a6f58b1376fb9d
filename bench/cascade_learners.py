"""What can learn a chance or a gain from numbers, and how a thing is learnt without a row judging itself.

Knows matrices and labels only. Cross-fitting: each row is judged by the model of its fold, which has not seen it, and a
new row by the model of a fold dealt to it by chance; where rows are few this is repeated with other folds, and
averaged for both. So a new row's belief is distributed exactly as those that thresholds are chosen on. Price paid:
the mean of all fold models would know a little more of a new row; but its beliefs are less extreme, and thresholds
chosen on single models then climb too often (measured in decision 0008).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix
from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor
from sklearn.feature_extraction.text import TfidfTransformer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from bench.cascade_data import Floats, Ints

N_FOLDS = 5
REPEATED_ROWS, MOST_REPEATS = 6000, 5
"""With few rows the dealing into folds is repeated: 600 rows five times, 6,000 rows once."""


class Chance(Protocol):
    """P(right), or an expected gain, from a matrix of features."""

    def predict(self, features: Any) -> Floats: ...


class Trees:
    """Boosted trees, each split sought in a third of the columns; one label: a constant.

    Labels may lie between 0 and 1, which counts a row as both.
    """

    def __init__(self, features: Floats, right: Floats, seed: int, *, n_trees: int, leaves: int) -> None:
        which, labels, weights = _both_ways(right)
        self._base = float(right.mean())
        self._told = _told(features)
        self._trees = None
        if 0 < self._base < 1:
            self._trees = HistGradientBoostingClassifier(
                max_iter=n_trees,
                learning_rate=0.05,
                max_leaf_nodes=leaves,
                min_samples_leaf=60,
                l2_regularization=5.0,
                max_features=0.3,
                max_bins=255 if weights is None else 63,  # with weights each edge is a percentile of its own
                early_stopping=False,
                random_state=seed,
            ).fit(features[which][:, self._told], labels, sample_weight=weights)

    def predict(self, features: Floats) -> Floats:
        if self._trees is None:
            return np.full(len(features), self._base)
        return self._trees.predict_proba(features[:, self._told])[:, 1]


class GainTrees:
    """Boosted trees for a difference of qualities (-1..1): few leaves, many rows in each, for the noise is large."""

    def __init__(self, features: Floats, gain: Floats, seed: int) -> None:
        self._told = _told(features)
        self._trees = HistGradientBoostingRegressor(
            max_iter=80,
            learning_rate=0.06,
            max_leaf_nodes=8,
            min_samples_leaf=max(20, len(gain) // 200),
            l2_regularization=5.0,
            early_stopping=False,
            random_state=seed,
        ).fit(features[:, self._told], gain)

    def predict(self, features: Floats) -> Floats:
        return np.clip(self._trees.predict(features[:, self._told]), -1.0, 1.0)


class Line:
    """Logistic regression on standardised features, strongly regularised: many weak features."""

    def __init__(self, features: Floats, right: Floats, *, looseness: float = 0.003) -> None:
        which, labels, weights = _both_ways(right)
        self._base = float(right.mean())
        self._line = None
        if 0 < self._base < 1:
            line = make_pipeline(StandardScaler(), LogisticRegression(C=looseness, max_iter=200))
            self._line = line.fit(features[which], labels, logisticregression__sample_weight=weights)

    def predict(self, features: Floats) -> Floats:
        if self._line is None:
            return np.full(len(features), self._base)
        return self._line.predict_proba(features)[:, 1]


class Blend:
    """The mean of slow trees and a line on the same numbers: each is wrong where the other is not.

    A number that is missing counts as average to the line, which is also told that it is missing.
    """

    def __init__(self, features: Floats, right: Floats, seed: int) -> None:
        self._told = _told(features)
        self._gaps = np.flatnonzero(np.isnan(features).any(axis=0) & ~np.isnan(features).all(axis=0))
        self._mean = np.nanmean(features[:, self._told], axis=0)
        self._trees = Trees(features, right, seed, n_trees=150, leaves=8)
        self._line = Line(self._filled(features), right, looseness=0.01)

    def predict(self, features: Floats) -> Floats:
        return (self._trees.predict(features) + self._line.predict(self._filled(features))) / 2

    def _filled(self, features: Floats) -> Floats:
        told = features[:, self._told]
        return np.column_stack([np.where(np.isnan(told), self._mean, told), np.isnan(features[:, self._gaps])])


class Words:
    """Logistic regression on the words and pairs of words of a text."""

    def __init__(self, counts: csr_matrix, right: Floats, *, looseness: float = 0.5) -> None:
        which, labels, weights = _both_ways(right)
        self._base = float(right.mean())
        self._line = None
        if 0 < self._base < 1:
            line = make_pipeline(TfidfTransformer(), LogisticRegression(C=looseness, max_iter=60))
            self._line = line.fit(counts[which], labels, logisticregression__sample_weight=weights)

    def predict(self, counts: csr_matrix) -> Floats:
        if self._line is None:
            return np.full(counts.shape[0], self._base)
        return self._line.predict_proba(counts)[:, 1]


def _told(features: Floats) -> Ints:
    """Columns that say something about at least one row: trees cannot bin a column that is missing throughout."""
    return np.flatnonzero(~np.isnan(features).all(axis=0))


def _both_ways(right: Floats) -> tuple[Ints, Floats, Floats | None]:
    """Rows, labels and weights that say "right" with weight ``right`` and "wrong" with the rest.

    Labels of 0 and 1 need no weights: trees that are given some take six times as long to bin their columns.
    """
    if ((right == 0) | (right == 1)).all():
        return np.arange(len(right)), right, None
    rows = np.tile(np.arange(len(right)), 2)
    labels = np.repeat([1.0, 0.0], len(right))
    weights = np.concatenate([right, 1 - right])
    used = weights > 0
    return rows[used], labels[used], weights[used]


@dataclass(frozen=True)
class Folds:
    """``of_row`` (R, n): in each of R repeats, the fold whose model judges a row; ``teaches`` (n): whether the other
    folds' models see it."""

    of_row: Ints
    teaches: NDArray[np.bool_]

    @classmethod
    def drawn(cls, n: int, teaching: Ints, rng: np.random.Generator, most_repeats: int = MOST_REPEATS) -> "Folds":
        """Rows of ``teaching`` dealt into folds by chance, and the new rows among the folds' models."""
        repeats = int(np.clip(REPEATED_ROWS // max(1, len(teaching)), 1, most_repeats))
        teaches = np.zeros(n, dtype=np.bool_)
        teaches[teaching] = True
        of_row = np.zeros((repeats, n), dtype=np.int64)
        for repeat in of_row:
            for rows in (np.flatnonzero(teaches), np.flatnonzero(~teaches)):
                repeat[rows] = rng.permutation(len(rows)) % N_FOLDS
        return cls(of_row, teaches)

    @property
    def teaching(self) -> Ints:
        """The rows that teach, rising."""
        return np.flatnonzero(self.teaches)

    @property
    def n_models(self) -> int:
        """One for each fold of each repeat."""
        return len(self.of_row) * N_FOLDS

    def known(self, model: int, rows: Ints | None = None) -> Ints:
        """Positions in ``rows`` (all, if not told) of those that this model may see."""
        repeat, fold = divmod(model, N_FOLDS)
        may = (self.of_row[repeat] != fold) & self.teaches
        return np.flatnonzero(may if rows is None else may[rows])

    def believed(self, models: Sequence[Chance], features: Any) -> Floats:
        """(n): each row by the models that have not seen it, one of each repeat."""
        believed = np.zeros(self.of_row.shape[1])
        for at, model in enumerate(models):
            repeat, fold = divmod(at, N_FOLDS)
            rows = np.flatnonzero(self.of_row[repeat] == fold)
            if len(rows):
                believed[rows] += model.predict(features[rows]) / len(self.of_row)
        return believed

    def cross_fitted(self, features: Any, right: Floats, learn: Callable[[Any, Floats], Chance]) -> Floats:
        """(n): beliefs of models fitted fold by fold on ``features`` (n, ...) and ``right`` (n)."""
        models = [learn(features[known], right[known]) for known in map(self.known, range(self.n_models))]
        return self.believed(models, features)
