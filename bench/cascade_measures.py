"""How a policy's operating point is chosen before test, and what it is worth on test rows.

The point is drawn and chosen on rows that are not test (beliefs out of fold). Winner's curse: how much better a front
looks on the rows that drew it than on rows that did not is measured by three-fold cross-fitting, near the reference's
quality, and added to the aim; every policy gets the same correction. Only then are test rows looked at,
once. Price paid: the correction is an average over that part of the front, not one per point.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import product

import numpy as np

from bench.cascade_data import Floats, Ints
from bench.cascade_policies import Climb, Operating, Palier, Policy, upper
from palier.domain.cascade.guarantee import longest_proven

N_FOLDS, N_DEALS = 3, 2
MOST_POINTS = 300
PARITY, MINUS_1PP = -0.004, -0.01
"""What all policies aim at: parity allows half a point of loss, and new rows have chance of their own."""
AIMS = np.linspace(-0.015, 0.005, 9)
"""Where the winner's curse is measured: about the aims above."""


@dataclass(frozen=True)
class Drawn:
    """Operating points with their means on some rows; ``reference`` is the quality of the best single model there."""

    points: Sequence[Operating]
    quality: Floats
    cost: Floats
    reference: float

    def cheapest(self, change: float) -> int:
        """The cheapest point whose quality is the reference's plus ``change``, or the best there is."""
        good = np.flatnonzero(self.quality >= self.reference + change - 1e-12)
        return int(good[self.cost[good].argmin()]) if len(good) else int(self.quality.argmax())

    def best_within(self, cost: float) -> int:
        """The best point that costs no more, or the cheapest there is."""
        kept = np.flatnonzero(self.cost <= cost * (1 + 1e-9))
        return int(kept[self.quality[kept].argmax()]) if len(kept) else int(self.cost.argmin())


def drawn(policy: Policy, rows: Ints, reference: Floats) -> Drawn:
    """The policy's points and their means on ``rows``; ``reference`` (n of all rows) is the best single's quality."""
    points = policy.draw(rows)
    if len(points) > MOST_POINTS:
        kept = np.unique(np.linspace(0, len(points) - 1, MOST_POINTS).astype(int))
        points = [points[i] for i in kept]
    done = [point.run(rows) for point in points]
    quality = np.array([outcome.quality.mean() for outcome in done])
    cost = np.array([outcome.cost.mean() for outcome in done])
    return Drawn(points, quality, cost, float(reference[rows].mean()))


def optimism(policy: Policy, rows: Ints, reference: Floats, rng: np.random.Generator) -> float:
    """How much better, at equal aims, points look on the rows that drew them than on rows left out.

    From two thirds of the rows, so taken by two thirds: the curse shrinks about as fast as rows are added.
    """
    deals = [rng.permutation(len(rows)) % N_FOLDS for _ in range(N_DEALS)]
    gaps = []
    for part, fold in product(deals, range(N_FOLDS)):
        inside, outside = rows[part != fold], rows[part == fold]
        found = drawn(policy, inside, reference)
        for aim in AIMS:
            at = found.cheapest(float(aim))
            promised = found.quality[at] - found.reference
            kept = (found.points[at].run(outside).quality - reference[outside]).mean()
            gaps.append(promised - kept)
    return float(max(0.0, np.mean(gaps)) * (N_FOLDS - 1) / N_FOLDS)


@dataclass(frozen=True)
class Measured:
    """One policy on one split: the contract's figures, and its curve on test rows."""

    figures: dict[str, float]
    curve: list[tuple[float, float]]
    drawn: Drawn
    optimism: float


def measure(
    policy: Policy, choosing: Ints, test: Ints, quality: Floats, cost: Floats, rng: np.random.Generator
) -> Measured:
    """Choose on ``choosing``, then look at ``test``; ``quality`` and ``cost`` (n, M) are the single models'."""
    best = int(quality[choosing].mean(axis=0).argmax())
    reference, price = quality[:, best], float(cost[test, best].mean())
    found = drawn(policy, choosing, reference)
    curse = 0.0 if policy.name == "best_single" else optimism(policy, choosing, reference, rng)
    chosen = {
        "parity": found.cheapest(curse + PARITY),
        "minus_1pp": found.cheapest(curse + MINUS_1PP),
        "equal": found.best_within(float(cost[choosing, best].mean())),
    }
    done = {name: found.points[at].run(test) for name, at in chosen.items()}
    change = {name: 100 * float((outcome.quality - reference[test]).mean()) for name, outcome in done.items()}
    curve = [found.points[at].run(test) for at in range(len(found.points))]
    costs = np.array([outcome.cost.mean() for outcome in curve])
    qualities = np.array([outcome.quality.mean() for outcome in curve])
    as_good = costs[qualities >= reference[test].mean() - 1e-12]
    figures = {
        "saving_at_parity": 1 - float(done["parity"].cost.mean()) / price,
        "change_at_parity_pp": change["parity"],
        "saving_at_minus_1pp": 1 - float(done["minus_1pp"].cost.mean()) / price,
        "change_at_minus_1pp_pp": change["minus_1pp"],
        "quality_gain_at_equal_cost_pp": change["equal"],
        "cost_share_at_equal_cost": float(done["equal"].cost.mean()) / price,
        "front_saving_at_parity": 1 - float(as_good.min()) / price if len(as_good) else 0.0,
    }
    if quality.shape[1] == 2:
        shares = np.array([strong_share(outcome.cost, cost[test]) for outcome in curve])
        figures |= routellm_figures(shares, qualities, quality[test], cost[test])
    order = np.argsort(costs)[np.unique(np.linspace(0, len(costs) - 1, 25).astype(int))]
    return Measured(figures, [(float(costs[i]), float(qualities[i])) for i in order], found, curse)


def strong_share(paid: Floats, cost: Floats) -> float:
    """Share of rows that called the dearer of two models, from what each row paid; a coin's share counts as it is.

    RouteLLM counts calls, not money: long questions cost more, but not more calls.
    """
    weak, strong = np.argsort(cost.mean(axis=0))
    beyond = (paid - cost[:, weak]) / np.maximum(cost[:, strong] - cost[:, weak], 1e-12)
    return float(np.clip(beyond, 0, 1).mean())


def routellm_figures(share: Floats, qualities: Floats, quality: Floats, cost: Floats) -> dict[str, float]:
    """APGR and CPT50 (Ong et al. 2024, section 4): the part of the quality gap that is recovered, over the ``share``
    of questions that call the strong model."""
    weak, strong = np.argsort(cost.mean(axis=0))
    gap = float(quality[:, strong].mean() - quality[:, weak].mean())
    if gap <= 0:
        return {}
    recovered = (qualities - quality[:, weak].mean()) / gap
    order = np.argsort(share, kind="stable")
    x, y = np.concatenate(([0.0], share[order], [1.0])), np.concatenate(([0.0], recovered[order], [1.0]))
    half = x[np.flatnonzero(y >= 0.5)]
    return {"apgr": float(np.trapezoid(y, x)), "cpt50": float(half.min())}


def budgets_kept(found: Drawn, choosing: Ints, test: Ints, budgets: Floats, alpha: float) -> list[bool]:
    """Of each budget (USD a question): did the best point that keeps it with confidence keep it on test,
    within 5 %?

    A budget below every point is answered with "infeasible", which keeps it.
    """
    bounds = np.array([upper(point.run(choosing).cost, alpha) for point in found.points])
    kept = []
    for budget in budgets:
        allowed = np.flatnonzero(bounds <= budget)
        if len(allowed) == 0:
            kept.append(True)
            continue
        at = int(allowed[found.quality[allowed].argmax()])
        kept.append(float(found.points[at].run(test).cost.mean()) <= 1.05 * budget)
    return kept


@dataclass(frozen=True)
class Trial:
    """One re-drawn calibration: was the margin claimed, was it lost on the rest, and what was saved there."""

    claimed: bool
    lost: bool
    saving: float


def guarantee_trial(
    palier: Palier, rows: Ints, n: int, reference: int, margin: float, alpha: float, rng: np.random.Generator
) -> Trial:
    """Draw ``n`` calibration rows, choose the cheapest proven aim on them, and judge it on the other ``rows``."""
    data = palier.steps.beliefs.data
    shuffled = rng.permutation(rows)
    calibration, rest = shuffled[:n], shuffled[n:]
    climb = proven(palier, calibration, data.correct[:, reference], margin, alpha, len(rest), rng)
    if climb is None:
        return Trial(claimed=False, lost=False, saving=0.0)
    done = climb.run(rest)
    change = float((done.quality - data.correct[rest, reference]).mean())
    saving = 1 - float(done.cost.mean() / data.cost[rest, reference].mean())
    return Trial(claimed=True, lost=change < -margin, saving=saving)


def proven(
    palier: Palier, rows: Ints, reference: Floats, margin: float, alpha: float, n_new: int, rng: np.random.Generator
) -> Climb | None:
    """The cheapest aim that is proven on cross-fitted rows, from careful to cheap; None when none is.

    Proven for the mean of ``n_new`` new rows, since that is what a trial looks at.
    """
    part = rng.permutation(len(rows)) % N_FOLDS
    folds = [(drawn(palier, rows[part != fold], reference), rows[part == fold]) for fold in range(N_FOLDS)]
    whole = drawn(palier, rows, reference)
    aims = np.linspace(max(0.0, float(whole.quality.max()) - whole.reference), -margin, 25)
    differences = [
        np.concatenate(
            [found.points[found.cheapest(float(aim))].run(out).quality - reference[out] for found, out in folds]
        )
        for aim in aims
    ]
    n_proven = longest_proven(differences, margin, alpha, n_new)
    if n_proven == 0:
        return None
    point = whole.points[whole.cheapest(float(aims[n_proven - 1]))]
    return point if isinstance(point, Climb) else None


def restricted(palier: Palier, found: Drawn) -> Palier:
    """Palier with only the chains that stand on a front drawn before, so that trials are quick."""
    chains = {point.point.chain for point in found.points if isinstance(point, Climb)}
    return replace(palier, only=tuple(sorted(chains)))
