"""How far the scorer can be trusted: does it rank, is it calibrated, what do its thresholds let through.

Knows scores and qualities only; scikit-learn does the classification. "Acceptable" is a quality of at least one half.
The price: calibration is measured against the quality itself (a token F1 may be .4), the ranking and the thresholds
against acceptable or not.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.metrics import accuracy_score, mean_squared_error, precision_score, recall_score, roc_auc_score

from palier.adapters.evaluation.answer_measures import Sampling
from palier.domain.bootstrap import Interval, statistic_interval
from palier.domain.calibration import calibration_error, calibration_error_by_chance, score_bins

Floats = NDArray[np.float64]
Fit = Callable[[pd.DataFrame], Callable[[pd.DataFrame], Floats]]
"""Learns from outcome rows, and gives back what scores others."""

ACCEPTABLE = 0.5


@dataclass(frozen=True, slots=True)
class Bin:
    """Rows of like score: what was promised, and what came."""

    score: float
    quality: Interval


@dataclass(frozen=True, slots=True)
class AtThreshold:
    """What happens when answers of at least ``threshold`` are accepted.

    Precision: how many of the accepted are acceptable (None when none is accepted); recall: how many of the acceptable
    are accepted.
    """

    threshold: float
    share_accepted: float
    accuracy: float
    precision: float | None
    recall: float | None


@dataclass(frozen=True)
class ScorerMeasures:
    """AUC is None where all answers are acceptable, or none is; ``ece_by_chance`` is what a calibrated scorer shows on
    as many rows.
    """

    n: int
    share_acceptable: float
    auc: Interval | None
    ece: Interval
    ece_by_chance: float
    brier: Interval
    bins: tuple[Bin, ...]
    thresholds: tuple[AtThreshold, ...]


@dataclass(frozen=True)
class CurvePoint:
    """One point of a learning curve: what so much of the data teaches, measured on the same test rows."""

    share: float
    n_rows: int
    measures: dict[str, Interval | None]


def scorer_measures(scores: Floats, quality: Floats, thresholds: Sequence[float], sampling: Sampling) -> ScorerMeasures:
    """All of it, over the same rows; ValueError without rows."""
    good = quality >= ACCEPTABLE
    rows = score_bins(scores)
    return ScorerMeasures(
        n=len(scores),
        share_acceptable=float(good.mean()),
        auc=_auc(scores, good, sampling),
        ece=statistic_interval(
            len(scores), lambda i: calibration_error(scores[i], quality[i]), sampling.rng, sampling.samples
        ),
        ece_by_chance=calibration_error_by_chance(scores, quality),
        brier=statistic_interval(
            len(scores), lambda i: float(mean_squared_error(quality[i], scores[i])), sampling.rng, sampling.samples
        ),
        bins=tuple(_bin(scores[part], quality[part], sampling) for part in rows),
        thresholds=tuple(_at(threshold, scores, good) for threshold in sorted(set(thresholds))),
    )


def learning_curve(
    train: pd.DataFrame, test: pd.DataFrame, shares: Sequence[float], fit: Fit, sampling: Sampling
) -> list[CurvePoint]:
    """AUC and ECE on ``test`` of what ``fit`` learns from shares (0..1) of the documents of ``train``.

    Larger shares hold the smaller ones; whole documents, since questions of one document are alike.
    """
    documents = sampling.rng.permutation(sorted(set(train["document_id"])))
    quality = test["correct"].to_numpy(dtype=np.float64)
    points = []
    for share in shares:
        part = train[train["document_id"].isin(documents[: max(1, round(share * len(documents)))])]
        found = scorer_measures(fit(part)(test), quality, (), sampling)
        points.append(CurvePoint(share, len(part), {"auc": found.auc, "ece": found.ece}))
    return points


def _auc(scores: Floats, good: NDArray[np.bool_], sampling: Sampling) -> Interval | None:
    def auc(rows: NDArray[np.int64]) -> float:
        part = good[rows]
        return float(roc_auc_score(part, scores[rows])) if part.any() and not part.all() else float("nan")

    found = statistic_interval(len(scores), auc, sampling.rng, sampling.samples)
    return None if np.isnan(found.value) else found


def _bin(scores: Floats, quality: Floats, sampling: Sampling) -> Bin:
    interval = sampling.mean(quality)
    assert interval is not None
    return Bin(float(scores.mean()), interval)


def _at(threshold: float, scores: Floats, good: NDArray[np.bool_]) -> AtThreshold:
    accepted = scores >= threshold
    options: dict[str, Any] = {"zero_division": 0.0}
    return AtThreshold(
        threshold=threshold,
        share_accepted=float(accepted.mean()),
        accuracy=float(accuracy_score(good, accepted)),
        precision=float(precision_score(good, accepted, **options)) if accepted.any() else None,
        recall=float(recall_score(good, accepted, **options)) if good.any() else None,
    )
