"""What a sweep concludes: whether something may stand in `params.yaml` instead of what is there, and why.

Takes scored settings (`retrieval_sweep`) and paired questions; knows no search and no file. Search settings are
compared within one way of cutting documents only: with longer passages the right one is easier to find and dearer to
read, so another cut replaces the present one only by its answers. The price: without a reader the cut stays.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from palier.domain.bootstrap import Interval, mean_interval
from palier.domain.documents import Lang
from palier.domain.fusion import RRF_CONSTANT
from palier.domain.retrieval_sweep import (
    METRICS,
    Chunking,
    Known,
    Point,
    Scores,
    Setting,
    Tuning,
    Verdict,
    choose_point,
    choose_row,
    cross_fitted,
    judge,
    tuned,
)
from palier.params import Params, RetrievalParams


@dataclass(frozen=True, slots=True)
class Reread:
    """How one language reranks: so many of the best, with this weight; a depth of 0 is off."""

    depth: int = 0
    weight: float = 0.0


@dataclass(frozen=True)
class Configuration:
    """Everything that a retrieval section says, measured: ``scores`` are (metrics, questions) per language."""

    name: str
    setting: Setting
    tunings: Mapping[Lang, Tuning]
    rereads: Mapping[Lang, Reread]
    scores: Mapping[Lang, Scores]
    ms_p50: float
    ms_p95: float

    @property
    def ndcg(self) -> dict[Lang, Scores]:
        return {lang: scores[0] for lang, scores in self.scores.items()}

    @property
    def quality(self) -> float:
        """Mean nDCG@10, every language counting the same."""
        return float(np.mean([scores.mean() for scores in self.ndcg.values()]))

    def retrieval(self, current: RetrievalParams) -> RetrievalParams:
        """``current`` with this configuration in its place; what it does not use keeps its value."""
        weights = {lang: tuning.dense_weight for lang, tuning in self.tunings.items()}
        constants = {lang: tuning.rrf_constant for lang, tuning in self.tunings.items()}
        depths = {lang: reread.depth for lang, reread in self.rereads.items()}
        rereads = {lang: reread.weight for lang, reread in self.rereads.items() if reread.depth}
        changes: dict[str, Any] = {
            "candidates": self.setting.candidates,
            "dense_weight": {**current.dense_weight, **weights},
            "fusion": self.setting.fusion,
            "fields": self.setting.fields,
            "exact_weight": self.setting.exact_weight,
            "wording_weight": self.setting.wording_weight,
            "rerank": {**current.rerank, **depths},
            "rerank_weight": {**current.rerank_weight, **rereads},
        }
        if self.setting.fusion == "rrf":
            changes["rrf_constant"] = {**current.rrf_constant, **constants}
        return current.model_copy(update=changes)


@dataclass(frozen=True)
class Choice:
    """A configuration, what it gains over the one in use (nDCG@10 of each question, cross-fitted), and the verdict."""

    configuration: Configuration
    gains: Mapping[Lang, Scores]
    difference: Interval
    by_language: Mapping[Lang, Interval]
    verdict: Verdict


@dataclass(frozen=True)
class Rule:
    """When a difference counts: the folds of each language's questions, how near is a tie, and chance."""

    folds: Mapping[Lang, NDArray[np.int64]]
    tie_margin: float
    seed: int

    @property
    def everything(self) -> dict[Lang, NDArray[np.bool_]]:
        """The masks that know all questions."""
        return {lang: np.ones(len(folds), dtype=bool) for lang, folds in self.folds.items()}

    def choice(self, configuration: Configuration, gains: Mapping[Lang, Scores], current_ms: float) -> Choice:
        """`judge` over all questions; kept as well where a language is shown to lose."""
        pooled = self.interval(np.concatenate(list(gains.values())))
        parts = {lang: self.interval(values) for lang, values in gains.items()}
        verdict = judge(pooled, configuration.ms_p50, current_ms, self.tie_margin)
        loses = any(part.high < 0 for part in parts.values())
        return Choice(configuration, gains, pooled, parts, "kept" if loses else verdict)

    def interval(self, differences: Scores) -> Interval:
        """Their mean, with its 95 % interval; the same differences give the same interval."""
        return mean_interval(differences, np.random.default_rng(self.seed))


def setting_in_use(params: Params) -> Setting:
    """The setting that `params.yaml` stands for now."""
    now = params.retrieval
    chunking = Chunking(params.version_documents.passage_words, params.version_documents.overlap_words)
    searched = (tuple(now.fields), now.exact_weight, now.candidates, now.fusion, now.wording_weight)
    return Setting(chunking, *searched)


def tuning_in_use(params: Params, lang: Lang) -> Tuning:
    """The language's tuning of now; as the grid writes it, so that it is found there."""
    now = params.retrieval
    constant = now.rrf_constant.get(lang, RRF_CONSTANT) if now.fusion == "rrf" else RRF_CONSTANT
    return Tuning(now.dense_weight.get(lang, 0.5), constant)


def reread_in_use(params: Params, lang: Lang) -> Reread:
    """The language's reranking of now."""
    depth = params.retrieval.rerank.get(lang, 0)
    return Reread(depth, params.retrieval.rerank_weight.get(lang, 0.5)) if depth else Reread()


def configured(name: str, point: Point, tunings: Mapping[Lang, Tuning]) -> Configuration:
    """A point under the given tunings, not reranked."""
    scores = {lang: point.scores[lang][:, point.tunings.index(tunings[lang])] for lang in point.scores}
    rereads: dict[Lang, Reread] = {lang: Reread() for lang in point.scores}
    return Configuration(name, point.setting, dict(tunings), rereads, scores, point.ms_p50, point.ms_p95)


def best_tuned(name: str, point: Point) -> Configuration:
    """A point with each language's best tuning on all questions."""
    rows = {lang: choose_row(scores[0], np.ones(scores.shape[2], dtype=bool)) for lang, scores in point.scores.items()}
    return configured(name, point, {lang: point.tunings[row] for lang, row in rows.items()})


def choose_search(points: Sequence[Point], current: Configuration, rule: Rule) -> Choice:
    """The choice among ``points`` (of the cut in use) against ``current``, both without reranking.

    The best point if cross-fitting shows it to be better; else the cheapest that ties; else the best one, as kept:
    its interval says how far the questions reach.
    """

    def held(chosen: Sequence[Point]) -> dict[Lang, Scores]:
        return cross_fitted(
            rule.folds, lambda known: tuned(chosen[choose_point(chosen, known, rule.tie_margin)], known)
        )

    def judged(candidates: Sequence[Point], best: Point) -> Choice:
        def chosen(known: Known) -> Mapping[Lang, Scores]:
            return tuned(candidates[choose_point(candidates, known, rule.tie_margin)], known)

        held = cross_fitted(rule.folds, chosen)
        gains = {lang: held[lang] - scores for lang, scores in current.ndcg.items()}
        return rule.choice(best_tuned("tuned search", best), gains, current.ms_p50)

    best = judged(points, points[choose_point(points, rule.everything, rule.tie_margin)])
    if best.verdict != "kept":
        return best
    faster = (point for point in sorted(points, key=lambda item: item.ms_p50) if point.ms_p50 < current.ms_p50)
    ties = (judged([point], point) for point in faster)
    return next((tie for tie in ties if tie.verdict != "kept"), best)


def choose_reread(scores: Scores, rereads: Sequence[Reread], in_use: int, lang: Lang, rule: Rule) -> tuple[int, Scores]:
    """The row of ``scores`` (rereads, questions; nDCG@10) to use for ``lang``, and what each question gains by it.

    Cross-fitted like the search; row ``in_use`` stays, with no gain, unless another is better, or ties and reads less.
    Without a known question (all stand in one fold) there is nothing to choose by.
    """

    def pick(known: NDArray[np.bool_]) -> int:
        if not known.any():
            return in_use
        means = scores[:, known].mean(axis=1)
        tied = np.flatnonzero(means >= means.max() - rule.tie_margin)
        return min((int(i) for i in tied), key=lambda i: (rereads[i].depth, -means[i]))

    chosen = pick(np.ones(scores.shape[1], dtype=bool))
    held = cross_fitted({lang: rule.folds[lang]}, lambda known: {lang: scores[pick(known[lang])]})
    gains = held[lang] - scores[in_use]
    verdict = judge(rule.interval(gains), rereads[chosen].depth, rereads[in_use].depth, rule.tie_margin)
    reads_less = rereads[chosen].depth < rereads[in_use].depth
    if verdict == "better" or (verdict == "cheaper" and reads_less):
        return chosen, gains
    return in_use, np.zeros(scores.shape[1])


def reranked(base: Configuration, lang: Lang, reread: Reread, scores: Scores, ms: float) -> Configuration:
    """``base`` with one language reranked: its new (metrics, questions) scores, and what that adds to a query.

    A query is as slow as that of the slowest language.
    """
    return replace(
        base,
        rereads={**base.rereads, lang: reread},
        scores={**base.scores, lang: scores},
        ms_p50=max(base.ms_p50, ms),
        ms_p95=max(base.ms_p95, ms + base.ms_p95 - base.ms_p50),
    )


def interval_table(configuration: Configuration, rng: np.random.Generator) -> dict[str, dict[str, Any]]:
    """``{language: {metric: {value, low, high, n}}}``."""
    return {
        lang: {name: mean_interval(row, rng).rounded() for name, row in zip(METRICS, scores, strict=True)}
        for lang, scores in configuration.scores.items()
    }


@dataclass(frozen=True)
class Answered:
    """What the readers made of a configuration: F1 of each question (mean over the readers), cost and time of one."""

    f1: Scores
    cost_usd: float
    latency_ms: float


@dataclass(frozen=True)
class Rival:
    """A configuration that might stand in `params.yaml`: what its retrieval gains, and what is answered from it.

    Without a ``choice`` its retrieval cannot be compared with the one in use: documents are cut differently.
    """

    configuration: Configuration
    choice: Choice | None = None
    answered: Answered | None = None

    @property
    def verdict(self) -> Verdict:
        return self.choice.verdict if self.choice else "kept"


def decide(current: Rival, rivals: Sequence[Rival], rule: Rule) -> tuple[Rival, str]:
    """The rival that replaces ``current`` (or ``current`` itself), and the reason in words.

    A rival is admitted by its retrieval (better, or tied and cheaper) unless its answers are shown to be worse, or by
    its answers alone, if they are shown to be better. Of several within ``tie_margin`` the cheapest is taken.
    """
    admitted = [rival for rival in rivals if _is_admitted(rival, current, rule)]
    if not admitted:
        return current, "nothing is shown to be better, or as good and cheaper: what is in use stays"
    worth = [_worth(rival) for rival in admitted]
    tied = [rival for rival, value in zip(admitted, worth, strict=True) if value >= max(worth) - rule.tie_margin]
    chosen = min(tied, key=lambda rival: (_price(rival), rival.configuration.ms_p50))
    return chosen, _reason(chosen, current, rule)


def answer_difference(rival: Rival, current: Rival, rule: Rule) -> Interval | None:
    """Mean of the paired differences of F1, with its 95 % interval; None where either was not asked."""
    if rival.answered is None or current.answered is None:
        return None
    return rule.interval(rival.answered.f1 - current.answered.f1)


def _is_admitted(rival: Rival, current: Rival, rule: Rule) -> bool:
    answers = answer_difference(rival, current, rule)
    if answers is not None and answers.low > 0:
        return True
    is_worse = answers is not None and answers.high < 0
    return rival.verdict != "kept" and not is_worse


def _worth(rival: Rival) -> float:
    return float(rival.answered.f1.mean()) if rival.answered else rival.configuration.quality


def _price(rival: Rival) -> float:
    return rival.answered.cost_usd if rival.answered else 0.0


def _reason(rival: Rival, current: Rival, rule: Rule) -> str:
    answers = answer_difference(rival, current, rule)
    if answers is not None and answers.low > 0:
        return f"answers are better: F1 {answers.value:+.3f} ({answers.low:+.3f} to {answers.high:+.3f})"
    assert rival.choice is not None
    gain = rival.choice.difference
    found = f"nDCG@10 {gain.value:+.3f} ({gain.low:+.3f} to {gain.high:+.3f}), cross-fitted"
    times = f"{rival.configuration.ms_p50:.1f} ms a query for {current.configuration.ms_p50:.1f}"
    words = "retrieval is better" if rival.verdict == "better" else "retrieval ties and is cheaper"
    return f"{words}: {found}; {times}"
