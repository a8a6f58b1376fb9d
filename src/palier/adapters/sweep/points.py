"""Scores every setting of the grid on the golden questions, one index per cut, one fetch per set of searched fields.

Knows how to get at candidates and how to remember a finished point; what follows from the points is `domain`'s. The
price: a change of one passage, question or weight of the grid makes new points, since all of them is in the key.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import product
from typing import Any

from palier.adapters.remembered import Remembered, content_key
from palier.adapters.search_index import BM25
from palier.adapters.sweep.indexes import Cut, TrialIndexes, fetch, query_times_ms
from palier.domain.answering import Question
from palier.domain.documents import Lang
from palier.domain.fusion import Fusion
from palier.domain.retrieval_sweep import Found, Point, Setting, Tuning, score_tunings
from palier.params import RetrievalParams

Progress = Callable[[int, int, str], None]
Questions = Mapping[Lang, Mapping[str, Question]]
"""The questions of each language by their row id, in the order of every array of scores."""


@dataclass(frozen=True)
class Grid:
    """What is combined; ``tunings`` are those of each fusion."""

    fields: Sequence[tuple[str, ...]]
    exact_weights: Sequence[float]
    candidates: Sequence[int]
    tunings: Mapping[Fusion, tuple[Tuning, ...]]
    wording_weights: Sequence[float] = (0.0,)

    def settings(self, cut: Cut) -> list[Setting]:
        """Those of one cut, the ones that share a fetch next to each other."""
        combined = product(self.fields, self.exact_weights, self.candidates, self.tunings, self.wording_weights)
        return [Setting(cut.chunking, *chosen) for chosen in combined]


class PointTrials:
    """Scores settings, taking from ``memory`` what was finished before."""

    def __init__(
        self, indexes: TrialIndexes, params: RetrievalParams, questions: Questions, memory: Remembered
    ) -> None:
        self._indexes = indexes
        self._params = params
        self._questions = questions
        self._memory = memory

    def points(self, cuts: Sequence[Cut], grid: Grid, progress: Progress) -> Iterator[Point]:
        """All points of the grid on all cuts, cut by cut. Raises SearchError."""
        total = len(cuts) * len(grid.settings(cuts[0])) if cuts else 0
        done = 0
        for cut in cuts:
            trial = _CutTrial(self._indexes, self._params, self._questions, cut)
            for setting in grid.settings(cut):
                yield self._point(trial, setting, grid.tunings[setting.fusion])
                done += 1
                progress(done, total, "score settings")

    def _point(self, trial: "_CutTrial", setting: Setting, tunings: tuple[Tuning, ...]) -> Point:
        key = trial.key(setting, tunings)
        if (raw := self._memory.get(key)) is not None:
            return Point.parse(raw)
        point = trial.score(setting, tunings)
        self._memory.put(key, point.plain())
        return point


class _CutTrial:
    """The index of one cut, asked; holds the last fetch and the last times, which neighbouring settings share."""

    def __init__(self, indexes: TrialIndexes, params: RetrievalParams, questions: Questions, cut: Cut) -> None:
        self._indexes = indexes
        self._params = params
        self._questions = questions
        self._cut = cut
        self._fetched: tuple[Setting, dict[str, Found]] | None = None
        self._timed: tuple[Setting, tuple[float, float]] | None = None

    def key(self, setting: Setting, tunings: Sequence[Tuning]) -> str:
        """The content that the point follows from."""
        asked: dict[str, Any] = {
            row_id: [question.standalone, question.lang, sorted(self._cut.gold[row_id])]
            for questions in self._questions.values()
            for row_id, question in questions.items()
        }
        tuned = [asdict(tuning) for tuning in tunings]
        return content_key("point", self._cut.sha256, self._indexes.fingerprint, BM25, asdict(setting), tuned, asked)

    def score(self, setting: Setting, tunings: tuple[Tuning, ...]) -> Point:
        found = self._candidates(setting)
        scores = {
            lang: score_tunings([found[row_id] for row_id in questions], setting, tunings)
            for lang, questions in self._questions.items()
        }
        return Point(setting, tunings, scores, *self._times(setting))

    def _candidates(self, setting: Setting) -> dict[str, Found]:
        """The most candidates that any setting takes, with their wording; fewer are the first of them."""
        most = self._indexes.max_candidates
        shared = replace(setting, candidates=most, fusion="min_max", wording_weight=1.0)
        if self._fetched is None or self._fetched[0] != shared:
            questions = {key: value for part in self._questions.values() for key, value in part.items()}
            retriever = self._indexes.retriever(self._cut, searching(self._params, shared))
            self._fetched = (shared, fetch(retriever, questions, self._cut.gold))
        return self._fetched[1]

    def _times(self, setting: Setting) -> tuple[float, float]:
        shared = replace(setting, fusion="min_max")
        if self._timed is None or self._timed[0] != shared:
            retriever = self._indexes.retriever(self._cut, searching(self._params, shared))
            mixed = [question for part in self._questions.values() for question in part.values()]
            self._timed = (shared, query_times_ms(retriever, mixed, self._params.k))
        return self._timed[1]


def searching(params: RetrievalParams, setting: Setting) -> RetrievalParams:
    """``params`` that search as ``setting`` says; tunings and reranking as they were."""
    changes: dict[str, Any] = {
        name: getattr(setting, name) for name in ("fields", "exact_weight", "candidates", "fusion", "wording_weight")
    }
    return params.model_copy(update=changes)
