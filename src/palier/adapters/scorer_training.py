"""Fits the scorer's logistic heads; what comes out is plain numbers.

Where a starter's head is at hand, weights are drawn towards it instead of towards zero: a workspace with few golden
questions begins with what was learnt on public question sets, and leaves it as far as its own rows say so.
"""

from collections import Counter
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize

from palier.domain.scoring import LogisticHead

MIN_ROWS = 20
"""Below this, or with one class only, a head without a starter is the base rate (Laplace: one good and one bad row
are added)."""
BIAS_SHARE = 0.1
"""How much less the bias is held than the weights, where there is a starter: documents differ in how hard they are."""

Floats = NDArray[np.float64]


def fit_head(
    features: Floats,
    quality: Floats,
    regularisation: float,
    prior: LogisticHead | None = None,
    counts: Floats | None = None,
) -> LogisticHead:
    """Logistic regression of a quality in 0..1 on (n, d) features, its weights drawn towards ``prior``'s.

    Each row counts as `quality` of a good and `1 - quality` of a bad one, so that the prediction is the expected
    quality and not only the chance of a perfect answer. Without rows a prior comes back as it is. ``counts`` says for
    how many rows each one counts: less than one where a label is weak.
    """
    n = len(features) if features.size else 0
    counts = np.ones(len(quality)) if counts is None else counts
    if prior is not None and prior.weights:
        return _towards(prior, features.reshape(n, len(prior.weights)), quality, regularisation, counts)
    if n < MIN_ROWS or quality.min() == quality.max():
        rate = (float(counts @ quality) + 1.0) / (float(counts.sum()) + 2.0)
        bias = float(np.log(rate / (1.0 - rate)))
        return LogisticHead(mean=(), scale=(), weights=(), bias=bias, n_rows=n)
    mean, scale = features.mean(axis=0), features.std(axis=0)
    scale = np.where(scale < 1e-9, 1.0, scale)
    standard = np.clip((features - mean) / scale, -4, 4)
    start = np.zeros(features.shape[1] + 1)
    found = _minimum(standard, (quality, counts), start, regularisation, bias_share=0.0)
    return _head(mean, scale, found, n)


def _towards(
    prior: LogisticHead, features: Floats, quality: Floats, regularisation: float, counts: Floats
) -> LogisticHead:
    """The prior's standardisation is kept, so that its weights mean the same."""
    mean, scale = np.asarray(prior.mean), np.asarray(prior.scale)
    standard = np.clip((features - mean) / scale, -4, 4)
    start = np.append(np.asarray(prior.weights), prior.bias)
    if len(features):
        start = _minimum(standard, (quality, counts), start, regularisation, bias_share=BIAS_SHARE)
    return _head(mean, scale, start, len(features))


def _minimum(
    standard: Floats, wanted: tuple[Floats, Floats], centre: Floats, regularisation: float, *, bias_share: float
) -> Floats:
    """Weights and bias with the least cross-entropy plus regularisation / 2 times the squared way from ``centre``;
    ``wanted`` is each row's quality, and for how many rows it counts.
    """
    quality, counts = wanted
    held = np.full(len(centre), regularisation)
    held[-1] *= bias_share

    def loss(point: Floats) -> tuple[float, Floats]:
        logits = standard @ point[:-1] + point[-1]
        away = point - centre
        value = float(counts @ (np.logaddexp(0.0, logits) - quality * logits) + 0.5 * (held * away) @ away)
        error = counts * (1.0 / (1.0 + np.exp(-np.clip(logits, -30, 30))) - quality)
        return value, np.append(standard.T @ error, error.sum()) + held * away

    found = minimize(loss, centre, jac=True, method="L-BFGS-B", options={"maxiter": 2000, "ftol": 1e-12, "gtol": 1e-7})
    return np.asarray(found.x, dtype=np.float64)


def _head(mean: Floats, scale: Floats, point: Floats, n: int) -> LogisticHead:
    return LogisticHead(
        mean=tuple(mean.tolist()),
        scale=tuple(scale.tolist()),
        weights=tuple(point[:-1].tolist()),
        bias=float(point[-1]),
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
