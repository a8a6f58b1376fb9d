"""What is believed about each rung's answer: before any answer is seen, from one answer, and from several.

Three levels, each cross-fitted on the rows that teach so that the next may learn from honest inputs:

    promise    P(rung is right | question): neighbours near and far, a frozen embedding, words, the question's numbers
    score      P(answer is right | question, that answer)
    belief     P(answer is right | question, all answers seen): own score, how the others agree, what they score

One model of beliefs per rung serves every set of answers seen: it is trained on random sets, what was not seen
being missing. Rungs that another one beats by far at no higher price get a promise and a score, but
no beliefs. Knows no policy. Price paid: a set is seen without its order, which loses nothing here; a rung left
out is no second opinion either.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from palier.adapters.beliefs.learners import (
    Folds,
    Learnt,
    fit_blend,
    fit_forest,
    fit_line,
    fit_words,
    judge_of_new,
)
from palier.domain.beliefs.believer import Believer, Seen, belief_features, promise_features, score_features
from palier.domain.beliefs.chances import Chance, Floats, Ints, Mean, Neighbours
from palier.domain.beliefs.texts import ANSWER_WORDS, QUERY_WORDS, word_counts

Progress = Callable[[int, int, str], None]
SET_SIZES = (1, 2, 2)
"""Other answers seen, for each time that a training row teaches a belief: chains have at most three steps."""
FAR_BEHIND = 0.1
"""A rung is left out of chains when another one, no dearer, is right more often by this share."""


@dataclass(frozen=True)
class Outcomes:
    """What R rungs said to n questions: ``answers`` (n, R) texts, ``correct`` (n, R) 0..1, ``cost`` (n, R)."""

    queries: Sequence[str]
    answers: NDArray[np.object_]
    correct: Floats
    cost: Floats

    @property
    def n_rows(self) -> int:
        return len(self.queries)

    @property
    def n_models(self) -> int:
        return int(self.correct.shape[1])


@dataclass(frozen=True)
class Promises:
    """The first level: what each part of it learnt, for each rung; ``promised`` (n, R)."""

    neighbours: Neighbours
    by_vector: Sequence[Learnt]
    by_words: Sequence[Learnt]
    lines: Sequence[Learnt]
    forests: Sequence[Learnt]

    @property
    def promised(self) -> Floats:
        return (_side_by_side(self.lines) + _side_by_side(self.forests)) / 2


@dataclass(frozen=True)
class Beliefs:
    """Beliefs on all rows, each by models that have not seen it.

    ``prior`` (the promises) and ``scorer`` are (n, R); ``chances[rung]`` are the fold models of beliefs of the
    ``useful`` rungs.
    """

    data: Outcomes
    seen: Seen
    prior: Floats
    scorer: Floats
    folds: Folds
    useful: tuple[int, ...]
    chances: dict[int, list[Chance]]
    levels: "Levels | None" = None
    known: dict[frozenset[int], Floats] = field(default_factory=dict)

    def posterior(self, answers: frozenset[int]) -> Floats:
        """(n, |answers|): P(right) of each answer in the set, rungs in rising order; of one answer, its score."""
        if len(answers) == 1:
            return self.scorer[:, sorted(answers)]
        if answers not in self.known:
            columns = [self._one(rung, answers) for rung in sorted(answers)]
            self.known[answers] = np.stack(columns, axis=1)
        return self.known[answers]

    def _one(self, rung: int, answers: frozenset[int]) -> Floats:
        mask = np.zeros((self.data.n_rows, self.data.n_models), dtype=np.bool_)
        mask[:, sorted(answers)] = True
        features = belief_features(self.seen.same[:, rung], self.prior, self.scorer, rung, mask)
        return self.folds.believed(self.chances[rung], features)


@dataclass(frozen=True)
class Levels:
    """What was learnt below the beliefs: promises, and for each rung its answers' words and its scores."""

    promises: Promises
    words: Sequence[Learnt]
    scores: Sequence[Learnt]


def learn_beliefs(
    data: Outcomes,
    seen: Seen,
    folds: Folds,
    seed: int,
    progress: Progress = lambda done, total, what: None,  # noqa: ARG005 (nobody looks)
) -> Beliefs:
    """Fit all three levels on the rows that teach; labels of other rows are not read."""
    rng = np.random.default_rng(seed)
    promises = learn_promises(data, seen, folds, seed)
    progress(1, 3, "promises learnt")
    levels = Levels(promises, *learn_scores(data, seen, promises.promised, folds, seed))
    progress(2, 3, "scores learnt")
    prior, scorer = promises.promised, _side_by_side(levels.scores)
    useful = useful_models(data, folds.teaching)
    sets = [random_sets(data.n_rows, data.n_models, useful, size, rng) for size in SET_SIZES]
    lesson = _Lesson(data, seen, prior, scorer, folds, sets, seed)
    chances = {rung: [_learn_belief(lesson, rung, fold) for fold in range(folds.n_models)] for rung in useful}
    progress(3, 3, "beliefs learnt")
    return Beliefs(data, seen, prior, scorer, folds, useful, chances, levels)


def in_use(beliefs: Beliefs, rungs: Sequence[str]) -> Believer:
    """The models that judge new questions, for the rungs by their names."""
    levels = beliefs.levels
    assert levels is not None
    promises = levels.promises
    lines, forests = _judges(promises.lines), _judges(promises.forests)
    chances = {rung: judge_of_new(models) for rung, models in beliefs.chances.items()}
    return Believer(
        tuple(rungs),
        promises.neighbours,
        _judges(promises.by_vector),
        _judges(promises.by_words),
        tuple(Mean(pair) for pair in zip(lines, forests, strict=True)),
        _judges(levels.words),
        _judges(levels.scores),
        tuple(chances.get(rung) for rung in range(beliefs.data.n_models)),
    )


def learn_promises(data: Outcomes, seen: Seen, folds: Folds, seed: int) -> Promises:
    """P(right) from the question alone: a line and trees, averaged, over what three simple learners believe.

    The learners: neighbours at three distances, a line on the embedding, a line on words.
    """
    neighbours = known_neighbours(data, seen, folds.teaching)
    near = neighbours.means(seen.embedding, places_of(folds.teaching, data.n_rows))
    embedded = np.column_stack([seen.query, seen.embedding])
    counts = word_counts(data.queries, QUERY_WORDS)

    def every(features: Any, learn: Callable[[Any, Floats], Chance]) -> list[Learnt]:
        return [folds.cross_fitted(features, data.correct[:, rung], learn) for rung in range(data.n_models)]

    by_vector = every(embedded, lambda features, right: fit_line(features, right, looseness=0.001))
    by_words = every(counts, lambda counted, right: fit_words(counted, right, looseness=1.0))
    stacked = promise_features(near, _side_by_side(by_vector), _side_by_side(by_words), seen.query)
    lines = every(stacked, fit_line)
    forests = every(stacked, lambda features, right: fit_forest(features, right, seed, n_trees=100, leaves=6))
    return Promises(neighbours, by_vector, by_words, lines, forests)


def known_neighbours(data: Outcomes, seen: Seen, teaching: Ints) -> Neighbours:
    """How the rungs did on the questions that teach."""
    vectors = np.ascontiguousarray(seen.embedding[teaching], dtype=np.float32)
    return Neighbours(vectors, data.correct[teaching].astype(np.float32))


def places_of(teaching: Ints, n: int) -> Ints:
    """(n): where each row stands among those that teach, -1 for the others."""
    place = np.full(n, -1)
    place[teaching] = np.arange(len(teaching))
    return place


def learn_scores(
    data: Outcomes, seen: Seen, prior: Floats, folds: Folds, seed: int
) -> tuple[list[Learnt], list[Learnt]]:
    """For each rung, P(right) from the words of its answer alone, and from all that is seen in it."""
    by_words, scores = [], []
    for rung in range(data.n_models):
        right = data.correct[:, rung]
        by_words.append(folds.cross_fitted(answer_word_counts(data, rung), right, fit_words))
        told = score_features(seen.answer[:, rung], seen.query, prior, by_words[-1].believed[:, None])
        scores.append(folds.cross_fitted(told, right, lambda x, y: fit_blend(x, y, seed)))
    return by_words, scores


def answer_word_counts(data: Outcomes, rung: int) -> csr_matrix:
    """(n, ANSWER_WORDS): the words of one rung's answers."""
    return word_counts(map(str, data.answers[:, rung]), ANSWER_WORDS)


def useful_models(data: Outcomes, rows: Ints) -> tuple[int, ...]:
    """Rungs that no other one, no dearer, leaves far behind; at least two."""
    quality, price = data.correct[rows].mean(axis=0), data.cost[rows].mean(axis=0)
    ahead = np.array(
        [
            [quality[k] - quality[m] if price[k] <= price[m] else 0.0 for k in range(len(price))]
            for m in range(len(price))
        ]
    ).max(axis=1)
    n_kept = max(2, int((ahead <= FAR_BEHIND).sum()))
    return tuple(sorted(int(m) for m in np.argsort(ahead, kind="stable")[:n_kept]))


def random_sets(n: int, n_models: int, useful: Sequence[int], size: int, rng: np.random.Generator) -> NDArray[np.bool_]:
    """(n, R): ``size`` useful rungs of each row, or all of them where there are fewer."""
    mask = np.zeros((n, n_models), dtype=np.bool_)
    mask[:, list(useful)] = rng.random((n, len(useful))).argsort(axis=1).argsort(axis=1) < size
    return mask


@dataclass(frozen=True)
class _Lesson:
    """What beliefs are learnt from; ``sets`` are masks (n, R) of answers seen."""

    data: Outcomes
    seen: Seen
    prior: Floats
    scorer: Floats
    folds: Folds
    sets: Sequence[NDArray[np.bool_]]
    seed: int


def _learn_belief(lesson: _Lesson, rung: int, fold: int) -> Chance:
    """The beliefs of one rung, from random sets of answers seen, without the rows of ``fold``."""
    rows = lesson.folds.known(fold)
    same, prior, scorer = lesson.seen.same[rows, rung], lesson.prior[rows], lesson.scorer[rows]
    features = []
    for mask in lesson.sets:
        here = mask[rows].copy()
        here[:, rung] = True
        features.append(belief_features(same, prior, scorer, rung, here))
    right = np.tile(lesson.data.correct[rows, rung], len(lesson.sets))
    return fit_blend(np.concatenate(features), right, lesson.seed)


def _side_by_side(learnt: Sequence[Learnt]) -> Floats:
    """(n, R)."""
    return np.stack([one.believed for one in learnt], axis=1)


def _judges(learnt: Sequence[Learnt]) -> tuple[Chance, ...]:
    return tuple(judge_of_new(one.models) for one in learnt)
