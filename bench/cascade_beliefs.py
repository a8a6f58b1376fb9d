"""What is believed about each model's answer: before any answer is seen, from one answer, and from several.

Three levels, each out of fold on the training rows so that the next may learn from honest inputs:

    prior      P(model is right | question): nearest neighbours, a frozen embedding, the question's own
    numbers scorer     P(answer is right | question, that answer) posterior  P(answer is right | question, all
    answers seen): own score, how the others agree, what they score

One posterior per model serves every set of answers seen: it is trained on random sets, what was not seen
being missing. Knows no policy and no price. Price paid: a set is seen without its order, which loses nothing
here.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.feature_extraction.text import HashingVectorizer, TfidfTransformer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from bench.cascade_data import Floats, Ints, Recorded, Seen

N_FOLDS = 4
N_NEIGHBOURS = 40
LAST_CHARACTERS = 1500
SET_SIZES = (1, 2, 2)
"""Other answers seen, for each time that a training row teaches a posterior: chains have at most three steps."""


class Chance(Protocol):
    """P(right) from a matrix of features."""

    def predict(self, features: Floats) -> Floats: ...


class Trees:
    """Boosted trees; labels may lie between 0 and 1, which counts a row as both. One label: a constant."""

    def __init__(self, features: Floats, right: Floats, seed: int, *, n_trees: int, leaves: int) -> None:
        which, labels, weights = _both_ways(right)
        self._base = float(right.mean())
        self._trees = None
        if 0 < self._base < 1:
            self._trees = HistGradientBoostingClassifier(
                max_iter=n_trees,
                learning_rate=0.1,
                max_leaf_nodes=leaves,
                min_samples_leaf=40,
                l2_regularization=1.0,
                early_stopping=False,
                random_state=seed,
            ).fit(features[which], labels, sample_weight=weights)

    def predict(self, features: Floats) -> Floats:
        if self._trees is None:
            return np.full(len(features), self._base)
        return self._trees.predict_proba(features)[:, 1]


class Line:
    """Logistic regression on standardised features, strongly regularised: many weak features."""

    def __init__(self, features: Floats, right: Floats) -> None:
        which, labels, weights = _both_ways(right)
        self._base = float(right.mean())
        self._line = None
        if 0 < self._base < 1:
            line = make_pipeline(StandardScaler(), LogisticRegression(C=0.003, max_iter=200))
            self._line = line.fit(features[which], labels, logisticregression__sample_weight=weights)

    def predict(self, features: Floats) -> Floats:
        if self._line is None:
            return np.full(len(features), self._base)
        return self._line.predict_proba(features)[:, 1]


class Words:
    """Logistic regression on the words and pairs of words of an answer."""

    def __init__(self, counts: csr_matrix, right: Floats) -> None:
        which, labels, weights = _both_ways(right)
        self._base = float(right.mean())
        self._line = None
        if 0 < self._base < 1:
            line = make_pipeline(TfidfTransformer(), LogisticRegression(C=0.5, max_iter=60))
            self._line = line.fit(counts[which], labels, logisticregression__sample_weight=weights)

    def predict(self, counts: csr_matrix) -> Floats:
        if self._line is None:
            return np.full(counts.shape[0], self._base)
        return self._line.predict_proba(counts)[:, 1]


def _word_counts(answers: NDArray[np.object_]) -> csr_matrix:
    """(n, 2^15): which words and pairs stand in the end of each answer, hashed; no vocabulary, so nothing is fitted."""
    hashed = HashingVectorizer(n_features=2**15, ngram_range=(1, 2), alternate_sign=False, binary=True)
    return hashed.transform([str(answer)[-LAST_CHARACTERS:] for answer in answers])


def _both_ways(right: Floats) -> tuple[Ints, Floats, Floats]:
    """Rows, labels and weights that say "right" with weight ``right`` and "wrong" with the rest."""
    rows = np.tile(np.arange(len(right)), 2)
    labels = np.repeat([1.0, 0.0], len(right))
    weights = np.concatenate([right, 1 - right])
    used = weights > 0
    return rows[used], labels[used], weights[used]


@dataclass(frozen=True)
class Beliefs:
    """Beliefs on all rows: out of fold on training rows, from full fits on the others.

    ``prior`` and ``scorer`` are (n, M); ``chances[fold][m]`` are posteriors, ``fold_of_row`` says which one a
    row may see.
    """

    data: Recorded
    seen: Seen
    prior: Floats
    scorer: Floats
    fold_of_row: Ints
    chances: Sequence[Sequence[Chance]]
    known: dict[frozenset[int], Floats] = field(default_factory=dict)

    @property
    def n_folds(self) -> int:
        """Rows whose fold is less than this taught the beliefs."""
        return N_FOLDS

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
        believed = np.zeros(self.data.n_rows)
        for fold, chances in enumerate(self.chances):
            rows = self.fold_of_row == fold
            if rows.any():
                believed[rows] = chances[model].predict(features[rows])
        return believed


def learn_beliefs(data: Recorded, seen: Seen, train: Ints, seed: int) -> Beliefs:
    """Fit all three levels on the rows ``train``; labels of other rows are not read."""
    rng = np.random.default_rng(seed)
    fold_of_row = np.full(data.n_rows, N_FOLDS)
    fold_of_row[train] = rng.permutation(len(train)) % N_FOLDS
    neighbours = neighbour_means(data, seen, train)
    by_question = np.column_stack([seen.query, _logit(neighbours), seen.embedding])
    prior = _out_of_fold(data, fold_of_row, train, lambda _: by_question, Line)
    told = np.column_stack([seen.query, _logit(prior)])
    words = _out_of_fold(data, fold_of_row, train, lambda m: _word_counts(data.answers[:, m]), Words)
    scorer = _out_of_fold(
        data,
        fold_of_row,
        train,
        lambda m: np.column_stack([seen.answer[:, m], told, _logit(words[:, m])]),
        lambda features, right: Trees(features, right, seed, n_trees=80, leaves=10),
    )
    sets = [random_sets(len(train), data.n_models, size, rng) for size in SET_SIZES]
    teaching = Teaching(data, seen, prior, scorer, fold_of_row, train, sets, seed)
    folds = range(N_FOLDS + 1 if len(train) < data.n_rows else N_FOLDS)
    chances = [[_learn_posterior(teaching, m, fold) for m in range(data.n_models)] for fold in folds]
    return Beliefs(data, seen, prior, scorer, fold_of_row, chances)


def random_sets(n: int, n_models: int, size: int, rng: np.random.Generator) -> NDArray[np.bool_]:
    """(n, M): ``size`` models of each row, or all where there are fewer."""
    order = rng.random((n, n_models)).argsort(axis=1)
    return order < size


@dataclass(frozen=True)
class Teaching:
    """What posteriors are learnt from; ``sets`` are masks (len(train), M) of answers seen."""

    data: Recorded
    seen: Seen
    prior: Floats
    scorer: Floats
    fold_of_row: Ints
    train: Ints
    sets: Sequence[NDArray[np.bool_]]
    seed: int


def neighbour_means(data: Recorded, seen: Seen, train: Ints) -> Floats:
    """(n, M): how the models did on the nearest training questions; a training row is not its own neighbour."""
    means = np.zeros((data.n_rows, data.n_models))
    embedding = seen.embedding.astype(np.float32)
    known = embedding[train]
    place = np.full(data.n_rows, -1)
    place[train] = np.arange(len(train))
    k = min(N_NEIGHBOURS, len(train) - 1)
    for start in range(0, data.n_rows, 1000):
        rows = np.arange(start, min(start + 1000, data.n_rows))
        near = embedding[rows] @ known.T
        own = place[rows] >= 0
        near[np.flatnonzero(own), place[rows][own]] = -np.inf
        best = np.argpartition(-near, k, axis=1)[:, :k]
        weight = np.exp(10 * np.take_along_axis(near, best, axis=1))
        means[rows] = (weight[:, :, None] * data.correct[train][best]).sum(axis=1) / weight.sum(axis=1)[:, None]
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
    scores = np.where(others, _logit(scorer), np.nan)
    with_us, against = np.nan_to_num(same == 1.0), np.nan_to_num(same == 0.0)
    summary = [
        _logit(scorer[:, model]),
        _logit(prior[:, model]),
        (with_us * scorer).sum(axis=1) - (against * scorer).sum(axis=1),
        np.where(with_us, scorer, 0).max(axis=1),
        np.where(against, scorer, 0).max(axis=1),
    ]
    rest = [m for m in range(prior.shape[1]) if m != model]  # its own columns would always be missing
    return np.column_stack([*summary, same[:, rest], scores[:, rest], _logit(prior)])


def _out_of_fold(
    data: Recorded,
    fold_of_row: Ints,
    train: Ints,
    features_of: Callable[[int], Any],
    learn: Callable[[Any, Floats], Any],
) -> Floats:
    """(n, M): chances per model, out of fold on training rows."""
    believed = np.zeros((data.n_rows, data.n_models))
    for m in range(data.n_models):
        features = features_of(m)
        for fold in range(N_FOLDS + 1):
            rows = np.flatnonzero(fold_of_row == fold)
            if len(rows):
                known = train[fold_of_row[train] != fold]
                believed[rows, m] = learn(features[known], data.correct[known, m]).predict(features[rows])
    return believed


def _learn_posterior(teaching: Teaching, model: int, fold: int) -> Chance:
    """The posterior of one model, from random sets of answers seen, without the rows of ``fold``."""
    known = teaching.fold_of_row[teaching.train] != fold
    rows = teaching.train[known]
    seen, prior, scorer = teaching.seen.take(rows), teaching.prior[rows], teaching.scorer[rows]
    features = []
    for mask in teaching.sets:
        here = mask[known].copy()
        here[:, model] = True
        features.append(posterior_features(seen, prior, scorer, model, here))
    right = np.tile(teaching.data.correct[rows, model], len(teaching.sets))
    return Trees(np.concatenate(features), right, teaching.seed, n_trees=70, leaves=10)


def _logit(chance: Floats) -> Floats:
    clipped = np.clip(chance, 0.005, 0.995)
    return np.log(clipped / (1 - clipped))
