"""Which retrieval settings to use: every combination scored on the same questions, and a rule for replacing what is.

Pure: candidates come in as scores by passage id, times as milliseconds; where they were taken is not known here. A
*setting* is shared by all languages and costs time; a *tuning* is one language's own and costs nothing. The winner of
many looks better than it is, so a gain is measured by cross-fitting: settings and tunings are chosen on four fifths of
the documents and measured on the questions of the last fifth. The price: with few questions the rule mostly keeps what
is there, and says how far the interval reaches.
"""

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal, Self

import numpy as np
from numpy.typing import NDArray

from palier.domain.bootstrap import Interval
from palier.domain.documents import Lang
from palier.domain.fusion import RRF_CONSTANT, Fusion, fuse
from palier.domain.ranking_metrics import ndcg, recall, reciprocal_rank

METRICS = ("ndcg_at_10", "mrr_at_10", "recall_at_10")
N_FOLDS = 5
LEAST_SAVING = 0.1
"""A setting counts as cheaper only when it saves this share of the milliseconds: clocks are not exact."""
_PLATEAU = 0.002

Scores = NDArray[np.float64]
Known = Mapping[Lang, NDArray[np.bool_]]
"""Masks over the questions of each language: those that a choice may look at."""
Verdict = Literal["better", "cheaper", "kept"]


@dataclass(frozen=True, slots=True)
class Chunking:
    """How documents are cut: words of a passage, and how many of them it shares with the one before."""

    passage_words: int
    overlap_words: int = 0


@dataclass(frozen=True, slots=True)
class Setting:
    """What all languages share: the cut, what BM25 searches, how many candidates, and how they are fused."""

    chunking: Chunking
    fields: tuple[str, ...]
    exact_weight: float
    candidates: int
    fusion: Fusion
    wording_weight: float = 0.0


@dataclass(frozen=True, slots=True)
class Tuning:
    """What one language may choose for itself; the constant counts for reciprocal ranks only."""

    dense_weight: float
    rrf_constant: int = RRF_CONSTANT


@dataclass(frozen=True, slots=True)
class Found:
    """The candidates of one question (scores by passage id), and the passages that are right for it."""

    bm25: Mapping[str, float]
    cosine: Mapping[str, float]
    relevant: frozenset[str]
    wording: Mapping[str, float] = field(default_factory=dict)

    def ranking(self, setting: Setting, tuning: Tuning) -> list[str]:
        """The first ten ids by fused score, from the best ``setting.candidates`` of each search.

        How rare a word is was told by all candidates, so wording is a little off where a setting takes fewer.
        """
        sides = (_best(self.bm25, setting.candidates), _best(self.cosine, setting.candidates))
        fused = fuse(
            *sides,
            tuning.dense_weight,
            setting.fusion,
            tuning.rrf_constant,
            wording=self.wording,
            wording_weight=setting.wording_weight,
        )
        return [key for key, _ in fused[:10]]


@dataclass(frozen=True)
class Point:
    """One setting, scored: per language an array of shape (metrics, tunings, questions), and its query times."""

    setting: Setting
    tunings: tuple[Tuning, ...]
    scores: Mapping[Lang, Scores]
    ms_p50: float
    ms_p95: float

    def plain(self) -> dict[str, Any]:
        """As JSON data; `parse` reads it back."""
        scores = {lang: np.round(values, 5).tolist() for lang, values in self.scores.items()}
        tunings = [asdict(tuning) for tuning in self.tunings]
        times = {"ms_p50": self.ms_p50, "ms_p95": self.ms_p95}
        return {"setting": asdict(self.setting), "tunings": tunings, "scores": scores, **times}

    @classmethod
    def parse(cls, raw: Mapping[str, Any]) -> Self:
        """The point that `plain` wrote."""
        setting = dict(raw["setting"])
        setting |= {"chunking": Chunking(**setting["chunking"]), "fields": tuple(setting["fields"])}
        return cls(
            setting=Setting(**setting),
            tunings=tuple(Tuning(**tuning) for tuning in raw["tunings"]),
            scores={lang: np.asarray(values, dtype=np.float64) for lang, values in raw["scores"].items()},
            ms_p50=raw["ms_p50"],
            ms_p95=raw["ms_p95"],
        )


def tunings_of(fusion: Fusion, weights: Iterable[float], constants: Iterable[int]) -> tuple[Tuning, ...]:
    """Every tuning of a grid, neighbours next to each other; constants count for reciprocal ranks alone."""
    ordered = sorted(set(weights))
    if fusion == "min_max":
        return tuple(Tuning(weight) for weight in ordered)
    return tuple(Tuning(weight, constant) for constant in sorted(set(constants)) for weight in ordered)


def score_tunings(found: Sequence[Found], setting: Setting, tunings: Sequence[Tuning]) -> Scores:
    """The three `METRICS` of each tuning on each question, float64 of shape (3, len(tunings), len(found))."""
    scores = np.zeros((len(METRICS), len(tunings), len(found)))
    for column, question in enumerate(found):
        for row, tuning in enumerate(tunings):
            scores[:, row, column] = ranking_scores(question.ranking(setting, tuning), question.relevant)
    return scores


def ranking_scores(ranking: Sequence[str], relevant: frozenset[str]) -> tuple[float, float, float]:
    """The three `METRICS` of one ranking."""
    return ndcg(ranking, relevant, 10), reciprocal_rank(ranking, relevant, 10), recall(ranking, relevant, 10)


def folds_of(documents: Sequence[str]) -> NDArray[np.int64]:
    """The fold of each question by its document, so that no document is both chosen and measured on."""
    digests = (hashlib.sha256(name.encode()).digest() for name in documents)
    return np.array([int.from_bytes(digest[:4], "big") % N_FOLDS for digest in digests], dtype=np.int64)


def choose_row(scores: Scores, known: NDArray[np.bool_]) -> int:
    """The row of (rows, questions) with the best mean over the ``known`` questions: the middle of the best plateau.

    Neighbours of a peak that is one row wide are often worse. Without a known question, the first row.
    """
    if not known.any():
        return 0
    means = scores[:, known].mean(axis=1)
    best = np.flatnonzero(means >= means.max() - _PLATEAU)
    return int(best[len(best) // 2])


def choose_point(points: Sequence[Point], known: Known, tie_margin: float) -> int:
    """The cheapest point whose tuned nDCG@10, averaged over languages, is within ``tie_margin`` of the best one's."""
    means = np.array([_tuned_mean(point, known) for point in points])
    tied = np.flatnonzero(means >= means.max() - tie_margin)
    return min((int(i) for i in tied), key=lambda i: (points[i].ms_p50, -means[i]))


def cross_fitted(
    folds: Mapping[Lang, NDArray[np.int64]], choose: Callable[[Known], Mapping[Lang, Scores]]
) -> dict[Lang, Scores]:
    """Each question's score under what was chosen without its fold.

    ``choose`` takes the known questions of each language as masks and returns the scores of all questions, (n,) per
    language, under its choice.
    """
    held = {lang: np.zeros(len(numbers)) for lang, numbers in folds.items()}
    for fold in range(N_FOLDS):
        chosen = choose({lang: numbers != fold for lang, numbers in folds.items()})
        for lang, numbers in folds.items():
            held[lang][numbers == fold] = chosen[lang][numbers == fold]
    return held


def tuned(point: Point, known: Known) -> dict[Lang, Scores]:
    """nDCG@10 of all questions, each language under the tuning that is best on its ``known`` ones."""
    return {lang: scores[0][choose_row(scores[0], known[lang])] for lang, scores in point.scores.items()}


def judge(difference: Interval, ms: float, current_ms: float, tie_margin: float) -> Verdict:
    """Whether something may replace what is there, from the interval of its paired differences and both times.

    Better: the interval lies above 0. Cheaper: it lies above ``-tie_margin``, and a tenth of the time is saved.
    """
    if difference.low > 0:
        return "better"
    if difference.low >= -tie_margin and ms <= (1 - LEAST_SAVING) * current_ms:
        return "cheaper"
    return "kept"


def _tuned_mean(point: Point, known: Known) -> float:
    means = [scores[known[lang]].mean() for lang, scores in tuned(point, known).items() if known[lang].any()]
    return float(np.mean(means)) if means else 0.0


def _best(scores: Mapping[str, float], n: int) -> Mapping[str, float]:
    """The ``n`` best of a side; candidates come best first, as the search ranked them."""
    return scores if len(scores) <= n else dict(list(scores.items())[:n])
