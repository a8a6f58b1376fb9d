"""Outcome tables drawn by chance, and `climb` run on them row by row: what the cascade's tests compare with."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from itertools import combinations

import numpy as np

from palier.domain.answering import Cascade, Climb, Hit, Question, RungAnswer, climb
from palier.domain.cascade.outcomes import Floats, OutcomeTable


@dataclass(frozen=True)
class RecordedRung:
    """Answers what was recorded for one row."""

    name: str
    recorded: RungAnswer

    def answer(self, question: Question, hits: Sequence[Hit]) -> RungAnswer:
        return self.recorded


@dataclass(frozen=True)
class RecordedScorer:
    """Scores, promises and beliefs as recorded for one row."""

    scores: dict[str, float]
    promises: dict[str, float] = field(default_factory=dict)
    beliefs: dict[frozenset[str], dict[str, float]] = field(default_factory=dict)

    def score(
        self, question: Question, hits: Sequence[Hit], answer: RungAnswer, earlier: Sequence[RungAnswer]
    ) -> float:
        return self.scores[answer.rung]

    def believe(self, question: Question, answers: Sequence[RungAnswer]) -> Sequence[float]:
        if len(answers) == 1:
            return [self.scores[answers[0].rung]]
        believed = self.beliefs[frozenset(answer.rung for answer in answers)]
        return [believed[answer.rung] for answer in answers]

    def promise(self, question: Question, rung: str) -> float:
        return self.promises[rung]


def drawn_table(
    rng: np.random.Generator, n: int, n_rungs: int, *, languages: bool = False, levels: int | None = None
) -> OutcomeTable:
    """Dearer rungs are better, scores know something; ``levels`` makes scores fall on few values (ties)."""
    skill = np.linspace(0.45, 0.85, n_rungs)
    hardness = rng.normal(size=(n, 1))
    quality = (rng.random((n, n_rungs)) < 1 / (1 + np.exp(hardness - np.log(skill / (1 - skill))))).astype(float)
    score = np.clip(0.25 + 0.5 * quality + rng.normal(0, 0.2, size=quality.shape), 0.01, 0.99)
    if levels:
        score = np.round(score * levels) / levels
    cost = (rng.integers(50, 150, size=quality.shape) * 4 ** np.arange(n_rungs)).astype(np.int64)
    return OutcomeTable(
        query_ids=[f"q{i}" for i in range(n)],
        rungs=tuple(f"rung{r}" for r in range(n_rungs)),
        quality=quality,
        cost_nanousd=cost,
        score=score,
        latency_ms=cost / 10.0,
        languages=np.array(["en", "fr"])[rng.integers(0, 2, n)] if languages else None,
    )


def with_beliefs(table: OutcomeTable, rng: np.random.Generator, *, levels: int | None = None) -> OutcomeTable:
    """The table with promises that know a little, and beliefs that know more the more answers they saw."""

    def told(quality: Floats, knows: float) -> Floats:
        told = np.clip(0.5 + knows * (quality - 0.5) + rng.normal(0, 0.2, size=quality.shape), 0.01, 0.99)
        return np.round(told * levels) / levels if levels else told

    beliefs = {
        frozenset(some): told(table.quality[:, list(some)], 0.4 + 0.1 * size)
        for size in range(2, table.n_rungs + 1)
        for some in combinations(range(table.n_rungs), size)
    }
    return replace(table, promise=told(table.quality, 0.3), beliefs=beliefs)


def climb_row(table: OutcomeTable, cascade: Cascade, row: int) -> tuple[Climb, float]:
    """The real `climb` on one row: the climb, and the quality of its final answer."""
    rungs = {
        name: RecordedRung(name, RungAnswer(name, "said", cost_nanousd=int(table.cost_nanousd[row, r])))
        for r, name in enumerate(table.rungs)
    }
    scores = {name: float(table.score[row, r]) for r, name in enumerate(table.rungs)}
    promises = {name: float(table.promise[row, r]) for r, name in enumerate(table.rungs) if table.promise is not None}
    beliefs = {
        frozenset(table.rungs[r] for r in seen): {
            table.rungs[r]: float(believed[row, at]) for at, r in enumerate(sorted(seen))
        }
        for seen, believed in (table.beliefs or {}).items()
    }
    lang = "fr" if table.row_languages[row] == "fr" else "en"
    done = climb(Question("?", lang), (), cascade, rungs, RecordedScorer(scores, promises, beliefs))
    return done, float(table.quality[row, table.rungs.index(done.final.answer.rung)])
