"""Fits the scorer's logistic heads with scikit-learn; what comes out is plain numbers."""

from collections import Counter
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression

from palier.domain.scoring import LogisticHead

MIN_ROWS = 20
"""Below this, or with one class only, a head is the base rate (Laplace: one good and one bad row are added)."""


def fit_head(features: NDArray[np.float64], quality: NDArray[np.float64], regularisation: float) -> LogisticHead:
    """Logistic regression of a quality in 0..1 on (n, d) features.

    Each row counts as `quality` of a good and `1 - quality` of a bad one, so that the prediction is the expected
    quality and not only the chance of a perfect answer.
    """
    n = len(features) if features.size else 0
    if n < MIN_ROWS or quality.min() == quality.max():
        rate = (float(quality.sum()) + 1.0) / (n + 2.0)
        bias = float(np.log(rate / (1.0 - rate)))
        return LogisticHead(mean=(), scale=(), weights=(), bias=bias, n_rows=n)
    mean, scale = features.mean(axis=0), features.std(axis=0)
    scale = np.where(scale < 1e-9, 1.0, scale)
    standard = np.clip((features - mean) / scale, -4, 4)
    model = LogisticRegression(C=1.0 / regularisation, max_iter=1000)
    labels = np.concatenate([np.ones(n), np.zeros(n)])
    model.fit(np.concatenate([standard, standard]), labels, sample_weight=np.concatenate([quality, 1.0 - quality]))
    return LogisticHead(
        mean=tuple(mean.tolist()),
        scale=tuple(scale.tolist()),
        weights=tuple(model.coef_[0].tolist()),
        bias=float(model.intercept_[0]),
        n_rows=n,
    )


def fold_of(groups: Sequence[str], n_folds: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """A fold for each row, such that all rows of one group are in the same fold; folds are of like size."""
    sizes = Counter(groups)
    names = sorted(sizes)
    load = np.zeros(n_folds)
    chosen: dict[str, int] = {}
    for position in rng.permutation(len(names)):
        fold = int(load.argmin())
        chosen[names[position]] = fold
        load[fold] += sizes[names[position]]
    return np.array([chosen[name] for name in groups], dtype=np.int64)
