"""Fits chances with scikit-learn, and hands them over as plain numbers; and how a thing is learnt without a row judging
itself.

Knows matrices and labels only. Cross-fitting: each row is judged by the model of its fold, which has not seen it, and a
new row by the model of one fold; where rows are few this is repeated with other folds, and
averaged for both. So a new row's belief is distributed exactly as those that thresholds are chosen on. Price paid:
the mean of all fold models would know a little more of a new row; but its beliefs are less extreme, and thresholds
chosen on single models then climb too often (measured in decision 0008).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.feature_extraction.text import TfidfTransformer
from sklearn.linear_model import LogisticRegression

from palier.domain.beliefs.chances import (
    Chance,
    Constant,
    Floats,
    Forest,
    Ints,
    Line,
    Mean,
    WordLine,
    without_gaps,
)

N_FOLDS = 5
REPEATED_ROWS, MOST_REPEATS = 6000, 5
"""With few rows the dealing into folds is repeated: 600 rows five times, 6,000 rows once."""


def fit_forest(features: Floats, right: Floats, seed: int, *, n_trees: int, leaves: int) -> Chance:
    """Boosted trees, each split sought in a third of the columns; one label: a constant.

    Labels may lie between 0 and 1, which counts a row as both.
    """
    which, labels, weights = _both_ways(right)
    told = _told(features)
    if not _has_both(labels):
        return Constant(float(right.mean()))
    trees = HistGradientBoostingClassifier(
        max_iter=n_trees,
        learning_rate=0.05,
        max_leaf_nodes=leaves,
        min_samples_leaf=60,
        l2_regularization=5.0,
        max_features=0.3,
        max_bins=255 if weights is None else 63,  # with weights each edge is a percentile of its own
        early_stopping=False,
        random_state=seed,
    ).fit(features[which][:, told], labels, sample_weight=weights)
    return _as_forest(trees, told)


def _as_forest(trees: HistGradientBoostingClassifier, told: Ints) -> Forest:
    """The fitted trees as arrays. Reads what scikit-learn keeps to itself: it has no public door to its trees."""
    nodes = [tree.nodes for (tree,) in trees._predictors]
    shape = (len(nodes), max(map(len, nodes)))
    own = np.tile(np.arange(shape[1], dtype=np.int32), (shape[0], 1))
    forest = Forest(
        column=np.zeros(shape, dtype=np.int32),
        threshold=np.full(shape, np.inf),
        missing_left=np.ones(shape, dtype=np.bool_),
        left=own.copy(),
        right=own.copy(),
        value=np.zeros(shape),
        base=float(np.ravel(trees._baseline_prediction)[0]),
        depth=int(max(tree["depth"].max() for tree in nodes)),
    )
    for at, tree in enumerate(nodes):
        inner = np.flatnonzero(tree["is_leaf"] == 0)
        forest.column[at, inner] = told[tree["feature_idx"][inner]]
        forest.threshold[at, inner] = tree["num_threshold"][inner]
        forest.missing_left[at, inner] = tree["missing_go_to_left"][inner] == 1
        forest.left[at, inner], forest.right[at, inner] = tree["left"][inner], tree["right"][inner]
        leaves = np.flatnonzero(tree["is_leaf"] == 1)
        forest.value[at, leaves] = tree["value"][leaves]
    return forest


def fit_line(features: Floats, right: Floats, *, looseness: float = 0.003) -> Chance:
    """Logistic regression on standardised features, strongly regularised: many weak features.

    A number that is missing counts as average, and the line is told that it is missing.
    """
    which, labels, weights = _both_ways(right)
    if not _has_both(labels):
        return Constant(float(right.mean()))
    told = _told(features)
    gaps = np.flatnonzero(np.isnan(features).any(axis=0) & ~np.isnan(features).all(axis=0))
    filled = np.nanmean(features[:, told], axis=0)
    numbers = without_gaps(features, told, gaps, filled)[which]
    mean, scale = numbers.mean(axis=0), numbers.std(axis=0)
    scale = np.where(scale < 1e-12, 1.0, scale)
    line = LogisticRegression(C=looseness, max_iter=200).fit((numbers - mean) / scale, labels, sample_weight=weights)
    return Line(told, gaps, filled, mean, scale, line.coef_[0], float(line.intercept_[0]))


def fit_blend(features: Floats, right: Floats, seed: int) -> Chance:
    """The mean of slow trees and a line on the same numbers: each is wrong where the other is not."""
    forest = fit_forest(features, right, seed, n_trees=150, leaves=8)
    return Mean((forest, fit_line(features, right, looseness=0.01)))


def fit_words(counts: csr_matrix, right: Floats, *, looseness: float = 0.5) -> Chance:
    """Logistic regression on the words and pairs of words of a text."""
    which, labels, weights = _both_ways(right)
    if not _has_both(labels):
        return Constant(float(right.mean()))
    rarity = TfidfTransformer().fit(counts[which])
    line = LogisticRegression(C=looseness, max_iter=60)
    line.fit(rarity.transform(counts[which]), labels, sample_weight=weights)
    return WordLine(rarity.idf_.astype(np.float32), line.coef_[0].astype(np.float32), float(line.intercept_[0]))


def _told(features: Floats) -> Ints:
    """Columns that say something about at least one row: trees cannot bin a column that is missing throughout."""
    return np.flatnonzero(~np.isnan(features).all(axis=0))


def _has_both(labels: Floats) -> bool:
    return bool(len(labels)) and bool(labels.min() != labels.max())


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
class Learnt:
    """One thing learnt fold by fold: ``believed`` (n), each row by a model that has not seen it, and those models."""

    believed: Floats
    models: tuple[Chance, ...]


def judge_of_new(models: Sequence[Chance]) -> Chance:
    """Of all fold models, what judges new rows in use: the first fold's one of each repeat."""
    first = tuple(models[::N_FOLDS])
    return first[0] if len(first) == 1 else Mean(first)


@dataclass(frozen=True)
class Folds:
    """``of_row`` (R, n): in each of R repeats, the fold whose model judges a row; ``teaches`` (n): whether the other
    folds' models see it."""

    of_row: Ints
    teaches: NDArray[np.bool_]

    @classmethod
    def drawn(
        cls,
        n: int,
        teaching: Ints,
        rng: np.random.Generator,
        most_repeats: int = MOST_REPEATS,
        *,
        groups: Ints | None = None,
        as_served: bool = False,
    ) -> "Folds":
        """Rows of ``teaching`` dealt into folds by chance, and the new rows among the folds' models.

        Rows of one of ``groups`` (n) are in one fold. ``as_served``: new rows are all judged by the first fold's model,
        as those in use will be.
        """
        repeats = int(np.clip(REPEATED_ROWS // max(1, len(teaching)), 1, most_repeats))
        teaches = np.zeros(n, dtype=np.bool_)
        teaches[teaching] = True
        group = np.arange(n) if groups is None else groups
        of_row = np.zeros((repeats, n), dtype=np.int64)
        for repeat in of_row:
            for rows in (np.flatnonzero(teaches), np.flatnonzero(~teaches)):
                names, at = np.unique(group[rows], return_inverse=True)
                repeat[rows] = rng.permutation(len(names))[at] % N_FOLDS
            if as_served:
                repeat[~teaches] = 0
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

    def cross_fitted(self, features: Any, right: Floats, learn: Callable[[Any, Floats], Chance]) -> Learnt:
        """Models fitted fold by fold on ``features`` (n, ...) and ``right`` (n)."""
        models = [learn(features[known], right[known]) for known in map(self.known, range(self.n_models))]
        return Learnt(self.believed(models, features), tuple(models))
