"""The sweep and the replay do what `climb` does; the search finds what trying everything finds."""

from itertools import permutations, product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from palier.domain.answering import Cascade, Step
from palier.domain.cascade.optimise import as_cascade
from palier.domain.cascade.outcomes import OutcomeTable
from palier.domain.cascade.replay import chain_steps, content, directness, replay
from palier.domain.cascade.search import Constraints, Point, Searched
from palier.domain.cascade.sweep import pareto, sweep, threshold_candidates
from palier.errors import InputError
from tests.domain.cascade_tables import climb_row, drawn_table, with_beliefs

SEEDS = st.integers(0, 10_000)


def cascade_of(table: OutcomeTable, chain: tuple[int, ...], thresholds: tuple[float, ...]) -> Cascade:
    steps = [Step(rung=table.rungs[r], threshold=t) for r, t in zip(chain, thresholds, strict=True)]
    return Cascade(steps=tuple(steps))


@settings(max_examples=40, deadline=None)
@given(seed=SEEDS, depth=st.integers(1, 3), levels=st.sampled_from([None, 4, 1]))
def test_replay_is_climb_row_by_row(seed: int, depth: int, levels: int | None) -> None:
    """Same winner, same cost, same number of attempts as the function that the gateway runs; ties included."""
    rng = np.random.default_rng(seed)
    table = drawn_table(rng, 12, 3, levels=levels)
    chain = tuple(int(r) for r in rng.permutation(3)[:depth])
    thresholds = tuple(float(t) for t in rng.choice([0.0, 0.25, 0.5, 0.75, 1.0], depth))
    done = replay(table, chain, thresholds)
    for row in range(table.n_rows):
        real, quality = climb_row(table, cascade_of(table, chain, thresholds), row)
        assert done.quality[row] == quality
        assert done.cost_nanousd[row] == real.cost_nanousd
        assert done.n_steps[row] == len(real.attempts)
        assert table.rungs[done.final_rung[row]] == real.final.answer.rung


@settings(max_examples=30, deadline=None)
@given(seed=SEEDS, depth=st.integers(1, 3), trust_last=st.booleans(), levels=st.sampled_from([None, 3]))
def test_sweep_equals_replaying_each_combination(seed: int, depth: int, trust_last: bool, levels: int | None) -> None:
    """Every cell of the sweep is the mean that a replay with those thresholds gives."""
    rng = np.random.default_rng(seed)
    table = drawn_table(rng, 9, 3, levels=levels)
    chain = tuple(int(r) for r in rng.permutation(3)[:depth])
    steps = chain_steps(table, chain, table.quality, trust_last=trust_last, latency_limit_ms=None)
    swept = sweep(steps, 4096)
    means = swept.means.reshape(-1, swept.means.shape[-1])
    for flat in rng.choice(len(means), size=min(20, len(means)), replace=False):
        done = replay(table, chain, (*swept.thresholds(int(flat)), 0.0 if trust_last else 1.0))
        assert means[flat, 0] == pytest.approx(done.quality.mean())
        assert means[flat, 1] * 1e9 == pytest.approx(done.cost_nanousd.mean())


@settings(max_examples=40, deadline=None)
@given(seed=SEEDS, depth=st.integers(2, 3), routed=st.booleans(), levels=st.sampled_from([None, 4, 1]))
def test_replay_by_beliefs_is_climb_row_by_row(seed: int, depth: int, routed: bool, levels: int | None) -> None:
    """By beliefs too the arrays do what the gateway does: winner, score, cost, which rungs were asked."""
    rng = np.random.default_rng(seed)
    table = with_beliefs(drawn_table(rng, 12, 3, levels=levels), rng, levels=levels)
    chain = tuple(int(r) for r in rng.permutation(3)[:depth])
    thresholds = tuple(float(t) for t in rng.choice([0.0, 0.25, 0.5, 0.75, 1.0], depth + routed))
    point = Point(0.0, 0.0, chain, thresholds, believed=True, routed=routed)
    done = point.replay(table)
    for row in range(table.n_rows):
        real, quality = climb_row(table, as_cascade(table, point), row)
        assert done.quality[row] == quality
        assert done.score[row] == real.final.score
        assert done.cost_nanousd[row] == real.cost_nanousd
        assert [table.rungs[r] for r, called in zip(chain, done.called[row], strict=True) if called] == [
            attempt.answer.rung for attempt in real.attempts
        ]
        assert table.rungs[done.final_rung[row]] == real.final.answer.rung


@pytest.mark.parametrize("levels", [None, 3])
def test_the_front_by_beliefs_is_optimal_and_keeps_its_promises(levels: int | None) -> None:
    """No chain with any thresholds, routed or not, beats the front; and each of its points replays to its means."""
    rng = np.random.default_rng(5)
    table = with_beliefs(drawn_table(rng, 7, 3, levels=levels), rng, levels=levels)
    front = Searched(table, table.quality, Constraints(), 0.1, 3, by_beliefs=True).front()
    costs, qualities = [], []
    for chain in [*permutations(range(3), 2), *permutations(range(3), 3)]:
        contents = [content(table, chain[: depth + 1], chain[-1]) for depth in range(len(chain) - 1)]
        for routed in (False, True)[: 2 if len(chain) == 2 else 1]:
            signals = [directness(table, chain), *contents] if routed else contents
            for thresholds in product(*([*np.unique(signal), 1.0] for signal in signals)):
                done = Point(0, 0, chain, (*thresholds, 0.0), believed=True, routed=routed).replay(table)
                costs.append(done.cost_nanousd.mean())
                qualities.append(done.quality.mean())
    for budget in np.quantile(costs, np.linspace(0, 1, 25)):
        best = max(quality for cost, quality in zip(costs, qualities, strict=True) if cost <= budget)
        assert max(p.quality for p in front if p.cost_nanousd <= budget * (1 + 1e-9)) >= best - 1e-12
    for point in front:
        done = point.replay(table)
        assert done.quality.mean() == pytest.approx(point.quality)
        assert done.cost_nanousd.mean() == pytest.approx(point.cost_nanousd)


def every_operating_point(table: OutcomeTable) -> tuple[list[float], list[float]]:
    """Cost and quality of all chains with all thresholds that differ in effect, by trying each."""
    costs, qualities = [], []
    for depth in (1, 2, 3):
        for chain in permutations(range(table.n_rungs), depth):
            grids = [[*np.unique(table.score[:, r]), 1.0] for r in chain[:-1]]
            for thresholds in product(*grids, [0.0, 1.0]):
                done = replay(table, chain, thresholds)
                costs.append(float(done.cost_nanousd.mean()))
                qualities.append(float(done.quality.mean()))
    return costs, qualities


@settings(max_examples=8, deadline=None)
@given(seed=SEEDS, levels=st.sampled_from([None, 3]))
def test_front_is_optimal(seed: int, levels: int | None) -> None:
    """For every budget, the front is as good as the best of all chains and all thresholds tried one by one."""
    table = drawn_table(np.random.default_rng(seed), 7, 3, levels=levels)
    front = Searched(table, table.quality, Constraints(), 0.1, 3).front()
    costs, qualities = (np.array(values) for values in every_operating_point(table))
    for budget in np.quantile(costs, np.linspace(0, 1, 25)):
        best = qualities[costs <= budget].max()
        ours = max(point.quality for point in front if point.cost_nanousd <= budget * (1 + 1e-9))
        assert ours == pytest.approx(best)


def test_front_points_replay_to_what_they_promise() -> None:
    """Chain and thresholds of each point of the front give its cost and its quality."""
    table = drawn_table(np.random.default_rng(3), 150, 4, languages=True)
    for point in Searched(table, table.quality, Constraints(), 0.1, 3).front():
        done = point.replay(table)
        assert done.quality.mean() == pytest.approx(point.quality)
        assert done.cost_nanousd.mean() == pytest.approx(point.cost_nanousd)


def test_deeper_chains_by_beam_are_never_worse() -> None:
    """Depth 4 keeps all that depth 3 found, and adds."""
    table = drawn_table(np.random.default_rng(5), 200, 4)
    three = Searched(table, table.quality, Constraints(), 0.1, 3).front()
    four = Searched(table, table.quality, Constraints(), 0.1, 4).front()
    for point in three:
        assert any(p.cost_nanousd <= point.cost_nanousd and p.quality >= point.quality for p in four)


def test_constraints_are_kept() -> None:
    """Late share, share at the top rung, a forbidden language and a budget hold for every point, all at once."""
    table = drawn_table(np.random.default_rng(8), 300, 3)
    limit = float(np.quantile(table.latency_ms, 0.8))
    asked = Constraints(budget_nanousd=1500, latency_p95_ms=limit, max_share={"rung2": 0.2})
    front = Searched(table, table.quality, asked, 0.1, 3).front()
    assert front
    for point in front:
        done = point.replay(table)
        reached = np.zeros(table.n_rows, dtype=bool)
        for depth, rung in enumerate(point.chain):
            reached |= (rung == 2) & (done.n_steps > depth)
        assert done.cost_nanousd.mean() < 1500
        assert (done.latency_ms > limit).mean() <= 0.05
        assert reached.mean() <= 0.2


def test_a_rung_that_does_not_serve_a_language_is_passed_over() -> None:
    """French rows of a chain whose first rung was never recorded in French pay for the second alone."""
    table = drawn_table(np.random.default_rng(1), 60, 2, languages=True)
    quality = table.quality.copy()
    french = table.row_languages == "fr"
    quality[french, 0] = np.nan
    holes = OutcomeTable(table.query_ids, table.rungs, quality, table.cost_nanousd, table.score, None, table.languages)
    done = replay(holes, (0, 1), (0.0, 0.0))
    assert (done.cost_nanousd[french] == table.cost_nanousd[french, 1]).all()
    assert (done.final_rung[~french] == 0).all()
    chains = {point.chain for point in Searched(holes, quality, Constraints(), 0.1, 2).front()}
    assert (0,) not in chains


def test_candidates_cover_all_effects() -> None:
    """Between the thresholds lies each distinct score; the ends accept all and nothing."""
    score = np.array([0.2, 0.2, 0.5, 0.9])
    assert threshold_candidates(score, 100).tolist() == [0.0, 0.35, 0.7, 1.0]


def test_pareto_keeps_what_is_not_beaten() -> None:
    """Dominated points and equal twins go."""
    cost, quality = np.array([1.0, 1.0, 2.0, 3.0]), np.array([0.5, 0.6, 0.6, 0.7])
    assert pareto(cost, quality).tolist() == [1, 3]


@pytest.mark.parametrize(("name", "value"), [("quality", 1.5), ("score", -0.1), ("cost_nanousd", -1)])
def test_a_table_refuses_impossible_values(name: str, value: float) -> None:
    """A quality over 1, a score below 0 or a negative cost is refused with its name."""
    table = drawn_table(np.random.default_rng(0), 5, 2)
    arrays = {"quality": table.quality, "score": table.score, "cost_nanousd": table.cost_nanousd}
    arrays[name] = arrays[name].copy()
    arrays[name][0, 0] = value
    with pytest.raises(InputError, match=name.split("_")[0]):
        OutcomeTable(table.query_ids, table.rungs, arrays["quality"], arrays["cost_nanousd"], arrays["score"])


def test_a_rung_that_serves_no_row_has_the_two_ends_as_thresholds() -> None:
    """Nothing to choose between is no error: accept all, or certainty only."""
    assert threshold_candidates(np.full(5, -1.0), 64).tolist() == [0.0, 1.0]
