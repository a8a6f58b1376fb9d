"""What one answered request used, cost and said: the row that money, rollouts, drift and traces rest on.

Knows nothing of the database. A request that is copied to a challenger in the shadow phase leaves two rows
under one request id: the one that was served, and one with arm "shadow" that nobody saw.
"""

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal

Arm = Literal["champion", "challenger", "shadow"]
CACHE, GUARD = "cache", "guard"
"""What stands for a rung where none of the ladder spoke: an answer given again, and a refusal."""


@dataclass(frozen=True, slots=True)
class LedgerRow:
    """One answer, served or shadowed. ``created_at`` is aware; costs are whole nano-dollars.

    ``rung``, ``score`` and ``index`` are None when the request failed before it had one; ``error`` is then
    the reason. ``score`` comes from the champion's scorer in both arms (a refusal's from its guard), so that the arms
    can be compared; it is None as well where that scorer knows nothing of such an answer.
    ``reference_cost_nanousd`` is None where the ladder has one rung only.
    """

    request_id: str
    created_at: datetime
    key_id: str
    release_id: str
    rollout_id: str | None
    arm: Arm
    language: str
    question: str
    answer: str
    rung: str | None
    score: float | None
    abstained: bool
    attempts: list[dict[str, Any]] = field(default_factory=list)
    cost_nanousd: int = 0
    reference_cost_nanousd: int | None = None
    latency_ms: float = 0.0
    error: str | None = None
    index: str | None = None
    citations: list[dict[str, Any]] = field(default_factory=list)
