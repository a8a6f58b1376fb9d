"""The choice keeps what it promises: margin, budget, honesty about few rows."""

from dataclasses import replace
from itertools import combinations

import numpy as np
import pytest

from palier.domain.cascade.guarantee import longest_proven, lower_bound, upper_share
from palier.domain.cascade.optimise import Tuned, abstain_below, tune
from palier.domain.cascade.outcomes import OutcomeTable
from palier.domain.cascade.search import Constraints
from palier.errors import InputError
from tests.domain.cascade_tables import climb_row, drawn_table, with_beliefs


def tuned(table: OutcomeTable, *, budget: int | None = None, margin: float = 0.03, seed: int = 0) -> Tuned:
    return tune(
        table,
        budget_nanousd=budget,
        margin=margin,
        confidence=0.9,
        max_depth=3,
        rng=np.random.default_rng(seed),
    )


def test_many_rows_prove_a_cheaper_cascade() -> None:
    """With 2,000 rows and scores that know something, the margin is proven well below the reference's cost."""
    found = tuned(drawn_table(np.random.default_rng(0), 2000, 3))
    assert found.status == "proven"
    assert found.guarantee.met
    assert found.guarantee.bound >= -0.03
    assert found.cost is not None
    assert found.cost.value < 0.8 * found.reference_cost_nanousd
    assert "proven" in found.reason


def test_the_cascade_that_is_handed_over_does_what_was_promised() -> None:
    """`climb` with the chosen cascade, row by row, gives the quality and the cost of the chosen point."""
    table = drawn_table(np.random.default_rng(1), 300, 3, languages=True)
    found = tuned(table, budget=1200)
    assert found.cascade is not None
    assert found.point is not None
    climbs = [climb_row(table, found.cascade, row) for row in range(table.n_rows)]
    assert np.mean([quality for _, quality in climbs]) == pytest.approx(found.point.replay(table).quality.mean())
    assert np.mean([done.cost_nanousd for done, _ in climbs]) == pytest.approx(found.point.cost_nanousd)


def test_beliefs_are_climbed_by_where_they_save_beyond_chance() -> None:
    """Beliefs that know much more than scores make a cheaper cascade, which does row by row what was promised."""
    rng = np.random.default_rng(2)
    plain = drawn_table(rng, 1500, 3)
    blind = replace(plain, score=np.clip(plain.quality.mean(0) + rng.normal(0, 0.05, plain.score.shape), 0, 1))
    table = with_beliefs(blind, rng)
    by_scores, found = tuned(blind), tuned(table)
    assert found.cascade is not None
    assert found.point is not None
    assert found.cost is not None
    assert by_scores.cascade is not None
    assert (found.cascade.by_beliefs, by_scores.cascade.by_beliefs) == (True, False)
    assert found.status == "proven"
    assert "(by beliefs)" in found.reason
    assert by_scores.cost is None or found.cost.value < by_scores.cost.value
    climbs = [climb_row(table, found.cascade, row) for row in range(300)]
    done = found.point.replay(table.take(np.arange(300)))
    assert [quality for _, quality in climbs] == done.quality.tolist()
    assert [real.cost_nanousd for real, _ in climbs] == done.cost_nanousd.tolist()


def test_scores_stay_where_beliefs_know_no_more() -> None:
    """Two ways that are worth the same: the simpler one is chosen."""
    table = drawn_table(np.random.default_rng(3), 1500, 3)
    beliefs = {frozenset(some): table.score[:, list(some)] for size in (2, 3) for some in combinations(range(3), size)}
    promise = np.broadcast_to(table.quality.mean(0), table.score.shape)
    found = tuned(replace(table, promise=promise, beliefs=beliefs))
    assert found.cascade is not None
    assert not found.cascade.by_beliefs


def test_budget_holds_on_new_rows() -> None:
    """On rows never seen, the mean cost stays within 5 % of the budget in nearly all of 20 draws."""
    kept = 0
    for seed in range(20):
        table = drawn_table(np.random.default_rng(seed), 700, 2)
        found = tuned(table.take(np.arange(300)), budget=250, seed=seed)
        assert found.point is not None
        spent = found.point.replay(table.take(np.arange(300, 700))).cost_nanousd.mean()
        kept += spent <= 1.05 * 250
    assert kept >= 19


def test_infeasible_budget_is_an_answer() -> None:
    """A budget under the cheapest rung's price gives no cascade, and says why."""
    found = tuned(drawn_table(np.random.default_rng(2), 100, 3), budget=10)
    assert found.status == "infeasible"
    assert found.cascade is None
    assert "rung0" in found.reason
    assert "raise it" in found.reason


def test_unproven_margin_is_said() -> None:
    """With 60 rows and scores that know nothing, one point cannot be proven: the choice says so."""
    rng = np.random.default_rng(3)
    table = drawn_table(rng, 60, 3)
    found = tuned(replace(table, score=rng.random(table.score.shape)), margin=0.01)
    assert found.status == "unproven"
    assert not found.guarantee.met
    assert found.cascade is not None


def test_too_few_rows_leave_the_reference_alone() -> None:
    """With 10 rows nothing is chosen from them."""
    found = tuned(drawn_table(np.random.default_rng(4), 10, 3))
    assert found.cascade is not None
    assert [step.rung for step in found.cascade.steps] == ["rung2"]
    assert "too few" in found.reason


def test_one_rung_is_its_own_reference() -> None:
    """A ladder of one rung gives that rung and claims nothing."""
    found = tuned(drawn_table(np.random.default_rng(4), 50, 1))
    assert found.cascade is not None
    assert [step.rung for step in found.cascade.steps] == ["rung0"]
    assert not found.guarantee.met
    assert "no cheaper cascade" in found.reason


@pytest.mark.parametrize("n", [150, 300])
def test_guarantee_is_kept(n: int) -> None:
    """Of 30 choices that claim the margin as proven, no more than alpha (10 %, plus chance) lose it."""
    population = drawn_table(np.random.default_rng(99), 6000, 2)
    claimed, broken = 0, 0
    for seed in range(30):
        rows = np.random.default_rng(seed).permutation(population.n_rows)
        found = tuned(population.take(rows[:n]), margin=0.05, seed=seed)
        if found.guarantee.met and found.point is not None:
            rest = population.take(rows[n:])
            change = found.point.replay(rest).quality.mean() - rest.quality[:, 1].mean()
            claimed, broken = claimed + 1, broken + (change < -0.05)
    assert broken <= 7  # the 98 % point of a binomial of 30 at 10 %
    assert claimed > 0 or n < 200


def test_forbidden_language_never_reaches_the_rung() -> None:
    """French questions never go to the dearest rung, and the cascade says so by itself."""
    table = drawn_table(np.random.default_rng(6), 400, 3, languages=True)
    found = tune(
        table,
        budget_nanousd=None,
        margin=0.05,
        confidence=0.9,
        max_depth=3,
        rng=np.random.default_rng(0),
        constraints=Constraints(forbidden={"rung2": ("fr",)}),
    )
    assert found.cascade is not None
    assert all(step.languages == ("en",) for step in found.cascade.steps if step.rung == "rung2")


def constrained(table: OutcomeTable, asked: Constraints, *, budget: int | None = None, margin: float = 0.05) -> Tuned:
    rng = np.random.default_rng(0)
    return tune(table, budget_nanousd=budget, margin=margin, confidence=0.9, max_depth=2, rng=rng, constraints=asked)


def test_limits_of_an_owner_hold_together_on_new_rows() -> None:
    """Latency, share at the top and a ban, asked for at once, hold on rows that the choice has not seen."""
    table = drawn_table(np.random.default_rng(12), 1600, 3, languages=True)
    assert table.latency_ms is not None
    limit = float(np.quantile(table.latency_ms[:, 2], 0.75))
    asked = Constraints(latency_p95_ms=limit, max_share={"rung2": 0.3}, forbidden={"rung1": ("fr",)})
    found, rest = constrained(table.take(np.arange(800)), asked), table.take(np.arange(800, 1600))
    assert found.cascade is not None
    assert found.top_share is not None
    assert found.top_share <= 0.3
    assert found.latency_p95_ms is not None
    assert found.latency_p95_ms <= limit
    climbs = [climb_row(rest, found.cascade, row)[0] for row in range(rest.n_rows)]
    called = [{attempt.answer.rung for attempt in done.attempts} for done in climbs]
    assert np.mean(["rung2" in rungs for rungs in called]) <= 0.3
    assert not any("rung1" in rungs for rungs, lang in zip(called, rest.row_languages, strict=True) if lang == "fr")


def test_the_constraint_to_blame_is_named() -> None:
    """One impossible limit is named; where two are impossible, no one of them is blamed alone."""
    table = drawn_table(np.random.default_rng(2), 100, 2)
    late = constrained(table, Constraints(latency_p95_ms=0.001))
    assert late.binding == ("latency",)
    assert "lift one of: latency" in late.reason
    both = constrained(table, Constraints(latency_p95_ms=0.001), budget=10)
    assert (both.status, both.cascade, both.binding) == ("infeasible", None, ())
    assert "together" in both.reason
    bilingual = drawn_table(np.random.default_rng(2), 100, 2, languages=True)
    banned = constrained(bilingual, Constraints(forbidden={"rung0": ("fr",), "rung1": ("fr",)}))
    assert banned.binding == ("ban of rung0", "ban of rung1")


def test_a_margin_that_a_limit_puts_out_of_reach_is_said() -> None:
    """Where the top may hardly be reached, the best that keeps to it is chosen, unproven, and the limit named."""
    table = drawn_table(np.random.default_rng(3), 500, 2)
    found = constrained(table, Constraints(max_share={"rung1": 0.02}), margin=0.01)
    assert found.status == "unproven"
    assert found.top_share is not None
    assert found.top_share <= 0.02
    assert found.guarantee.n == 500
    assert "out of reach within 2% of questions to rung1" in found.reason


def test_latency_needs_latencies() -> None:
    """A p95 cannot be promised from outcomes without latency."""
    table = replace(drawn_table(np.random.default_rng(3), 50, 2), latency_ms=None)
    with pytest.raises(InputError, match="no latency was recorded"):
        constrained(table, Constraints(latency_p95_ms=100.0))


def test_few_rows_say_how_much_they_are_shrunk() -> None:
    """With 150 questions the scores weigh 40 % against the labels, and the reason says it."""
    found = tuned(drawn_table(np.random.default_rng(5), 150, 2), margin=0.05)
    assert "labels are shrunk by 40% towards the scores" in found.reason


def test_upper_share_covers() -> None:
    """The true share is under the bound in about 1 - alpha of many draws, and never claimed to be nothing."""
    seen = np.random.default_rng(0).binomial(200, 0.04, size=2000) / 200
    assert 0.87 < np.mean(upper_share(seen, 200, 0.1) >= 0.04) <= 0.97
    assert upper_share(np.zeros(1), 20, 0.1)[0] > 0.05


def test_silence_where_silence_is_worth_more() -> None:
    """Scores below which "I don't know" is right are found; without a clear gain the assistant keeps talking."""
    score = np.linspace(0.05, 0.95, 200)
    answered = (score > 0.4).astype(float)
    assert 0.35 < abstain_below(score, answered, 1 - answered) < 0.45
    assert abstain_below(score, np.ones(200), np.zeros(200)) == 0.0


def test_abstaining_is_part_of_the_choice() -> None:
    """Where low scores mean unanswerable questions, the cascade abstains and is better for it."""
    table = drawn_table(np.random.default_rng(7), 600, 2)
    unanswerable = np.arange(600) % 4 == 0
    quality, score = table.quality.copy(), table.score.copy()
    quality[unanswerable], score[unanswerable] = 0.0, score[unanswerable] * 0.2
    silent = replace(table, quality=quality, score=score, abstain_quality=unanswerable.astype(float))
    found = tuned(silent, margin=0.05)
    assert found.cascade is not None
    assert found.cascade.abstain_below > 0
    assert found.guarantee.difference > 0.1


def test_no_common_rung_is_an_error() -> None:
    """A table in which every rung lacks a language has no reference."""
    table = drawn_table(np.random.default_rng(8), 40, 2, languages=True)
    quality = table.quality.copy()
    quality[table.row_languages == "fr", 0] = np.nan
    quality[table.row_languages == "en", 1] = np.nan
    with pytest.raises(InputError, match="every language"):
        tuned(replace(table, quality=quality))


def test_lower_bound_counts_one_worst_row() -> None:
    """Ten equal rows do not prove equality: the added worst row keeps the bound below zero."""
    assert lower_bound(np.zeros(10), 0.1) < -0.09
    assert lower_bound(np.zeros(5000), 0.1) > -0.001


def test_a_bound_for_new_rows_holds_for_their_own_mean() -> None:
    """A bound of all there will be is missed by 300 new rows more often than 1 in 10; one for 300 new rows is not."""
    rng = np.random.default_rng(6)
    missed = {np.inf: 0, 300: 0}
    for _ in range(1000):
        seen, new = rng.choice([-1.0, 0.0, 1.0], (2, 300), p=[0.1, 0.8, 0.1])
        for n_new in missed:
            missed[n_new] += new.mean() < lower_bound(seen, 0.1, n_new)
    assert missed[np.inf] > 120
    assert missed[300] <= 120


def test_fixed_sequence_stops_at_the_first_failure() -> None:
    """A later candidate that would pass does not count once an earlier one failed."""
    good, bad = np.zeros(2000), np.full(2000, -0.5)
    assert longest_proven([good, good, bad, good], 0.05, 0.1) == 2
