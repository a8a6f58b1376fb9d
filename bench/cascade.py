"""`palier bench cascade`: the best quality for a budget, against seven rivals on the same rows.

    palier bench cascade --data OUTCOMES.parquet --queries QUERIES.parquet --out FILE.json

Per split seed: beliefs are cross-fitted on all rows that are not test; on the same rows, each judged by models that
have not seen it, every policy is drawn and its operating points are chosen; test rows are looked at once. A `split`
column, where the queries have one, says which rows are `test`; else a quarter, or half for two models as RouteLLM
does. Figures are means over seeds with a bootstrap interval, and `n` is the number of seeds; where the file gives its
own split, seeds only vary what is random in training. Seconds are CPU seconds of one thread: wall seconds on an idle
core. Any models, any task; a column `choice` is never read.

Public data of this form: MMLU-Pro's published model outputs, and RouteLLM's evaluation data (see their repositories).
"""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from bench.cascade_data import Floats, Ints, Recorded, read_recorded, see
from bench.cascade_gains import Gains, learn_gains
from bench.cascade_measures import Drawn, Measured, Trial, budgets_kept, guarantee_trial, measure, restricted
from bench.cascade_policies import Palier, Policy, Steps
from bench.cascade_rivals import (
    BestSingle,
    CascadeRouting,
    FrugalGpt,
    RandomMix,
    Router,
    TwoModelRouter,
    text_scores,
)
from bench.report import Report, metric, tell
from palier.adapters.beliefs.learners import MOST_REPEATS, Folds
from palier.adapters.beliefs.learning import Beliefs, known_neighbours, learn_beliefs, places_of
from palier.domain.beliefs.believer import Seen
from palier.domain.calibration import calibration_error
from palier.domain.cascade.outcomes import OutcomeTable
from palier.domain.cascade.search import Constraints, Searched
from palier.errors import InputError

MARGIN = 0.02
ALPHA = 0.1
BUDGET_ALPHA = 0.02
"""Stricter than the margin's: the rows that are judged have chance of their own, which the bound does not hold."""
N_BUDGETS = 20
N_TRIALS = 200
N_CALIBRATION = 1000


@dataclass(frozen=True)
class Split:
    """Row numbers; ``choosing`` are the rows that teach and on which points are chosen."""

    choosing: Ints
    test: Ints


@dataclass(frozen=True)
class SeedResult:
    """All that one seed says."""

    measured: Mapping[str, Measured]
    scorer: Mapping[str, float]
    budgets: Sequence[bool]
    trials: Sequence[Trial]
    optimise_seconds: float


def run(
    outcomes: Path,
    queries: Path | None,
    out: Path,
    *,
    seeds: int = 10,
    max_questions: int | None = None,
    trials: int = N_TRIALS,
    optimiser_rows: int = 5000,
    most_repeats: int = MOST_REPEATS,
    seed: int = 7,
) -> dict[str, Any]:
    """Measure all policies and write the JSON, anew after each seed; InputError for files in another form."""
    if outcomes is None or queries is None:
        raise InputError("`bench cascade` needs --data OUTCOMES.parquet and --queries QUERIES.parquet.")
    params = {
        "seeds": seeds,
        "max_questions": max_questions,
        "margin": MARGIN,
        "alpha": ALPHA,
        "trials": trials,
        "seed": seed,
    }
    report = Report("cascade", params)
    data = read_recorded(outcomes, queries, max_questions, np.random.default_rng(seed))
    report.add_data(outcomes, data.n_rows * data.n_models)
    report.add_data(queries, data.n_rows)
    tell(_price_table(data))
    seen = see(data)
    rng = np.random.default_rng(seed)
    optimiser = {"rows": optimiser_rows, "seconds": round(optimiser_seconds(rng, optimiser_rows), 2)}
    found: list[SeedResult] = []
    for at in range(seeds):
        found.append(_one_seed(data, seen, seed + at, max(1, trials // seeds), most_repeats))
        tell(_told(seed + at, found[-1]))
        written = report.write(out, _results(data, found, rng) | {"optimise_12_rungs": optimiser})
    return written


def _one_seed(data: Recorded, seen: Seen, seed: int, n_trials: int, most_repeats: int) -> SeedResult:
    rng = np.random.default_rng(seed)
    split = split_rows(data, rng)
    folds = Folds.drawn(data.n_rows, split.choosing, np.random.default_rng(seed), most_repeats)
    beliefs = learn_beliefs(data, seen, folds, seed)
    by_text = text_scores(beliefs)
    gains = learn_gains(beliefs, seed)
    palier = Palier(Steps(beliefs))
    measured = {
        policy.name: measure(policy, split.choosing, split.test, data.correct, data.cost, rng)
        for policy in _policies(beliefs, by_text, gains, split)
    }
    started = time.process_time()
    palier.points(split.choosing)
    seconds = time.process_time() - started
    own = measured["palier"].drawn
    prices = data.cost[split.choosing].mean(axis=0)
    budgets = np.geomspace(prices.min() * 1.02, prices.max(), N_BUDGETS)
    return SeedResult(
        measured,
        scorer_figures(beliefs, by_text, split),
        budgets_kept(own, split.choosing, split.test, budgets, BUDGET_ALPHA),
        _trials(palier, own, split, n_trials, rng),
        seconds,
    )


def split_rows(data: Recorded, rng: np.random.Generator) -> Split:
    """The file's own split where it has one, else one drawn by chance."""
    if data.split is not None and {"train", "test"} <= set(data.split):
        return Split(np.flatnonzero(data.split != "test"), np.flatnonzero(data.split == "test"))
    rows = rng.permutation(data.n_rows)
    n_choosing = int((0.5 if data.n_models == 2 else 0.75) * data.n_rows)
    return Split(rows[:n_choosing], rows[n_choosing:])


def _policies(beliefs: Beliefs, by_text: Floats, gains: Gains, split: Split) -> list[Policy]:
    data = beliefs.data
    known = known_neighbours(data, beliefs.seen, split.choosing)
    neighbours = known.means(beliefs.seen.embedding, places_of(split.choosing, data.n_rows))[-1]
    return [
        Palier(Steps(beliefs)),
        Palier(Steps(beliefs, "trust"), name="palier_trust"),
        Palier(Steps(beliefs, "gain", gains), name="palier_gain"),
        BestSingle(data),
        RandomMix(data),
        Router(data, beliefs.prior, "query_router"),
        Router(data, neighbours, "knn_router"),
        TwoModelRouter(data, beliefs.prior),
        CascadeRouting(beliefs),
        FrugalGpt(beliefs, by_text),
        FrugalGpt(beliefs, beliefs.scorer, name="frugalgpt_our_scorer"),
    ]


def _trials(palier: Palier, own: Drawn, split: Split, n: int, rng: np.random.Generator) -> list[Trial]:
    """Calibration re-drawn from test rows, which taught nothing; the reference is the best single of the others."""
    data = palier.steps.beliefs.data
    reference = int(data.correct[split.choosing].mean(axis=0).argmax())
    quick, size = restricted(palier, own), min(N_CALIBRATION, len(split.test) // 2)
    return [guarantee_trial(quick, split.test, size, reference, MARGIN, ALPHA, rng) for _ in range(n)]


def scorer_figures(beliefs: Beliefs, by_text: Floats, split: Split) -> dict[str, float]:
    """On test rows: AUC and ECE of the one-answer scorer (means over models) and of the posterior of three answers."""
    data, test = beliefs.data, split.test
    models = range(data.n_models)
    triples = [answers for answers in beliefs.known if len(answers) == min(3, len(beliefs.useful))]
    pairs = [
        (beliefs.posterior(answers)[test, at], data.correct[test, model])
        for answers in triples
        for at, model in enumerate(sorted(answers))
    ]
    return {
        "auc": float(np.mean([auc(beliefs.scorer[test, m], data.correct[test, m]) for m in models])),
        "text_auc": float(np.mean([auc(by_text[test, m], data.correct[test, m]) for m in models])),
        "ece": float(np.mean([calibration_error(beliefs.scorer[test, m], data.correct[test, m]) for m in models])),
        "prior_auc": float(np.mean([auc(beliefs.prior[test, m], data.correct[test, m]) for m in models])),
        "posterior_auc": float(np.mean([auc(*pair) for pair in pairs])),
        "posterior_ece": float(np.mean([calibration_error(*pair) for pair in pairs])),
    }


def auc(score: Floats, right: Floats) -> float:
    """P(a right answer scores higher than a wrong one), ties half; labels count as right from 0.5 on."""
    positive = right >= 0.5
    n_positive, n_negative = int(positive.sum()), int((~positive).sum())
    if n_positive == 0 or n_negative == 0:
        return 0.5
    _, at, counts = np.unique(score, return_inverse=True, return_counts=True)
    ranks = (np.cumsum(counts) - (counts - 1) / 2)[at]
    return float((ranks[positive].sum() - n_positive * (n_positive + 1) / 2) / (n_positive * n_negative))


def optimiser_seconds(rng: np.random.Generator, n: int, n_rungs: int = 12) -> float:
    """CPU seconds of the platform's optimiser for 12 drawn rungs: every chain of depth 1 to 3, twenty budgets."""
    quality = (rng.random((n, n_rungs)) < np.linspace(0.3, 0.8, n_rungs)).astype(np.float64)
    score = np.clip(0.3 + 0.4 * quality + rng.normal(0, 0.2, quality.shape), 0, 1)
    cost = (rng.integers(50, 150, quality.shape) * 2 ** np.arange(n_rungs)).astype(np.int64)
    table = OutcomeTable([str(i) for i in range(n)], tuple(f"rung{r}" for r in range(n_rungs)), quality, cost, score)
    started = time.process_time()
    front = Searched(table, quality, Constraints(), ALPHA, 3).front()
    for budget in np.geomspace(front[0].cost_nanousd, front[-1].cost_nanousd, N_BUDGETS):
        max((point for point in front if point.cost_nanousd <= budget), key=lambda point: point.quality)
    return time.process_time() - started


def _results(data: Recorded, found: Sequence[SeedResult], rng: np.random.Generator) -> dict[str, Any]:
    names = list(found[0].measured)
    policies: dict[str, Any] = {}
    for name in names:
        figures = [result.measured[name].figures for result in found]
        policies[name] = {key: metric([row[key] for row in figures if key in row], rng) for key in figures[0]}
        policies[name]["curve"] = [
            [round(cost, 9), round(quality, 4)] for cost, quality in found[0].measured[name].curve
        ]
    trials = [trial for result in found for trial in result.trials]
    ahead = {
        rival: [
            r.measured["palier"].figures["saving_at_parity"] - r.measured[rival].figures["saving_at_parity"]
            for r in found
        ]
        for rival in ("frugalgpt", "frugalgpt_our_scorer")
    }
    return {
        "policies": policies,
        **{f"palier_minus_{rival}_saving": metric(values, rng) for rival, values in ahead.items()},
        "scorer": {key: metric([result.scorer[key] for result in found], rng) for key in found[0].scorer},
        "budgets": {"kept_share": metric([float(kept) for r in found for kept in r.budgets], rng)},
        "guarantee": {
            "alpha": ALPHA,
            "margin": MARGIN,
            "violation_share": metric([float(trial.lost) for trial in trials], rng),
            "claimed_share": metric([float(trial.claimed) for trial in trials], rng),
            "saving_left": metric([trial.saving for trial in trials], rng),
            "trials": len(trials),
        },
        "optimise_seconds": metric([result.optimise_seconds for result in found], rng),
        "seeds_done": len(found),
        "models": _prices(data),
        "n_queries": data.n_rows,
        "n_left_out": data.n_left_out,
    }


def _prices(data: Recorded) -> list[dict[str, Any]]:
    return [
        {"model": name, "mean_cost_usd": float(data.cost[:, m].mean()), "accuracy": float(data.correct[:, m].mean())}
        for m, name in enumerate(data.models)
    ]


def _price_table(data: Recorded) -> str:
    rows = [f"{row['model']:40s} {1000 * row['mean_cost_usd']:10.4f} {row['accuracy']:8.4f}" for row in _prices(data)]
    return "\n".join([f"{'model':40s} {'USD/1000':>10s} {'quality':>8s}", *rows])


def _told(seed: int, result: SeedResult) -> str:
    lines = [f"seed {seed}: scorer AUC {result.scorer['auc']:.3f}, posterior {result.scorer['posterior_auc']:.3f}"]
    for name, measured in result.measured.items():
        row = measured.figures
        lines.append(
            f"  {name:16s} saving {row['saving_at_parity']:6.1%} ({row['change_at_parity_pp']:+.2f} pp)"
            f"   at -1 pp {row['saving_at_minus_1pp']:6.1%} ({row['change_at_minus_1pp_pp']:+.2f})"
            f"   equal cost {row['quality_gain_at_equal_cost_pp']:+.2f} pp   optimism {measured.optimism:.4f}"
        )
    return "\n".join(lines)
