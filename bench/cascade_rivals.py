"""The rivals, on the same rows and, where they need beliefs, with the same ones as Palier's.

best_single      one model for everything, chosen on the rows at hand
random_mix       a coin decides between two models of the convex hull; expected values, so without sampling noise
query_router     argmax over models of prior - lambda * mean cost
knn_router       the same with the mean of the nearest training questions (RouterBench's strong baseline)
routellm         two models, the dear one where P(cheap one right) - P(dear one right) is low (RouteLLM)
cascade_routing  after each answer the next model may be any (De Koninck et al. 2024): the one with the largest
                 expected gain of the best answer over lambda * cost, quality of an unseen model normal around its prior
frugalgpt        as its paper describes: one scorer per model, chains of at most three, thresholds on a grid of
                 quantiles, the last answer final, all of it learnt on rows that are not test

FrugalGPT's scorer reads question and answer, as its paper's does (a DistilBERT there; here neighbours, a frozen MiniLM
and words, cross-fitted, where the paper's has seen its rows). `frugalgpt_our_scorer` is given Palier's instead: what is
left between it and Palier is agreement, the choice of the final answer, gain and routing. No rival sees agreement
between answers: none of their papers does.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise, permutations

import numpy as np
from scipy.stats import norm

from bench.cascade_data import Floats, Ints, Recorded
from bench.cascade_policies import Operating, Outcome
from palier.adapters.beliefs.learners import fit_line
from palier.adapters.beliefs.learning import Beliefs
from palier.domain.beliefs.chances import logit
from palier.domain.cascade.search import Ending, Point, best_points
from palier.domain.cascade.sweep import StepRows, pareto

N_POINTS = 60
MAX_CALLS = 3
FRUGAL_GRID = 12
"""Thresholds per step: the ends and ten quantiles."""


def text_scores(beliefs: Beliefs) -> Floats:
    """(n, M): P(answer is right | question, words of the answer), which is what FrugalGPT's scorer reads."""
    assert beliefs.levels is not None
    columns = []
    for m, words in enumerate(beliefs.levels.words):
        told = np.column_stack([logit(words.believed), logit(beliefs.prior[:, m])])
        learnt = beliefs.folds.cross_fitted(
            told, beliefs.data.correct[:, m], lambda x, y: fit_line(x, y, looseness=1.0)
        )
        columns.append(learnt.believed)
    return np.stack(columns, axis=1)


@dataclass(frozen=True)
class Fixed:
    """An operating point whose decisions are known for all rows: shares (n, M) of the final answer, and cost (n)."""

    data: Recorded
    final: Floats
    cost: Floats

    def run(self, rows: Ints) -> Outcome:
        return Outcome((self.final[rows] * self.data.correct[rows]).sum(axis=1), self.cost[rows])


@dataclass(frozen=True)
class BestSingle:
    data: Recorded
    name: str = "best_single"

    def draw(self, rows: Ints) -> Sequence[Operating]:  # noqa: ARG002 (the same points, whatever the rows)
        """Every model alone: the evaluation takes the cheapest that is good enough, or the best."""
        return [_alone(self.data, m) for m in range(self.data.n_models)]


@dataclass(frozen=True)
class RandomMix:
    data: Recorded
    name: str = "random_mix"

    def draw(self, rows: Ints) -> Sequence[Operating]:
        hull = upper_hull(self.data.cost[rows].mean(axis=0), self.data.correct[rows].mean(axis=0))
        points: list[Operating] = []
        for left, right in pairwise(hull):
            points += [_mix(self.data, left, right, share) for share in np.linspace(0, 1, 25)]
        return points or [_alone(self.data, hull[0])]


@dataclass(frozen=True)
class Router:
    """One call per question: the model with the best ``expected`` quality (n, M) less lambda times its mean cost."""

    data: Recorded
    expected: Floats
    name: str

    def draw(self, rows: Ints) -> Sequence[Operating]:
        price = self.data.cost[rows].mean(axis=0)
        return [self._at(weight, price) for weight in trade_offs(price)]

    def _at(self, weight: float, price: Floats) -> Fixed:
        return _chosen(self.data, (self.expected - weight * price).argmax(axis=1))


@dataclass(frozen=True)
class TwoModelRouter:
    """RouteLLM's form: the pair is the best model and the best of the much cheaper ones."""

    data: Recorded
    expected: Floats
    name: str = "routellm"

    def draw(self, rows: Ints) -> Sequence[Operating]:
        strong, weak = strong_and_weak(self.data, rows)
        margin = self.expected[:, weak] - self.expected[:, strong]
        cuts = np.quantile(margin[rows], np.linspace(0, 1, N_POINTS))
        picks = [np.where(margin >= cut, weak, strong) for cut in (np.inf, *cuts[::-1])]
        return [_chosen(self.data, pick) for pick in picks]


def strong_and_weak(data: Recorded, rows: Ints) -> tuple[int, int]:
    """The best model, and the best of those at less than a third of its price (or the cheapest)."""
    quality, price = data.correct[rows].mean(axis=0), data.cost[rows].mean(axis=0)
    strong = int(quality.argmax())
    cheap = [m for m in range(data.n_models) if m != strong and price[m] < price[strong] / 3]
    others = cheap or [m for m in range(data.n_models) if m != strong]
    return strong, max(others, key=lambda m: quality[m])


@dataclass(frozen=True)
class CascadeRouting:
    beliefs: Beliefs
    name: str = "cascade_routing"

    def draw(self, rows: Ints) -> Sequence[Operating]:
        price = self.beliefs.data.cost[rows].mean(axis=0)
        spread = np.sqrt(np.mean((self.beliefs.scorer[rows] - self.beliefs.prior[rows]) ** 2, axis=0))
        return [self._at(weight, price, np.maximum(spread, 1e-6)) for weight in trade_offs(price)]

    def _at(self, weight: float, price: Floats, spread: Floats) -> Fixed:
        """Calls go on while the expected gain of the best answer exceeds what the call costs."""
        data, prior, scorer = self.beliefs.data, self.beliefs.prior, self.beliefs.scorer
        every = np.arange(data.n_rows)
        first = (prior - weight * price).argmax(axis=1)
        seen = np.zeros((data.n_rows, data.n_models), dtype=np.bool_)
        seen[every, first] = True
        for _ in range(MAX_CALLS - 1):
            best = np.where(seen, scorer, -np.inf).max(axis=1)[:, None]
            ahead = (prior - best) / spread
            gain = (prior - best) * norm.cdf(ahead) + spread * norm.pdf(ahead) - weight * price
            gain[seen] = -np.inf
            nexts = gain.argmax(axis=1)
            going = gain[every, nexts] > 0
            seen[every[going], nexts[going]] = True
        final = np.where(seen, scorer, -np.inf).argmax(axis=1)
        return Fixed(data, np.eye(data.n_models)[final], (data.cost * seen).sum(axis=1))


@dataclass(frozen=True)
class FrugalClimb:
    """A chain with one scorer per model; the accepted answer, or the last one, is final."""

    beliefs: Beliefs
    scorer: Floats
    point: Point

    def run(self, rows: Ints) -> Outcome:
        data, n = self.beliefs.data, len(rows)
        quality, cost, still = np.zeros(n), np.zeros(n), np.ones(n, dtype=np.bool_)
        for model, threshold in zip(self.point.chain, self.point.thresholds, strict=True):
            quality[still] = data.correct[rows, model][still]
            cost[still] += data.cost[rows, model][still]
            still &= self.scorer[rows, model] < threshold
        return Outcome(quality, cost)


@dataclass(frozen=True)
class FrugalGpt:
    """All chains of at most three models, thresholds of the last answer's score."""

    beliefs: Beliefs
    scorer: Floats
    name: str = "frugalgpt"

    def draw(self, rows: Ints) -> Sequence[Operating]:
        models = range(self.beliefs.data.n_models)
        chains = [chain for depth in (1, 2, 3) for chain in permutations(models, min(depth, len(models)))]
        points = best_points(
            set(chains),
            lambda chain: self._endings(chain, rows),
            lambda means: means[:, 1] >= 0,
            FRUGAL_GRID**2,
        )
        return [FrugalClimb(self.beliefs, self.scorer, point) for point in points]

    def _endings(self, chain: tuple[int, ...], rows: Ints) -> Iterator[Ending]:
        data = self.beliefs.data
        cost = np.cumsum(data.cost[rows][:, chain], axis=1)
        steps = [
            StepRows(self.scorer[rows, model], np.stack([data.correct[rows, model], cost[:, depth]], axis=1))
            for depth, model in enumerate(chain)
        ]
        yield Ending(steps, 0.0)


def trade_offs(price: Floats) -> Floats:
    """Weights of cost, from none that matters to one under which only the cheapest model is ever called."""
    return np.concatenate((np.geomspace(20 / max(price.min(), 1e-12), 0.01 / price.max(), N_POINTS), [0.0]))


def upper_hull(cost: Floats, quality: Floats) -> list[int]:
    """Models on the upper convex hull of quality over cost, by rising cost."""
    hull: list[int] = []
    for m in pareto(cost, quality):
        while len(hull) > 1 and _turns_up(cost, quality, hull[-2], hull[-1], int(m)):
            hull.pop()
        hull.append(int(m))
    return hull


def _turns_up(cost: Floats, quality: Floats, a: int, b: int, c: int) -> bool:
    return bool((quality[b] - quality[a]) * (cost[c] - cost[a]) <= (quality[c] - quality[a]) * (cost[b] - cost[a]))


def _alone(data: Recorded, model: int) -> Fixed:
    return _chosen(data, np.full(data.n_rows, model))


def _chosen(data: Recorded, pick: Ints) -> Fixed:
    return Fixed(data, np.eye(data.n_models)[pick], data.cost[np.arange(data.n_rows), pick])


def _mix(data: Recorded, left: int, right: int, share: float) -> Fixed:
    final = np.zeros((data.n_rows, data.n_models))
    final[:, left], final[:, right] = 1 - share, share
    return Fixed(data, final, (final * data.cost).sum(axis=1))
