"""What `palier release start|status|promote|rollback|history|explain` do, without the command line.

The founding release is taken by the offline gate alone, since nothing is there to compare it with; each later
one must pass the gate against the champion and then the rollout. Every act is compare-and-set and leaves a
line in the history with actor, reason and time. Checking that a bundle's files are the promised ones is done
before, by `adapters/bundles.py`.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any, Literal

from palier.adapters.records import Records
from palier.adapters.rollout_control import advance, apply
from palier.domain.rollout import (
    METRIC_WORDS,
    Active,
    Event,
    MetricVerdict,
    ReleaseRef,
    Rollout,
    Verdict,
    shown,
)
from palier.errors import InputError, NotReadyError, RolloutError
from palier.params import EvaluateReleaseParams, RolloutParams


@dataclass(frozen=True, slots=True)
class Candidate:
    """A packaged release whose files have been checked. ``evaluation`` holds "f1" as a number or as
    ``{"value": ...}``, as in the manifest."""

    ref: ReleaseRef
    evaluation: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Order:
    """Who wants a change, why, and when."""

    actor: str
    reason: str
    now: datetime


@dataclass(frozen=True, slots=True)
class Started:
    """How a release began: as the founding champion, or as the challenger of a rollout."""

    outcome: Literal["founded", "rollout"]
    release_id: str
    rollout_id: str | None
    message: str


@dataclass(frozen=True, slots=True)
class Status:
    """What serves, the rollout that runs or ran last, and the newest verdict on it."""

    active: Active
    rollout: Rollout | None
    verdict: Verdict | None


def start(
    records: Records, candidate: Candidate, gate: EvaluateReleaseParams, rules: RolloutParams, order: Order
) -> Started:
    """Found the first release, or begin the rollout of a later one.

    Raises RolloutError when the gate refuses it, when it serves already, when another rollout is running, or
    when the state moved meanwhile; InputError when the evaluation has no F1.
    """
    seen = records.active()
    if seen.champion is None:
        return _found(records, seen, candidate, gate, order)
    _refuse_start(seen, candidate.ref.release_id)
    drop = _check_gate(candidate, records.evaluation(seen.champion.release_id), gate)
    records.register_release(candidate.ref, candidate.evaluation)
    rollout = _new_rollout(seen.champion, candidate.ref, rules, order.now)
    reason = f"{drop}; {order.reason}" if order.reason else drop
    apply(records, seen, rollout, _event(order, "shadow", rollout.challenger_id, reason, rollout.rollout_id))
    message = f"{rollout.challenger_id} runs in the shadow of {rollout.champion_id} ({rollout.rollout_id}). {drop}."
    return Started("rollout", rollout.challenger_id, rollout.rollout_id, message)


def _found(records: Records, seen: Active, candidate: Candidate, gate: EvaluateReleaseParams, order: Order) -> Started:
    release_id, f1 = candidate.ref.release_id, f1_of(candidate.evaluation)
    if f1 < gate.min_f1:
        raise RolloutError(
            f"Release {release_id} has an F1 of {f1:.3f} on the test questions; a founding release needs "
            f"{gate.min_f1:g}. Improve it, or lower evaluate_release.min_f1 in params.yaml knowingly."
        )
    records.register_release(candidate.ref, candidate.evaluation)
    reason = f"founded by the offline gate: F1 {f1:.3f}, at least {gate.min_f1:g} needed"
    event = _event(order, "founded", release_id, f"{reason}; {order.reason}" if order.reason else reason)
    records.change(seen, champion_id=release_id, previous_id=None, rollout=None, event=event)
    return Started("founded", release_id, None, f"{release_id} is the champion, {reason}.")


def _refuse_start(seen: Active, release_id: str) -> None:
    if seen.rollout is not None:
        raise RolloutError(
            f"Rollout {seen.rollout.rollout_id} of {seen.rollout.challenger_id} is still in its "
            f"{seen.rollout.phase} phase. Wait for it, or end it with `palier release promote` or "
            "`palier release rollback`."
        )
    if seen.champion is not None and seen.champion.release_id == release_id:
        raise RolloutError(f"Release {release_id} is the champion already: nothing to do.")


def _check_gate(candidate: Candidate, champion: Mapping[str, Any], gate: EvaluateReleaseParams) -> str:
    """What the gate found, in words; raises RolloutError when the drop is too large."""
    challenger_f1, champion_f1 = f1_of(candidate.evaluation), f1_of(champion)
    finding = f"F1 {challenger_f1:.3f} against the champion's {champion_f1:.3f}"
    if challenger_f1 < champion_f1 - gate.max_f1_drop:
        raise RolloutError(
            f"Release {candidate.ref.release_id} fails the offline gate: {finding}, a drop of "
            f"{gate.max_f1_drop:g} at most is allowed (evaluate_release.max_f1_drop). The champion stays."
        )
    return f"passed the offline gate: {finding}"


def f1_of(evaluation: Mapping[str, Any]) -> float:
    """The F1 of an evaluation; raises InputError when there is none."""
    found = evaluation.get("f1")
    value = found.get("value") if isinstance(found, Mapping) else found
    if not isinstance(value, int | float) or value != value:
        raise InputError(f"The evaluation has no F1 (found {found!r}). Run `palier evaluate-release` again.")
    return float(value)


def _new_rollout(champion: ReleaseRef, challenger: ReleaseRef, rules: RolloutParams, now: datetime) -> Rollout:
    origin = f"{champion.release_id} {challenger.release_id} {now.isoformat()}"
    return Rollout(
        rollout_id=f"rollout-{hashlib.sha256(origin.encode()).hexdigest()[:12]}",
        champion_id=champion.release_id,
        challenger_id=challenger.release_id,
        phase="shadow",
        share=0.0,
        started_at=now,
        phase_started_at=now,
        params=rules,
    )


def status(records: Records, now: datetime) -> Status:
    """The state after one look at the running rollout, which may move it."""
    before = records.active().rollout
    verdict = advance(records, before.params, now) if before else None
    rollout = records.last_rollout()
    if verdict is None and rollout is not None and rollout.verdict is not None:
        verdict = Verdict.model_validate(rollout.verdict)
    return Status(records.active(), rollout, verdict)


def promote(records: Records, order: Order) -> Active:
    """Make the challenger champion now, on the operator's word; the new state.

    Raises RolloutError when no rollout is running, InputError without a reason.
    """
    seen = records.active()
    _need_reason(order)
    if seen.rollout is None:
        raise RolloutError("No rollout is running, so there is nothing to promote. `palier release start` first.")
    return _end_by_order(records, seen, replace(seen.rollout, phase="promoted"), order)


def rollback(records: Records, order: Order) -> Active:
    """End the running rollout for the champion; with none running, bring back the previous champion.

    The new state. Raises RolloutError when there is nothing to go back to, InputError without a reason.
    """
    seen = records.active()
    _need_reason(order)
    if seen.rollout is not None:
        return _end_by_order(records, seen, replace(seen.rollout, phase="rolled_back"), order)
    if seen.champion is None or seen.previous is None:
        raise RolloutError("There is no earlier champion to go back to. `palier release history` shows what was.")
    if not Path(seen.previous.bundle_path).is_dir():
        raise RolloutError(
            f"The bundle of {seen.previous.release_id} is no longer at {seen.previous.bundle_path}: "
            "put it back, or start that release again."
        )
    back, gone = seen.previous.release_id, seen.champion.release_id
    event = _event(order, "swapped back", back, order.reason, details={"instead_of": gone})
    records.change(seen, champion_id=back, previous_id=gone, rollout=None, event=event)
    return records.active()


def _end_by_order(records: Records, seen: Active, ended: Rollout, order: Order) -> Active:
    ended = replace(ended, share=0.0, ended_at=order.now, phase_started_at=order.now)
    event = _event(order, ended.phase, ended.challenger_id, order.reason, ended.rollout_id)
    apply(records, seen, ended, event)
    return records.active()


def _need_reason(order: Order) -> None:
    if not order.reason.strip():
        raise InputError("A reason is needed, for the history: --reason 'why'.")


def _event(
    order: Order,
    action: str,
    release_id: str,
    reason: str,
    rollout_id: str | None = None,
    details: Mapping[str, Any] | None = None,
) -> Event:
    return Event(order.now, order.actor, action, release_id, reason, rollout_id, details or {})


def history(records: Records, limit: int = 100) -> list[Event]:
    """What happened to releases, newest first."""
    return records.history(limit)


def named_rollout(records: Records, rollout_id: str | None = None) -> Rollout:
    """The rollout of that id, the newest one when none is named. Raises NotReadyError when there is no such rollout."""
    rollout = records.rollout(rollout_id) if rollout_id else records.last_rollout()
    if rollout is None:
        named = f"No rollout {rollout_id!r}" if rollout_id else "No rollout yet"
        raise NotReadyError(f"{named}. `palier release history` shows all; `palier release start` begins one.")
    return rollout


def explain(records: Records, rollout_id: str | None = None) -> str:
    """Why a rollout (see `named_rollout`) stands where it stands, in plain words."""
    rollout = named_rollout(records, rollout_id)
    events = records.history(limit=1000, rollout_id=rollout.rollout_id)
    lines = [
        f"{rollout.rollout_id}: challenger {rollout.challenger_id} against champion {rollout.champion_id}",
        f"Now: {_PHASE_WORDS[rollout.phase]}" + (f", share {rollout.share:g}" if rollout.phase == "canary" else ""),
        "",
        *(f"{event.at:%Y-%m-%d %H:%M:%S} {event.action} by {event.actor}: {event.reason}" for event in events[::-1]),
    ]
    if rollout.verdict is not None:
        lines += ["", *_verdict_lines(Verdict.model_validate(rollout.verdict))]
    return "\n".join(lines)


_PHASE_WORDS = {
    "shadow": "in the shadow phase: the champion answers, the challenger gets copies",
    "canary": "in the canary phase: the challenger answers its share",
    "promoted": "promoted: the challenger became champion",
    "rolled_back": "rolled back: the champion stayed",
    "inconclusive": "inconclusive: the champion stayed",
}


def _verdict_lines(verdict: Verdict) -> list[str]:
    head = (
        f"The last verdict rests on {verdict.n_compared} comparisons ({verdict.n_pairs} in the shadow) and "
        f"{verdict.n_requests} served requests: {verdict.reason}."
    )
    return [head, *(_metric_line(seen) for seen in verdict.metrics)]


def _metric_line(seen: MetricVerdict) -> str:
    means = f"champion {shown(seen.champion_mean)}, challenger {shown(seen.challenger_mean)}"
    if seen.is_worse:
        finding = "is worse by more than that"
    else:
        finding = "is not worse by more than that" if seen.is_fine else "cannot be told yet"
    return (
        f"  {METRIC_WORDS[seen.metric]}: {means}, margin {seen.margin:g}: {finding} (evidence for worse "
        f"{shown(seen.worse_evidence)} of {shown(seen.worse_threshold)}, for not worse "
        f"{shown(seen.fine_evidence)} of {shown(seen.fine_threshold)})"
    )
