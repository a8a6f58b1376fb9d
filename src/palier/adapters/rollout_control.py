"""One look at a running rollout: read the ledger, judge, and move the rollout if the verdict says so.

Idempotent, and safe to call from several processes: each move is compare-and-set, and who comes second
changes nothing. Knows nothing of HTTP and clocks; the statistics are the domain's.
"""

from datetime import datetime

from palier.adapters.records import Records
from palier.domain.rollout import Active, Event, Rollout, Verdict, judge, next_step
from palier.errors import RolloutError
from palier.params import RolloutParams

MACHINE = "palier"
"""The actor of moves that nobody ordered."""


def advance(records: Records, rollout_params: RolloutParams, now: datetime) -> Verdict | None:
    """Judge the running rollout and move it at most one phase or share; the verdict, or None when none is
    running.

    ``rollout_params`` are the running rollout's own (``active().rollout.params``): rules that change while a
    test runs would void its guarantee. A caller that holds other ones is looking at a rollout that is over,
    and gets None.
    """
    seen = records.active()
    rollout = seen.rollout
    if rollout is None or rollout.params != rollout_params:
        return None
    verdict = judge(records.observations(rollout.rollout_id), rollout, rollout_params)
    step = next_step(rollout, verdict, rollout_params, now)
    if step is not None:
        _move(records, seen, *step, now)
    return verdict


def _move(records: Records, seen: Active, moved: Rollout, reason: str, now: datetime) -> None:
    action = moved.phase if moved.phase != "canary" else f"canary {moved.share:g}"
    event = Event(
        at=now,
        actor=MACHINE,
        action=action,
        release_id=moved.challenger_id,
        reason=reason,
        rollout_id=moved.rollout_id,
        details={"verdict": moved.verdict},
    )
    try:
        apply(records, seen, moved, event)
    except RolloutError:
        return  # another process, or an operator, moved it first; the next look sees what they did


def apply(records: Records, seen: Active, rollout: Rollout, event: Event) -> None:
    """Store a moved rollout with its consequence: a promoted challenger becomes champion, and the champion
    previous.

    Raises RolloutError when the state has moved since ``seen``.
    """
    champion_id = seen.champion.release_id if seen.champion else None
    previous_id = seen.previous.release_id if seen.previous else None
    if rollout.phase == "promoted":
        champion_id, previous_id = rollout.challenger_id, rollout.champion_id
    records.change(seen, champion_id=champion_id, previous_id=previous_id, rollout=rollout, event=event)
