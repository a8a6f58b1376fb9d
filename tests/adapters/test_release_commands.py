"""Releases are founded by the gate, replaced by a rollout only, sent back when worse, and all of it is
explained."""

import json
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest

from palier.adapters import release_commands
from palier.adapters.records import Records
from palier.adapters.release_commands import Candidate, Order
from palier.adapters.rollout_control import advance
from palier.domain.ledger import LedgerRow
from palier.domain.rollout import ReleaseRef, assign_arm
from palier.errors import InputError, NotReadyError, RolloutError
from palier.params import EvaluateReleaseParams, RolloutParams

NOW = datetime(2026, 5, 1, tzinfo=UTC)
GATE = EvaluateReleaseParams(bootstrap_samples=100, min_f1=0.25, max_f1_drop=0.05)
RULES = RolloutParams(
    shadow_requests=60,
    canary_shares=(0.2, 0.5),
    requests_per_share=20,
    max_requests=900,
    alpha=0.05,
    quality_margin=0.05,
    error_margin=0.02,
    latency_margin=0.15,
    latency_slo_ms=2000,
    cost_margin=0.5,
)


def order(minute: int = 0, reason: str = "") -> Order:
    return Order("ada", reason, NOW + timedelta(minutes=minute))


@pytest.fixture
def records(tmp_path: Path) -> Iterator[Records]:
    opened = Records(f"sqlite:///{tmp_path / 'records.db'}")
    yield opened
    opened.close()


def candidate(folder: Path, name: str, f1: object = 0.5) -> Candidate:
    bundle = folder / name
    bundle.mkdir(exist_ok=True)
    return Candidate(ReleaseRef(name, str(bundle), "corpus-1", NOW), {"f1": f1})


def begin(records: Records, folder: Path, name: str, minute: int = 0, f1: object = 0.5):
    return release_commands.start(records, candidate(folder, name, f1), GATE, RULES, order(minute))


def play(
    records: Records,
    rng: np.random.Generator,
    *,
    score_drop: float,
    silence: tuple[float, float] = (0.0, 0.0),
    n: int = 900,
) -> int:
    """Requests through the ledger with a look after each, until the rollout ends; how many it took.

    ``silence``: the share of answers that champion and challenger withhold, of the less certain ones first.
    """
    for i in range(n):
        active = records.active()
        if active.rollout is None:
            return i
        at = active.rollout.started_at + timedelta(seconds=i + 1)
        score, certainty = float(rng.beta(8, 2)), rng.random()
        worse = float(np.clip(score - score_drop + rng.normal(0, 0.05), 0, 1))
        row = LedgerRow(
            f"{active.rollout.rollout_id}-{i}",
            at,
            "key-1",
            active.champion.release_id,
            active.rollout.rollout_id,
            "champion",
            "en",
            "q",
            "a",
            "reader",
            score,
            certainty < silence[0],
            cost_nanousd=1000 + i % 7,
            latency_ms=50.0,
        )
        other = replace(row, release_id=active.rollout.challenger_id, score=worse, abstained=certainty < silence[1])
        if active.rollout.phase == "shadow":
            records.append_request(row)
            records.append_request(replace(other, arm="shadow"))
        elif assign_arm(str(i), active.rollout) == "challenger":
            records.append_request(replace(other, arm="challenger"))
        else:
            records.append_request(row)
        advance(records, active.rollout.params, at + timedelta(seconds=0.5))
    raise AssertionError("the rollout should have ended")


def test_the_first_release_is_founded_by_the_offline_gate_and_says_so(records, tmp_path):
    started = begin(records, tmp_path, "r-1", f1={"value": 0.4, "low": 0.3, "high": 0.5, "n": 90})
    assert started.outcome == "founded"
    assert records.active().champion.release_id == "r-1"
    (event,) = release_commands.history(records)
    assert (event.actor, event.action) == ("ada", "founded")
    assert "founded by the offline gate: F1 0.400" in event.reason


def test_a_first_release_below_the_gate_is_refused_and_leaves_nothing(records, tmp_path):
    with pytest.raises(RolloutError, match=r"F1 of 0\.200.*needs 0\.25"):
        begin(records, tmp_path, "r-1", f1=0.2)
    assert records.active().champion is None
    assert records.history() == []


@pytest.mark.parametrize("f1", [None, "good", float("nan"), {"value": None}])
def test_an_evaluation_without_an_f1_is_an_input_error(records, tmp_path, f1):
    with pytest.raises(InputError, match="evaluate-release"):
        begin(records, tmp_path, "r-1", f1=f1)


def test_the_champion_itself_is_nothing_to_do(records, tmp_path):
    begin(records, tmp_path, "r-1")
    with pytest.raises(RolloutError, match="nothing to do"):
        begin(records, tmp_path, "r-1")


def test_a_later_release_must_pass_the_gate_against_the_champion_before_it_sees_traffic(records, tmp_path):
    begin(records, tmp_path, "r-1", f1=0.5)
    with pytest.raises(RolloutError, match="fails the offline gate"):
        begin(records, tmp_path, "r-2", f1=0.44)
    assert records.active().rollout is None
    assert begin(records, tmp_path, "r-3", f1=0.46).outcome == "rollout"
    rollout = records.active().rollout
    assert (rollout.phase, rollout.share, rollout.params) == ("shadow", 0.0, RULES)


def test_a_second_rollout_is_refused_with_the_name_of_the_first_and_the_remedies(records, tmp_path):
    begin(records, tmp_path, "r-1")
    started = begin(records, tmp_path, "r-2")
    with pytest.raises(RolloutError, match=rf"{started.rollout_id}.*promote.*rollback"):
        begin(records, tmp_path, "r-3")


def test_a_worse_challenger_is_sent_back_by_the_machinery_and_explained(records, tmp_path):
    """Nobody tells the rules that this one is worse."""
    begin(records, tmp_path, "r-1")
    begin(records, tmp_path, "r-2")
    n_requests = play(records, np.random.default_rng(1), score_drop=0.2)
    assert n_requests <= 100
    active = records.active()
    assert (active.champion.release_id, active.rollout, active.previous) == ("r-1", None, None)
    assert records.last_rollout().phase == "rolled_back"
    told = release_commands.explain(records)
    assert "rolled back: the champion stayed" in told
    assert "mean score" in told
    assert "is worse by more than that" in told
    assert records.history()[0].actor == "palier"


def test_an_equal_challenger_goes_through_all_phases_and_becomes_champion(records, tmp_path):
    begin(records, tmp_path, "r-1")
    begin(records, tmp_path, "r-2", minute=1)
    play(records, np.random.default_rng(2), score_drop=0.0)
    active = records.active()
    assert (active.champion.release_id, active.previous.release_id) == ("r-2", "r-1")
    actions = [event.action for event in release_commands.history(records)][::-1]
    assert actions == ["founded", "shadow", "canary 0.2", "canary 0.5", "promoted"]
    verdict = release_commands.status(records, NOW).verdict
    assert verdict.decision == "not_worse"
    assert all(seen.fine_evidence >= seen.fine_threshold == 20 for seen in verdict.metrics)


def test_a_challenger_that_says_nothing_is_sent_back_and_its_silence_is_named(records, tmp_path):
    """What it withholds has the champion's scores: nothing but its silence tells."""
    begin(records, tmp_path, "r-1")
    begin(records, tmp_path, "r-2")
    assert play(records, np.random.default_rng(3), score_drop=0.0, silence=(0.3, 1.0)) <= 60
    assert records.last_rollout().phase == "rolled_back"
    told = release_commands.explain(records)
    assert "worse than the champion: silence (share of answers withheld) 1 against" in told
    assert "silence (share of answers withheld): champion" in told


def test_a_challenger_as_silent_as_the_champion_becomes_champion(records, tmp_path):
    begin(records, tmp_path, "r-1")
    begin(records, tmp_path, "r-2", minute=1)
    play(records, np.random.default_rng(4), score_drop=0.0, silence=(0.3, 0.3))
    assert records.active().champion.release_id == "r-2"


def test_a_rollout_that_was_stored_before_silence_was_judged_goes_on_under_the_margin_of_today(records, tmp_path):
    begin(records, tmp_path, "r-1")
    begin(records, tmp_path, "r-2")
    old = {name: value for name, value in RULES.model_dump(mode="json").items() if name != "silence_margin"}
    with closing(sqlite3.connect(tmp_path / "records.db")) as database, database:
        database.execute("UPDATE rollouts SET params = ?", (json.dumps(old),))
    assert records.active().rollout.params == RULES
    play(records, np.random.default_rng(5), score_drop=0.0, silence=(0.0, 1.0))
    assert records.last_rollout().phase == "rolled_back"


def test_looking_is_idempotent_and_a_caller_with_other_rules_changes_nothing(records, tmp_path):
    begin(records, tmp_path, "r-1")
    assert advance(records, RULES, NOW) is None
    begin(records, tmp_path, "r-2")
    before = records.active()
    assert advance(records, RULES, NOW) == advance(records, RULES, NOW)
    assert advance(records, RULES.model_copy(update={"alpha": 0.4}), NOW) is None
    assert records.active() == before


def test_an_operator_promotes_with_a_reason_and_takes_it_back(records, tmp_path):
    begin(records, tmp_path, "r-1")
    with pytest.raises(RolloutError, match="nothing to promote"):
        release_commands.promote(records, order(1, "hurry"))
    begin(records, tmp_path, "r-2", minute=2)
    with pytest.raises(InputError, match="reason"):
        release_commands.promote(records, order(3, "  "))
    active = release_commands.promote(records, order(3, "the fix for the wrong opening hours"))
    assert (active.champion.release_id, active.previous.release_id, active.rollout) == ("r-2", "r-1", None)
    active = release_commands.rollback(records, order(4, "it was not the fix"))
    assert (active.champion.release_id, active.previous.release_id) == ("r-1", "r-2")
    newest = release_commands.history(records, limit=2)
    assert [(event.action, event.reason) for event in newest] == [
        ("swapped back", "it was not the fix"),
        ("promoted", "the fix for the wrong opening hours"),
    ]


def test_rollback_ends_a_running_rollout_first(records, tmp_path):
    begin(records, tmp_path, "r-1")
    begin(records, tmp_path, "r-2", minute=1)
    active = release_commands.rollback(records, order(2, "users complain"))
    assert (active.champion.release_id, active.previous, active.rollout) == ("r-1", None, None)
    ended = records.last_rollout()
    assert (ended.phase, ended.ended_at) == ("rolled_back", NOW + timedelta(minutes=2))
    assert begin(records, tmp_path, "r-2", minute=3).outcome == "rollout", "it may try again"


def test_rollback_without_anything_to_go_back_to_is_refused(records, tmp_path):
    begin(records, tmp_path, "r-1")
    with pytest.raises(RolloutError, match="no earlier champion"):
        release_commands.rollback(records, order(1, "why not"))


def test_rollback_to_a_bundle_that_is_gone_is_refused_and_names_the_folder(records, tmp_path):
    begin(records, tmp_path, "r-1")
    begin(records, tmp_path, "r-2", minute=1)
    release_commands.promote(records, order(2, "hurry"))
    (tmp_path / "r-1").rmdir()
    with pytest.raises(RolloutError, match="no longer at"):
        release_commands.rollback(records, order(3, "back"))
    assert records.active().champion.release_id == "r-2"


def test_status_before_anything_and_explain_without_a_rollout(records):
    status = release_commands.status(records, NOW)
    assert (status.active.champion, status.rollout, status.verdict) == (None, None, None)
    with pytest.raises(NotReadyError, match="No rollout yet"):
        release_commands.explain(records)
    with pytest.raises(NotReadyError, match="rollout-x"):
        release_commands.explain(records, "rollout-x")
