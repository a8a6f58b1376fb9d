"""Palier's policy in the cascade benchmark: what one more call may change, and the router before the first."""

import numpy as np
import pytest

from bench.cascade_data import Recorded
from bench.cascade_gains import final_quality, learn_gains
from bench.cascade_policies import ROUTED, Climb, Palier, Steps, Strategy
from palier.adapters.beliefs.learners import N_FOLDS, Folds
from palier.adapters.beliefs.learning import Beliefs
from palier.domain.beliefs.believer import Seen
from palier.domain.cascade.outcomes import OutcomeTable
from palier.domain.cascade.search import Constraints, Point, Searched

N = 1200
EVEN = np.arange(N) % 2 == 0


@pytest.fixture
def beliefs() -> Beliefs:
    """The cheap model is right half of the time; the dear one is right on even questions only, as its prior says."""
    rng = np.random.default_rng(0)
    correct = np.stack([rng.random(N) < 0.5, EVEN], axis=1).astype(float)
    ids = [str(row) for row in range(N)]
    cost = np.tile([1e-6, 1e-4], (N, 1))
    data = Recorded(ids, np.full((N, 2), "", object), correct, cost, ids, ["cheap", "dear"])
    same = np.full((N, 2, 2), 0.5)
    seen = Seen(np.zeros((N, 1)), np.zeros((N, 2)), np.zeros((N, 2, 1)), same)
    scorer = np.stack([np.full(N, 0.5), np.where(EVEN, 0.9, 0.1)], axis=1)
    prior = np.stack([np.full(N, 0.5), np.where(EVEN, 0.8, 0.2)], axis=1)
    folds = Folds(rng.permutation(N)[None, :] % N_FOLDS, np.arange(N) < N // 2)
    return Beliefs(data, seen, prior, scorer, folds, (0, 1), {}, None, {frozenset({0, 1}): scorer})


def test_gain_is_large_where_the_dear_model_will_be_right(beliefs: Beliefs) -> None:
    """Equal trust in the first answer, yet going on pays on even questions only; new rows are told apart as well."""
    gain = learn_gains(beliefs, 0).of(frozenset({0}), 1)
    assert gain[EVEN][: N // 4].mean() > 0.4
    assert gain[EVEN][N // 4 :].mean() > 0.4
    assert abs(gain[~EVEN].mean()) < 0.1


def test_stopping_by_lead_or_gain_beats_stopping_by_trust(beliefs: Beliefs) -> None:
    """With half of the dear calls, both are right on all even questions; trust cannot tell them apart."""
    rows, reached, gains = np.arange(N), {}, learn_gains(beliefs, 0)
    strategies: tuple[Strategy, ...] = ("trust", "lead", "gain")
    for strategy in strategies:
        palier = Palier(Steps(beliefs, strategy, gains), only=((0,), (0, 1)))
        points = [point for point in palier.points(rows) if point.cost_nanousd <= 0.52e5]
        reached[strategy] = max(point.quality for point in points)
    assert reached["lead"] > reached["trust"] + 0.15
    assert reached["gain"] > reached["trust"] + 0.15


def test_a_router_sends_rows_to_the_last_model_at_once(beliefs: Beliefs) -> None:
    """Routed rows pay for the dear model alone; the others stop at the cheap one or climb, as without a router."""
    rows = np.arange(N)
    done = Climb(Steps(beliefs, "trust"), Point(0.0, 0.0, (ROUTED, 0, 1), (0.6, 0.0, 0.0))).run(rows)
    assert np.array_equal(done.cost, np.where(EVEN, 1e-4, 1e-6))
    assert np.array_equal(done.quality, np.where(EVEN, beliefs.data.correct[:, 1], beliefs.data.correct[:, 0]))
    climbed = Climb(Steps(beliefs, "trust"), Point(0.0, 0.0, (ROUTED, 0, 1), (1.0, 1.0, 0.0))).run(rows)
    assert climbed.cost == pytest.approx(np.full(N, 1.01e-4))
    assert np.array_equal(climbed.quality, final_quality(beliefs, frozenset({0, 1})))


def test_points_do_what_they_promise(beliefs: Beliefs) -> None:
    """Each point of the front, run on the rows that drew it, has the cost and the quality it was drawn with."""
    rows = np.arange(N // 2)
    for climb in Palier(Steps(beliefs)).draw(rows)[::5]:
        done = climb.run(rows)
        assert done.quality.mean() == pytest.approx(climb.point.quality)
        assert done.cost.mean() * 1e9 == pytest.approx(climb.point.cost_nanousd)


def test_the_policy_is_the_platforms(beliefs: Beliefs) -> None:
    """What the benchmark draws by leads is, point for point, what `tune-cascade` draws by beliefs."""
    cost = np.round(beliefs.data.cost * 1e9).astype(np.int64)
    both = frozenset({0, 1})
    table = OutcomeTable(
        beliefs.data.query_ids,
        ("cheap", "dear"),
        beliefs.data.correct,
        cost,
        beliefs.scorer,
        promise=beliefs.prior,
        beliefs={both: beliefs.posterior(both)},
    )
    rows = np.arange(N // 2)
    theirs = Searched(table.take(rows), table.quality[rows], Constraints(), 0.1, 3, by_beliefs=True).front()
    ours = Palier(Steps(beliefs, "lead")).points(rows)
    assert [point.cost_nanousd for point in ours] == pytest.approx([point.cost_nanousd for point in theirs])
    assert [point.quality for point in ours] == pytest.approx([point.quality for point in theirs])
    assert any(point.routed for point in theirs)
