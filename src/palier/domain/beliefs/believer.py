"""Promises, scores and beliefs of one question at a time, as the gateway asks for them; and what each level reads.

The functions on matrices say what a level reads of the one before it: learning (`palier.adapters.beliefs.learning`) and
use go through the same ones. A belief does not know in which order answers were seen. Price paid: at each step of a
climb the answers seen before are read again (two or three milliseconds each; a promise takes nine).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from palier.domain.beliefs.chances import Chance, Floats, Ints, Neighbours, logit
from palier.domain.beliefs.texts import (
    ANSWER_WORDS,
    QUERY_WORDS,
    agreement_matrix,
    answer_features,
    final_answer,
    query_features,
    word_counts,
)


@dataclass(frozen=True)
class Seen:
    """Numbers seen in texts: ``query`` (n, q), ``embedding`` (n, d), ``answer`` (n, R, a), ``same`` (n, R, R)."""

    query: Floats
    embedding: Floats
    answer: Floats
    same: Floats

    def take(self, rows: Ints) -> "Seen":
        """The same of some rows."""
        return Seen(self.query[rows], self.embedding[rows], self.answer[rows], self.same[rows])


def see(queries: Sequence[str], answers: Sequence[Sequence[str]], embedding: Floats) -> Seen:
    """All that is looked at in texts, ``answers`` being those of R rungs to each of n questions; no label is read."""
    finals = [[final_answer(one) for one in row] for row in answers]
    answer = [[answer_features(query, one) for one in row] for query, row in zip(queries, answers, strict=True)]
    query = np.array([query_features(one) for one in queries])
    return Seen(query, embedding, np.array(answer), agreement_matrix(finals))


def promise_features(near: Sequence[Floats], by_embedding: Floats, by_words: Floats, query: Floats) -> Floats:
    """(n, 5R + q): what neighbours, vectors and words say of every rung, and the question's own numbers."""
    return np.column_stack([logit(np.column_stack([*near, by_embedding, by_words])), query])


def score_features(answer: Floats, query: Floats, promise: Floats, by_words: Floats) -> Floats:
    """(n, a + q + R + 1): one answer's numbers, the question's, all promises, and what the answer's words say."""
    return np.column_stack([answer, query, logit(promise), logit(by_words)])


def belief_features(same: Floats, promise: Floats, score: Floats, rung: int, seen: NDArray[np.bool_]) -> Floats:
    """(n, 3R + 3) numbers on ``rung``'s answer when the answers ``seen`` (n, R) were given; NaN where none was.

    Own score and promise; how many agree and differ, and how sure these are; then for each other rung whether
    it agrees (``same``: (n, R), with this rung's answer), its score, and all promises.
    """
    others = seen.copy()
    others[:, rung] = False
    agrees = np.where(others, same, np.nan)
    scores = np.where(others, logit(score), np.nan)
    with_us, against = np.nan_to_num(agrees == 1.0), np.nan_to_num(agrees == 0.0)
    summary = [
        logit(score[:, rung]),
        logit(promise[:, rung]),
        (with_us * score).sum(axis=1) - (against * score).sum(axis=1),
        np.where(with_us, score, 0).max(axis=1),
        np.where(against, score, 0).max(axis=1),
    ]
    rest = [other for other in range(promise.shape[1]) if other != rung]  # its own columns would always be missing
    return np.column_stack([*summary, agrees[:, rest], scores[:, rest], logit(promise)])


@dataclass(frozen=True)
class Believer:
    """All levels, learnt; every tuple has one part for each of ``rungs``.

    ``beliefs`` is None for a rung that another one beats by far at no higher price: no cascade of ours asks it, and
    what it said, if it was asked, is believed as far as its score.
    """

    rungs: tuple[str, ...]
    neighbours: Neighbours
    by_vector: tuple[Chance, ...]
    by_words: tuple[Chance, ...]
    promises: tuple[Chance, ...]
    by_answer_words: tuple[Chance, ...]
    scores: tuple[Chance, ...]
    beliefs: tuple[Chance | None, ...]

    def promise(self, query: str, vector: NDArray[np.float32]) -> dict[str, float]:
        """P(right | question) of every rung; ``vector`` (d) is the question's embedding."""
        asked, embedding = _numbers(query), np.asarray(vector, dtype=np.float64)[None, :]
        by_vector = _each(self.by_vector, np.column_stack([asked, embedding]))
        by_words = _each(self.by_words, word_counts([query], QUERY_WORDS))
        told = promise_features(self.neighbours.means(embedding), by_vector, by_words, asked)
        return dict(zip(self.rungs, _each(self.promises, told)[0].tolist(), strict=True))

    def believe(self, query: str, promised: Mapping[str, float], said: Mapping[str, str]) -> dict[str, float]:
        """P(right | question, all that was said) of each answer of ``said``, texts by rung; of one alone, its score.

        ``promised`` is what `promise` says of the question. Raises KeyError for a rung that is not among ``rungs``.
        """
        asked, promise = _numbers(query), np.array([[promised[name] for name in self.rungs]])
        place = {name: at for at, name in enumerate(self.rungs)}
        at = {name: place[name] for name in said}
        score, seen = np.zeros_like(promise), np.zeros(promise.shape, dtype=np.bool_)
        for name, rung in at.items():
            counts = word_counts([said[name]], ANSWER_WORDS)
            numbers = np.array([answer_features(query, said[name])])
            told = score_features(numbers, asked, promise, self.by_answer_words[rung].predict(counts)[:, None])
            score[:, rung] = self.scores[rung].predict(told)
            seen[:, rung] = True
        if len(said) == 1:
            return {name: float(score[0, rung]) for name, rung in at.items()}
        same = agreement_matrix([[final_answer(said.get(name, "")) for name in self.rungs]])
        return {name: self._believed(rung, same, promise, score, seen) for name, rung in at.items()}

    def _believed(self, rung: int, same: Floats, promise: Floats, score: Floats, seen: NDArray[np.bool_]) -> float:
        chance = self.beliefs[rung]
        if chance is None:
            return float(score[0, rung])
        return float(chance.predict(belief_features(same[:, rung], promise, score, rung, seen))[0])


def _numbers(query: str) -> Floats:
    return np.array([query_features(query)])


def _each(chances: Sequence[Chance], features: object) -> Floats:
    return np.stack([chance.predict(features) for chance in chances], axis=1)
