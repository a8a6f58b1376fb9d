"""What is believed about each model's answer: before any answer is seen, from one answer, and from several.

Three levels, each cross-fitted on the rows that teach so that the next may learn from honest inputs:

    prior      P(model is right | question): neighbours near and far, a frozen embedding, words, the question's numbers
    scorer     P(answer is right | question, that answer)
    posterior  P(answer is right | question, all answers seen): own score, how the others agree, what they score

One posterior per model serves every set of answers seen: it is trained on random sets, what was not seen
being missing. Models that another one beats by far at no higher price get a prior and a scorer, for the rivals, but
no posterior. Knows no policy. Price paid: a set is seen without its order, which loses nothing here; a model left
out is no second opinion either.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix
from sklearn.feature_extraction.text import HashingVectorizer

from bench.cascade_data import Floats, Ints, Recorded, Seen
from bench.cascade_learners import MOST_REPEATS, Blend, Chance, Folds, Line, Trees, Words

N_NEIGHBOURS = (15, 40, 80)
QUERY_WORDS = 2**16
ANSWER_WORDS = 2**15
LAST_CHARACTERS = 1500
SET_SIZES = (1, 2, 2)
"""Other answers seen, for each time that a training row teaches a posterior: chains have at most three steps."""
FAR_BEHIND = 0.1
"""A model is left out of chains when another one, no dearer, is right more often by this share."""


def _words_of(texts: Iterable[object], n_features: int) -> csr_matrix:
    """(n, n_features): which words and pairs stand in the end of each text, hashed: no vocabulary, nothing fitted."""
    hashed = HashingVectorizer(n_features=n_features, ngram_range=(1, 2), alternate_sign=False, binary=True)
    return hashed.transform([str(text)[-LAST_CHARACTERS:] for text in texts])


@dataclass(frozen=True)
class Beliefs:
    """Beliefs on all rows, each by models that have not seen it.

    ``prior`` and ``scorer`` are (n, M); ``by_text`` (n, M) is a plainer scorer, of question and words of the answer,
    for the rival that has one; ``chances[m][fold]`` are posteriors of the ``useful`` models.
    """

    data: Recorded
    seen: Seen
    prior: Floats
    scorer: Floats
    by_text: Floats
    folds: Folds
    useful: tuple[int, ...]
    chances: dict[int, list[Chance]]
    known: dict[frozenset[int], Floats] = field(default_factory=dict)

    def posterior(self, answers: frozenset[int]) -> Floats:
        """(n, |answers|): P(right) of each answer in the set, models in rising order; of one answer, its score."""
        if len(answers) == 1:
            return self.scorer[:, sorted(answers)]
        if answers not in self.known:
            columns = [self._one(model, answers) for model in sorted(answers)]
            self.known[answers] = np.stack(columns, axis=1)
        return self.known[answers]

    def _one(self, model: int, answers: frozenset[int]) -> Floats:
        mask = np.zeros((self.data.n_rows, self.data.n_models), dtype=np.bool_)
        mask[:, sorted(answers)] = True
        features = posterior_features(self.seen, self.prior, self.scorer, model, mask)
        return self.folds.believed(self.chances[model], features)


def learn_beliefs(data: Recorded, seen: Seen, teaching: Ints, seed: int, most_repeats: int = MOST_REPEATS) -> Beliefs:
    """Fit all three levels on the rows ``teaching``; labels of other rows are not read."""
    rng = np.random.default_rng(seed)
    folds = Folds.drawn(data.n_rows, teaching, rng, most_repeats)
    prior = learn_prior(data, seen, folds, seed)
    scorer, by_text = learn_scorers(data, seen, prior, folds, seed)
    useful = useful_models(data, folds.teaching)
    sets = [random_sets(data.n_rows, data.n_models, useful, size, rng) for size in SET_SIZES]
    lesson = Lesson(data, seen, prior, scorer, folds, sets, seed)
    chances = {m: [_learn_posterior(lesson, m, fold) for fold in range(folds.n_models)] for m in useful}
    return Beliefs(data, seen, prior, scorer, by_text, folds, useful, chances)


def learn_prior(data: Recorded, seen: Seen, folds: Folds, seed: int) -> Floats:
    """(n, M): P(right) from the question alone: a line and trees, averaged, over what three simple learners believe.

    The learners: neighbours at three distances, a line on the embedding, a line on words.
    """
    near = neighbour_means(data, seen, folds.teaching)
    embedded = np.column_stack([seen.query, seen.embedding])
    counts = _words_of(data.queries, QUERY_WORDS)

    def every(features: Any, learn: Callable[[Any, Floats], Chance]) -> Floats:
        columns = [folds.cross_fitted(features, data.correct[:, m], learn) for m in range(data.n_models)]
        return np.stack(columns, axis=1)

    by_embedding = every(embedded, lambda features, right: Line(features, right, looseness=0.001))
    by_words = every(counts, lambda counted, right: Words(counted, right, looseness=1.0))
    stacked = np.column_stack([logit(np.column_stack([*near, by_embedding, by_words])), seen.query])
    line = every(stacked, Line)
    return (line + every(stacked, lambda features, right: Trees(features, right, seed, n_trees=100, leaves=6))) / 2


def learn_scorers(data: Recorded, seen: Seen, prior: Floats, folds: Folds, seed: int) -> tuple[Floats, Floats]:
    """(n, M) twice: P(right) from the question and one answer, with all that is seen in it and from its words alone."""
    scorer, by_text = np.zeros_like(prior), np.zeros_like(prior)
    for m in range(data.n_models):
        right = data.correct[:, m]
        words = logit(folds.cross_fitted(_words_of(data.answers[:, m], ANSWER_WORDS), right, Words))
        told = np.column_stack([seen.answer[:, m], seen.query, logit(prior), words])
        scorer[:, m] = folds.cross_fitted(told, right, lambda x, y: Blend(x, y, seed))
        plain = np.column_stack([words, logit(prior[:, m])])
        by_text[:, m] = folds.cross_fitted(plain, right, lambda x, y: Line(x, y, looseness=1.0))
    return scorer, by_text


def useful_models(data: Recorded, rows: Ints) -> tuple[int, ...]:
    """Models that no other one, no dearer, leaves far behind; at least two."""
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
    """(n, M): ``size`` useful models of each row, or all of them where there are fewer."""
    mask = np.zeros((n, n_models), dtype=np.bool_)
    mask[:, list(useful)] = rng.random((n, len(useful))).argsort(axis=1).argsort(axis=1) < size
    return mask


@dataclass(frozen=True)
class Lesson:
    """What posteriors are learnt from; ``sets`` are masks (n, M) of answers seen."""

    data: Recorded
    seen: Seen
    prior: Floats
    scorer: Floats
    folds: Folds
    sets: Sequence[NDArray[np.bool_]]
    seed: int


def neighbour_means(data: Recorded, seen: Seen, train: Ints) -> list[Floats]:
    """(n, M) for each number of neighbours: how the models did on the nearest questions of ``train``.

    A row of ``train`` is not its own neighbour.
    """
    means = [np.zeros((data.n_rows, data.n_models)) for _ in N_NEIGHBOURS]
    embedding = seen.embedding.astype(np.float32)
    known = embedding[train]
    place = np.full(data.n_rows, -1)
    place[train] = np.arange(len(train))
    most = min(max(N_NEIGHBOURS), len(train) - 1)
    for start in range(0, data.n_rows, 1000):
        rows = np.arange(start, min(start + 1000, data.n_rows))
        near = embedding[rows] @ known.T
        own = place[rows] >= 0
        near[np.flatnonzero(own), place[rows][own]] = -np.inf
        best = np.argpartition(-near, most, axis=1)[:, :most]
        best = np.take_along_axis(best, np.argsort(-np.take_along_axis(near, best, axis=1), axis=1), axis=1)
        weight = np.exp(10 * np.take_along_axis(near, best, axis=1))[:, :, None]
        weighted = weight * data.correct[train][best]
        for found, k in zip(means, N_NEIGHBOURS, strict=True):
            found[rows] = weighted[:, :k].sum(axis=1) / weight[:, :k].sum(axis=1)
    return means


def posterior_features(seen: Seen, prior: Floats, scorer: Floats, model: int, mask: NDArray[np.bool_]) -> Floats:
    """(n, 3M + 3) numbers on ``model``'s answer when the answers of ``mask`` (n, M) were seen; NaN where not
    seen.

    Own score and prior; how many agree and differ, and how sure these are; then for each other model whether
    it agrees, its score, and all priors.
    """
    others = mask.copy()
    others[:, model] = False
    same = np.where(others, seen.same[:, model], np.nan)
    scores = np.where(others, logit(scorer), np.nan)
    with_us, against = np.nan_to_num(same == 1.0), np.nan_to_num(same == 0.0)
    summary = [
        logit(scorer[:, model]),
        logit(prior[:, model]),
        (with_us * scorer).sum(axis=1) - (against * scorer).sum(axis=1),
        np.where(with_us, scorer, 0).max(axis=1),
        np.where(against, scorer, 0).max(axis=1),
    ]
    rest = [m for m in range(prior.shape[1]) if m != model]  # its own columns would always be missing
    return np.column_stack([*summary, same[:, rest], scores[:, rest], logit(prior)])


def _learn_posterior(lesson: Lesson, model: int, fold: int) -> Chance:
    """The posterior of one model, from random sets of answers seen, without the rows of ``fold``."""
    rows = lesson.folds.known(fold)
    seen, prior, scorer = lesson.seen.take(rows), lesson.prior[rows], lesson.scorer[rows]
    features = []
    for mask in lesson.sets:
        here = mask[rows].copy()
        here[:, model] = True
        features.append(posterior_features(seen, prior, scorer, model, here))
    right = np.tile(lesson.data.correct[rows, model], len(lesson.sets))
    return Blend(np.concatenate(features), right, lesson.seed)


def logit(chance: Floats) -> Floats:
    """Log-odds, held within what a few hundred rows can tell."""
    clipped = np.clip(chance, 0.005, 0.995)
    return np.log(clipped / (1 - clipped))
