"""How far the scorer can be trusted: does it rank, is it calibrated, what do its thresholds let through.

Knows outcome rows with their scores; scikit-learn does the classification. "Acceptable" is a quality of at least one
half. Several rungs answer one question, often alike, so whole questions are resampled for an interval, and ``n`` counts
questions. The price: calibration is measured against the quality itself (a token F1 may be .4), the ranking and the
thresholds against acceptable or not; and ECE has no interval.

An ECE is a mean of absolute values, so chance makes it larger on average, and a bootstrap does so once more. Of 400
drawn exams of 174 rows whose true ECE was 0, .03, .06 or .10, the 95 % percentile interval held it in 0, 0, 1 and 66 %,
and the reflected one, cut off at 0, in 55, 77, 82 and 83 %. What is told instead is the part of an ECE that is chance.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.metrics import accuracy_score, mean_squared_error, precision_score, recall_score, roc_auc_score

from palier.adapters.evaluation.answer_measures import Sampling
from palier.domain.bootstrap import Interval, grouped_interval
from palier.domain.calibration import calibration_error, score_bins

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]
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
    """``n`` counts rows, the intervals questions. AUC is None where all answers are acceptable, or none is;
    ``ece_by_chance`` is what a calibrated scorer shows on as many rows.
    """

    n: int
    share_acceptable: float
    auc: Interval | None
    ece: float
    ece_by_chance: float
    brier: Interval
    bins: tuple[Bin, ...]
    thresholds: tuple[AtThreshold, ...]


@dataclass(frozen=True)
class CurvePoint:
    """One point of a learning curve: what so much of the data teaches, measured on the same test rows."""

    share: float
    n_rows: int
    measures: Mapping[str, Interval | float | None]
    """None where there is nothing to measure on; an ECE comes without an interval."""


def scorer_measures(table: pd.DataFrame, thresholds: Sequence[float], sampling: Sampling) -> ScorerMeasures:
    """All of it, over outcome rows with a ``score``; ValueError without rows."""
    scores, quality = table["score"].to_numpy(dtype=np.float64), table["correct"].to_numpy(dtype=np.float64)
    questions = table["query_id"].factorize()[0]
    good = quality >= ACCEPTABLE
    return ScorerMeasures(
        n=len(scores),
        share_acceptable=float(good.mean()),
        auc=auc_interval(table, sampling),
        ece=calibration_error(scores, quality),
        ece_by_chance=_ece_by_chance(scores, quality, questions),
        brier=_interval(lambda rows: float(mean_squared_error(quality[rows], scores[rows])), questions, sampling),
        bins=tuple(_bin(scores[rows], quality[rows], questions[rows], sampling) for rows in score_bins(scores)),
        thresholds=tuple(_at(threshold, scores, good) for threshold in sorted(set(thresholds))),
    )


def auc_interval(table: pd.DataFrame, sampling: Sampling) -> Interval | None:
    """AUC for acceptable answers over outcome rows with a ``score``, resampled by question; None where all are, or
    none is.
    """
    scores, good = table["score"].to_numpy(dtype=np.float64), table["correct"].to_numpy() >= ACCEPTABLE

    def auc(rows: Integers) -> float:
        part = good[rows]
        return float(roc_auc_score(part, scores[rows])) if part.any() and not part.all() else float("nan")

    found = _interval(auc, table["query_id"].factorize()[0], sampling)
    return None if np.isnan(found.value) else found


def learning_curve(
    train: pd.DataFrame, test: pd.DataFrame, shares: Sequence[float], fit: Fit, sampling: Sampling
) -> list[CurvePoint]:
    """AUC and ECE on ``test`` of what ``fit`` learns from shares (0..1) of the documents of ``train``.

    Larger shares hold the smaller ones; whole documents, since questions of one document are alike.
    """
    documents = sampling.rng.permutation(sorted(set(train["document_id"])))
    points = []
    for share in shares:
        part = train[train["document_id"].isin(documents[: max(1, round(share * len(documents)))])]
        found = scorer_measures(test.assign(score=fit(part)(test)), (), sampling)
        measures = {"auc": found.auc, "ece": found.ece, "ece_by_chance": found.ece_by_chance}
        points.append(CurvePoint(share, len(part), measures))
    return points


def _interval(statistic: Callable[[Integers], float], questions: Integers, sampling: Sampling) -> Interval:
    return grouped_interval(questions, statistic, sampling.rng, sampling.samples)


def _ece_by_chance(scores: Floats, quality: Floats, questions: Integers) -> float:
    """`calibration_error_by_chance` for rows of which several answer one question; the same where each has its own.

    In drawn exams of 174 questions to three rungs, which are right or wrong together on two questions in three, chance
    makes an ECE of .072 on average; this says .070, and counted row by row it would be .049.
    """
    noise = [_deviation_of_sum(quality[rows] - scores[rows], questions[rows]) for rows in score_bins(scores)]
    return float(sum(noise) * (2 / np.pi) ** 0.5 / len(scores))


def _deviation_of_sum(errors: Floats, questions: Integers) -> float:
    """The standard deviation of the sum of ``errors``, those of one question scattering together; 0 of one question."""
    sums = np.bincount(np.unique(questions, return_inverse=True)[1], weights=errors - errors.mean())
    n = len(sums)
    return float(np.sqrt(n / (n - 1) * np.square(sums).sum())) if n > 1 else 0.0


def _bin(scores: Floats, quality: Floats, questions: Integers, sampling: Sampling) -> Bin:
    return Bin(float(scores.mean()), _interval(lambda rows: float(quality[rows].mean()), questions, sampling))


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
