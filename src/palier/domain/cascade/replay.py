"""What a cascade would have done on recorded outcomes, row by row: the mirror of
`palier.domain.answering.climb`, by scores and by beliefs.

Knows arrays only. Price paid: a row's own language decides nothing here beyond what the table's `serves`
says, and a row that no step serves falls to the last step, as in `climb`.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from palier.domain.answering import lead
from palier.domain.cascade.outcomes import Bools, Floats, Ints, OutcomeTable
from palier.domain.cascade.sweep import NOT_SERVED, StepRows

METRICS = ("quality", "cost", "cost_squared", "late")


@dataclass(frozen=True)
class Replayed:
    """Per row: quality and score of the final answer, cost, time and number of attempts, the winner; and ``called``
    (n, k), which steps of the chain were asked."""

    quality: Floats
    score: Floats
    cost_nanousd: Ints
    latency_ms: Floats
    n_steps: Ints
    final_rung: Ints
    called: Bools


def prefix_cost(table: OutcomeTable, chain: Sequence[int]) -> list[Ints]:
    """Cost per row after each step; a step that does not serve the row costs nothing."""
    paid = np.where(table.serves, table.cost_nanousd, 0)
    return list(np.cumsum([paid[:, rung] for rung in chain], axis=0))


def prefix_latency(table: OutcomeTable, chain: Sequence[int]) -> list[Floats]:
    """Milliseconds per row after each step; zeros where no latency was recorded."""
    if table.latency_ms is None:
        return [np.zeros(table.n_rows) for _ in chain]
    spent = np.where(table.serves, table.latency_ms, 0.0)
    return list(np.cumsum([spent[:, rung] for rung in chain], axis=0))


def served_score(table: OutcomeTable, rung: int) -> Floats:
    """The rung's scores, NOT_SERVED where it does not serve the row."""
    return np.where(table.serves[:, rung], table.score[:, rung], NOT_SERVED)


def best_seen(table: OutcomeTable, chain: Sequence[int]) -> Ints:
    """(n): the rung whose answer scores best in the whole chain; the first one on ties, as `max` does."""
    scores = np.stack([served_score(table, rung) for rung in chain], axis=1)
    winners: Ints = np.asarray(chain, dtype=np.int64)[scores.argmax(axis=1)]
    return winners


def chain_steps(
    table: OutcomeTable,
    chain: Sequence[int],
    quality: Floats,
    *,
    trust_last: bool,
    latency_limit_ms: float | None,
) -> list[StepRows]:
    """A chain as the sweep wants it.

    ``trust_last``: when no earlier step accepted, the last step's answer is final; otherwise the best-scored
    one. ``quality`` (n, R) is what to optimise, perhaps shrunk. Where the last step does not serve a row, the
    best-scored answer is final in both cases.
    """
    filled = np.where(table.serves, quality, 0.0)
    costs, latencies = prefix_cost(table, chain), prefix_latency(table, chain)
    steps = []
    for depth, rung in enumerate(chain):
        gained = filled[:, rung]
        if depth == len(chain) - 1:
            last = np.full(table.n_rows, rung)
            winner = np.where(table.serves[:, rung] & trust_last, last, best_seen(table, chain))
            gained = filled[np.arange(table.n_rows), winner]
        cost = costs[depth] / 1e9
        late = (latencies[depth] > (latency_limit_ms or np.inf)).astype(np.float64)
        steps.append(StepRows(served_score(table, rung), np.stack([gained, cost, cost**2, late], axis=1)))
    return steps


def content(table: OutcomeTable, seen: Sequence[int], last: int) -> Floats:
    """(n): how little there is to gain by going on to ``last`` after the answers ``seen``, 0..1; mirrors `lead`."""
    trust = table.believed(seen).max(axis=1)
    return trust if last in seen else lead(trust, _promise(table)[:, last])


def directness(table: OutcomeTable, chain: Sequence[int]) -> Floats:
    """(n): how far the chain's last rung promises more than its first, 0..1."""
    promise = _promise(table)
    return lead(promise[:, chain[-1]], promise[:, chain[0]])


def _promise(table: OutcomeTable) -> Floats:
    if table.promise is None:
        raise KeyError("promise")
    return table.promise


def believed_steps(
    table: OutcomeTable, chain: Sequence[int], quality: Floats, *, routed: bool, latency_limit_ms: float | None
) -> list[StepRows]:
    """A chain that climbs by beliefs, as the sweep wants it; every rung serves every row.

    The answer believed most is final, whichever rung gave it. ``routed``: a step that asks nobody comes first and, when
    content, hands the question to the last rung.
    """
    rows, costs, latencies = np.arange(table.n_rows), prefix_cost(table, chain), prefix_latency(table, chain)
    late_after = latency_limit_ms or np.inf

    def step(contentment: Floats, winner: Ints, cost: Ints, latency: Floats) -> StepRows:
        usd, late = cost / 1e9, (latency > late_after).astype(np.float64)
        return StepRows(contentment, np.stack([quality[rows, winner], usd, usd**2, late], axis=1))

    steps = []
    if routed:
        last, alone = chain[-1], [chain[-1]]
        direct_cost, direct_latency = prefix_cost(table, alone)[0], prefix_latency(table, alone)[0]
        steps.append(step(directness(table, chain), np.full(table.n_rows, last), direct_cost, direct_latency))
    for depth in range(len(chain)):
        seen = chain[: depth + 1]
        winner = np.asarray(seen)[table.believed(seen).argmax(axis=1)]
        steps.append(step(content(table, seen, chain[-1]), winner, costs[depth], latencies[depth]))
    return steps


def replay_believed(
    table: OutcomeTable, chain: Sequence[int], thresholds: Sequence[float], *, routed: bool
) -> Replayed:
    """Run a chain that climbs by beliefs; ``thresholds`` has one more in front when it is ``routed``."""
    n, rows = table.n_rows, np.arange(table.n_rows)
    direct = directness(table, chain) >= thresholds[0] if routed else np.zeros(n, dtype=np.bool_)
    taken, open_rows = np.full(n, len(chain) - 1), ~direct
    for depth, threshold in enumerate(thresholds[1:] if routed else thresholds):
        accepted = open_rows & (content(table, chain[: depth + 1], chain[-1]) >= threshold)
        taken[accepted] = depth
        open_rows &= ~accepted
    believed = [table.believed(chain[: depth + 1]) for depth in range(len(chain))]
    winner = np.array([np.asarray(chain)[told.argmax(axis=1)] for told in believed])[taken, rows]
    score = np.array([told.max(axis=1) for told in believed])[taken, rows]
    winner = np.where(direct, chain[-1], winner)
    called = np.arange(len(chain))[None, :] <= taken[:, None]
    called[direct] = np.arange(len(chain)) == len(chain) - 1
    paid, spent = table.cost_nanousd[:, list(chain)], prefix_latency(table, chain)
    return Replayed(
        np.nan_to_num(table.quality)[rows, winner],
        np.where(direct, table.score[:, chain[-1]], score),
        (paid * called).sum(axis=1),
        np.where(direct, prefix_latency(table, [chain[-1]])[0], np.stack(spent)[taken, rows]),
        called.sum(axis=1),
        winner,
        called,
    )


def replay(table: OutcomeTable, chain: Sequence[int], thresholds: Sequence[float]) -> Replayed:
    """Run a chain with one threshold per step (the last one too) over all rows of ``table``."""
    n = table.n_rows
    taken = np.full(n, len(chain) - 1)
    winner = best_seen(table, chain)
    open_rows: Bools = np.ones(n, dtype=np.bool_)
    for depth, (rung, threshold) in enumerate(zip(chain, thresholds, strict=True)):
        accepted = open_rows & (served_score(table, rung) >= threshold)
        taken[accepted], winner[accepted] = depth, rung
        open_rows &= ~accepted
    rows = np.arange(n)
    served = table.serves
    return Replayed(
        np.where(served, np.nan_to_num(table.quality), 0.0)[rows, winner],
        np.where(served, table.score, 0.0)[rows, winner],
        np.stack(prefix_cost(table, chain))[taken, rows],
        np.stack(prefix_latency(table, chain))[taken, rows],
        taken + 1,
        winner,
        (np.arange(len(chain))[None, :] <= taken[:, None]) & served[:, list(chain)],
    )
