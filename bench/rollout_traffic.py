"""Traffic for the rollout benchmark: what champion and challenger would each do with the same request.

Every request has both potential outcomes, so that shadow copies, canaries and all rules are played on the
very same traffic. Requests are drawn from a pool of rows: of a recorded ledger, or made up here. The
challenger answers a share of questions exactly as the champion does, the others like some other row of the
pool, and is then made worse in the way that the scenario says. No rule is told the scenario.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from palier.adapters.workspace import json_lines
from palier.errors import InputError

Column = NDArray[np.float64]

LEDGER_FIELDS = ("arm", "score", "error", "abstained", "latency_ms", "cost_nanousd")
POOL_ROWS = 5000
SAME_ANSWER = 0.7
"""Share of questions that two releases answer alike."""
SLO_MS = 2000.0
WITHHELD_BELOW = 0.4
"""Score below which a made-up release says "I don't know"."""


@dataclass(frozen=True)
class Outcomes:
    """What one arm does with each request: score (0..1, 0 on error), is_error, is_silent (withheld), latency_ms,
    cost_nanousd; all (n,)."""

    score: Column
    is_error: Column
    is_silent: Column
    latency_ms: Column
    cost_nanousd: Column

    def take(self, rows: NDArray[np.int64]) -> "Outcomes":
        return Outcomes(*(getattr(self, column.name)[rows] for column in fields(self)))


@dataclass(frozen=True)
class Scenario:
    """How the challenger differs: the mean score falls by ``score_drop``, ``errors`` more requests fail,
    ``silence`` more answers are withheld (scored as if they were not), ``slow`` more requests take over the objective,
    costs are multiplied by ``cost_factor``. With ``users`` sticky users of unlike difficulty share the traffic."""

    score_drop: float = 0.0
    errors: float = 0.0
    silence: float = 0.0
    slow: float = 0.0
    cost_factor: float = 1.0
    same_answer: float = SAME_ANSWER
    users: int | None = None


SCENARIOS = {
    "identical": Scenario(same_answer=1.0),
    "equal": Scenario(),
    "equal_30_users": Scenario(users=30),
    "score_at_margin": Scenario(score_drop=0.05),
    "score_minus_0.1": Scenario(score_drop=0.1),
    "score_minus_0.2": Scenario(score_drop=0.2),
    "score_minus_0.3": Scenario(score_drop=0.3),
    "errors_plus_0.1": Scenario(errors=0.1),
    "errors_all": Scenario(errors=1.0),
    "silence_plus_0.05": Scenario(silence=0.05),
    "silence_at_margin": Scenario(silence=0.1),
    "silence_plus_0.2": Scenario(silence=0.2),
    "silence_all": Scenario(silence=1.0, same_answer=1.0),
    "slow_plus_0.4": Scenario(slow=0.4),
    "cost_times_3": Scenario(cost_factor=3.0),
}


def made_up_pool(rng: np.random.Generator, n: int = POOL_ROWS) -> Outcomes:
    """A champion of middling quality: three answers in four are good, one in five is withheld, one request in 200
    fails, one in 25 is slow, one in five climbs to a rung that costs six times as much."""
    score = np.where(rng.random(n) < 0.75, rng.beta(8, 2, n), rng.beta(2, 5, n))
    is_error = (rng.random(n) < 0.005).astype(np.float64)
    latency = rng.lognormal(np.log(300), 0.5, n) + np.where(rng.random(n) < 0.04, SLO_MS, 0.0)
    cost = np.round(rng.lognormal(np.log(1500), 0.3, n) * np.where(rng.random(n) < 0.2, 6, 1))
    is_silent = ((score < WITHHELD_BELOW) & (is_error == 0)).astype(np.float64)
    return Outcomes(np.where(is_error > 0, 0.0, score), is_error, is_silent, latency, cost)


def recorded_pool(paths: Sequence[Path]) -> Outcomes:
    """The served rows of ledgers in JSON lines with the ledger's field names; raises InputError when there
    are none, and for a line that is no such row."""
    rows = [row for path in paths for row in _rows(path) if row["arm"] != "shadow" and _is_scored(row)]
    if not rows:
        names = ", ".join(str(path) for path in paths)
        raise InputError(f"No served and scored ledger rows in {names}: give JSON lines with the ledger's fields.")
    failed = np.array([row.get("error") is not None for row in rows], dtype=np.float64)
    score = np.array([0.0 if row.get("error") else float(row["score"]) for row in rows])
    silent = np.array([float(row["abstained"]) for row in rows])
    latency = np.array([float(row["latency_ms"]) for row in rows])
    return Outcomes(score, failed, silent, latency, np.array([float(row["cost_nanousd"]) for row in rows]))


def _rows(path: Path) -> list[dict[str, Any]]:
    found = []
    for number, line in enumerate(_lines(path), 1):
        try:
            row = json.loads(line)
            found.append({name: row[name] for name in LEDGER_FIELDS})
        except (ValueError, KeyError, TypeError) as error:
            raise InputError(
                f"Row {number} of {path} is none of a ledger ({type(error).__name__}: {error}). Give JSON lines with "
                f"{', '.join(LEDGER_FIELDS)}."
            ) from error
    return found


def _lines(path: Path) -> list[str]:
    try:
        return json_lines(path)
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path} cannot be read: {error}. Give a ledger in JSON lines.") from error


def count_rows(path: Path) -> int:
    """How many rows a ledger file has."""
    return len(_lines(path))


def _is_scored(row: dict[str, Any]) -> bool:
    return row["score"] is not None or row["error"] is not None


@dataclass(frozen=True)
class Traffic:
    """``n`` requests in order with both arms' outcomes and the sticky key of each, (n,)."""

    champion: Outcomes
    challenger: Outcomes
    keys: NDArray[np.int64]


def draw_traffic(pool: Outcomes, scenario: Scenario, n: int, rng: np.random.Generator) -> Traffic:
    """``n`` requests drawn from ``pool`` under ``scenario``."""
    rows = rng.integers(0, len(pool.score), n)
    other = np.where(rng.random(n) < scenario.same_answer, rows, rng.integers(0, len(pool.score), n))
    champion = pool.take(rows)
    challenger = _made_worse(pool.take(other), scenario, pool, rng)
    if scenario.users is None:
        return Traffic(champion, challenger, np.arange(n))
    users = rng.zipf(1.3, n) % scenario.users
    ease = rng.uniform(0.5, 1.0, scenario.users)[users]
    return Traffic(_scaled(champion, ease), _scaled(challenger, ease), users)


def _made_worse(seen: Outcomes, scenario: Scenario, pool: Outcomes, rng: np.random.Generator) -> Outcomes:
    n = len(seen.score)
    is_spoilt = rng.random(n) < scenario.score_drop / max(float(pool.score.mean()) - 0.2, 1e-9)
    score = np.where(is_spoilt, rng.beta(2, 8, n), seen.score)
    is_error = np.maximum(seen.is_error, rng.random(n) < scenario.errors)
    latency = seen.latency_ms + np.where(rng.random(n) < scenario.slow, SLO_MS, 0.0)
    cost = np.round(seen.cost_nanousd * scenario.cost_factor)
    more = scenario.silence / max(1.0 - float(pool.is_silent.mean()), 1e-9)  # of those that are answered
    is_silent = np.where(is_error > 0, 0.0, np.maximum(seen.is_silent, rng.random(n) < more))
    return Outcomes(np.where(is_error > 0, 0.0, score), is_error.astype(np.float64), is_silent, latency, cost)


def _scaled(seen: Outcomes, ease: Column) -> Outcomes:
    return replace(seen, score=seen.score * ease)
