"""What a cascade would have done on recorded outcomes, row by row: the mirror of
`palier.domain.answering.climb`.

Knows arrays only. Price paid: a row's own language decides nothing here beyond what the table's `serves`
says, and a row that no step serves falls to the last step, as in `climb`.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from palier.domain.cascade.outcomes import Bools, Floats, Ints, OutcomeTable
from palier.domain.cascade.sweep import NOT_SERVED, StepRows

METRICS = ("quality", "cost", "cost_squared", "late")


@dataclass(frozen=True)
class Replayed:
    """Per row: quality and score of the final answer, cost, time and number of attempts, the winner."""

    quality: Floats
    score: Floats
    cost_nanousd: Ints
    latency_ms: Floats
    n_steps: Ints
    final_rung: Ints


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
    )
