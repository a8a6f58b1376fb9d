"""What one more call is expected to change: the gain of the answer that would then be believed most.

A wrong first answer is no reason to climb when the dear model would be wrong as well. So beside P(the answer at hand
is right) the expected change of quality by calling a further model is learnt directly, from what such calls changed on
rows that teach: a number in -1..1 per set of answers seen and next model. Knows beliefs; knows no price. Price
paid: differences are noisier than chances, so the trees are shallow and see only beliefs and agreement, no text.
"""

from dataclasses import dataclass, field
from itertools import combinations

import numpy as np
from sklearn.ensemble import HistGradientBoostingRegressor

from bench.cascade_data import Floats, Ints
from palier.adapters.beliefs.learning import Beliefs
from palier.domain.beliefs.chances import Chance, logit

SETS_PER_ROW = 3
"""Each row teaches the gain of a model from about so many sets of answers seen."""
MOST_SEEN = 2


class GainTrees:
    """Boosted trees for a difference of qualities (-1..1): few leaves, many rows in each, for the noise is large."""

    def __init__(self, features: Floats, gain: Floats, seed: int) -> None:
        self._told = np.flatnonzero(~np.isnan(features).all(axis=0))  # trees cannot bin a column without a number
        self._trees = HistGradientBoostingRegressor(
            max_iter=80,
            learning_rate=0.06,
            max_leaf_nodes=8,
            min_samples_leaf=max(20, len(gain) // 200),
            l2_regularization=5.0,
            early_stopping=False,
            random_state=seed,
        ).fit(features[:, self._told], gain)

    def predict(self, features: Floats) -> Floats:
        """Expected gains (n), -1..1."""
        return np.clip(self._trees.predict(features[:, self._told]), -1.0, 1.0)


@dataclass(frozen=True)
class Gains:
    """``models[j]`` are the fold models for the next call ``j``."""

    beliefs: Beliefs
    models: dict[int, list[Chance]]
    known: dict[tuple[frozenset[int], int], Floats] = field(default_factory=dict)

    def of(self, seen: frozenset[int], following: int) -> Floats:
        """(n): expected change of quality when ``following`` is called after the answers ``seen``."""
        if (seen, following) not in self.known:
            every = np.arange(self.beliefs.data.n_rows)
            features = gain_features(self.beliefs, seen, following, every)
            self.known[seen, following] = self.beliefs.folds.believed(self.models[following], features)
        return self.known[seen, following]


def learn_gains(beliefs: Beliefs, seed: int) -> Gains:
    """One regression per next model and fold, over sets of one and two answers seen."""
    rng = np.random.default_rng(seed)
    models = {}
    for following in beliefs.useful:
        features, gains, rows = _lesson(beliefs, following, rng)
        known = [beliefs.folds.known(at, rows) for at in range(beliefs.folds.n_models)]
        models[following] = [GainTrees(features[may], gains[may], seed) for may in known]
    return Gains(beliefs, models)


def _lesson(beliefs: Beliefs, following: int, rng: np.random.Generator) -> tuple[Floats, Floats, Ints]:
    """Features, gains and row numbers: each set of answers seen on a share of the rows that teach."""
    others = [m for m in beliefs.useful if m != following]
    sizes = range(1, min(MOST_SEEN, len(others)) + 1)
    sets = [frozenset(some) for size in sizes for some in combinations(others, size)]
    share, teaching = min(1.0, SETS_PER_ROW / len(sets)), beliefs.folds.teaching
    parts = []
    for seen in sets:
        rows = teaching[rng.random(len(teaching)) < share]
        gain = final_quality(beliefs, seen | {following})[rows] - final_quality(beliefs, seen)[rows]
        parts.append((gain_features(beliefs, seen, following, rows), gain, rows))
    features, gains, rows = (np.concatenate(column) for column in zip(*parts, strict=True))
    return features, gains, rows


def final_quality(beliefs: Beliefs, seen: frozenset[int]) -> Floats:
    """(n): quality of the answer believed most among ``seen``."""
    models = np.array(sorted(seen))
    best = models[beliefs.posterior(seen).argmax(axis=1)]
    return beliefs.data.correct[np.arange(beliefs.data.n_rows), best]


def gain_features(beliefs: Beliefs, seen: frozenset[int], following: int, rows: Ints) -> Floats:
    """(len(rows), 3M + 4 + q): the best belief, the next model's lead in prior, beliefs, agreement with the best,
    priors, and the question's own numbers; NaN for what was not seen."""
    models, n_models = np.array(sorted(seen)), beliefs.data.n_models
    posterior = beliefs.posterior(seen)[rows]
    at = np.arange(len(rows))
    best = models[posterior.argmax(axis=1)]
    prior = logit(beliefs.prior[rows])
    believed, same = np.full((len(rows), n_models), np.nan), np.full((len(rows), n_models), np.nan)
    believed[:, models] = logit(posterior)
    same[:, models] = beliefs.seen.same[rows, best][:, models]
    ordered = np.sort(believed[:, models], axis=1)
    second = ordered[:, -2] if len(models) > 1 else np.full(len(rows), np.nan)
    summary = [ordered[:, -1], second, prior[:, following], prior[:, following] - prior[at, best]]
    return np.column_stack([*summary, believed, same, prior, beliefs.seen.query[rows]])
