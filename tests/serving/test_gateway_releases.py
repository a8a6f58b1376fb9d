"""Releases come and go under a running gateway: founded, refused, shadowed, compared, promoted, rolled back."""

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest
from lexical_release import Character
from running_gateway import Running, run_gateway, wait_until

from palier.adapters import release_commands
from palier.domain.rollout import Verdict

pytestmark = pytest.mark.service

QUESTIONS = (
    "Is the Canal Street restaurant open on Sunday?",
    "How much does the large margherita cost?",
    "Combien coûte la petite margherita ?",
    "La livraison est gratuite au-delà de 25 euros ?",
)
QUICK = {
    "shadow_requests": 20,
    "requests_per_share": 20,
    "error_margin": 0.3,
    "quality_margin": 0.3,
    "silence_margin": 0.3,
    "latency_margin": 0.3,
    "cost_margin": 5.0,
    "alpha": 0.2,
}


def ask(running: Running, number: int, user: str | None = None) -> dict[str, Any]:
    text = QUESTIONS[number % len(QUESTIONS)]
    body = {"model": "palier", "messages": [{"role": "user", "content": text}], "user": user or f"user {number}"}
    with running.http() as http:
        answer = http.post("/v1/chat/completions", json=body)
    assert answer.status_code == 200, answer.text
    return {**answer.json()["palier"], "request_id": answer.headers["x-request-id"]}


def ask_until(running: Running, ended: str, at_most: int = 600) -> list[dict[str, Any]]:
    """Ask question after question until the rollout has ``ended`` so."""
    answers: list[dict[str, Any]] = []
    while len(answers) < at_most:
        with ThreadPoolExecutor(4) as pool:
            answers += pool.map(lambda number: ask(running, number), range(len(answers), len(answers) + 20))
        rollout = running.records.last_rollout()
        if rollout is not None and not rollout.is_running:
            assert rollout.phase == ended, rollout.verdict
            return answers
    raise AssertionError(f"not {ended} after {len(answers)} requests: {running.records.last_rollout()}")


def test_without_a_release_it_lives_is_not_ready_and_names_the_remedy(empty_gateway: Running) -> None:
    ready = httpx.get(f"{empty_gateway.url}/readyz")
    body = {"model": "palier", "messages": [{"role": "user", "content": "hello"}]}
    with empty_gateway.http() as http:
        answer = http.post("/v1/chat/completions", json=body)
    assert httpx.get(f"{empty_gateway.url}/livez").status_code == 200
    assert ready.status_code == 503
    assert ready.json()["parts"]["records"]["ok"] is True
    assert answer.status_code == 503
    assert "palier release start" in answer.json()["error"]["message"]


def test_a_restart_beside_a_broken_champion_serves_the_previous_release(tmp_path: Any) -> None:
    with run_gateway(tmp_path) as running:
        running.start_release("r-first")
        running.wait_ready("r-first")
        running.start_release("r-second", **QUICK)
        running.wait_ready("r-first", "r-second")
        ask_until(running, "promoted")
        running.wait_ready("r-second")
        assert ask(running, 0)["release_id"] == "r-second"
    (tmp_path / "bundles" / "r-second" / "models" / "lexical" / "passages.json").write_text("[]")
    with run_gateway(tmp_path) as running:
        running.wait_ready("r-first")
        answer = ask(running, 0)
        ready = httpx.get(f"{running.url}/readyz").json()
    assert answer["release_id"] == "r-first"
    assert answer["degraded"] == ["champion_release"]
    assert ready["status"] == "ready"
    assert "passages.json" in ready["findings"]["r-second"]


def test_a_shadow_answers_copies_that_nobody_sees(empty_gateway: Running) -> None:
    empty_gateway.start_release("r-first")
    empty_gateway.wait_ready("r-first")
    empty_gateway.start_release("r-second")
    empty_gateway.wait_ready("r-first", "r-second")
    answers = [ask(empty_gateway, number) for number in range(8)]
    assert {answer["release_id"] for answer in answers} == {"r-first"}

    def copies() -> dict[str, str]:
        rows = empty_gateway.records.requests(include_shadow=True)
        return {row.request_id: row.release_id for row in rows if row.arm == "shadow"}

    wait_until(lambda: len(copies()) == 8, "eight copies")
    assert copies() == {answer["request_id"]: "r-second" for answer in answers}


def test_a_worse_challenger_is_rolled_back_though_it_flatters_itself(empty_gateway: Running) -> None:
    empty_gateway.start_release("r-first")
    empty_gateway.wait_ready("r-first")
    empty_gateway.start_release("r-worse", Character(picks_worst=True, flatters=True))
    empty_gateway.wait_ready("r-first", "r-worse")
    answers = ask_until(empty_gateway, "rolled_back")
    assert {answer["release_id"] for answer in answers} == {"r-first"}
    empty_gateway.wait_ready("r-first")


def test_a_twin_that_withholds_what_it_would_have_said_is_rolled_back_for_its_silence(empty_gateway: Running) -> None:
    """Its answers, costs and times are the champion's, and so are the scores of what it does not say."""
    empty_gateway.start_release("r-first")
    empty_gateway.wait_ready("r-first")
    started = empty_gateway.start_release("r-silent", Character(abstain_below=1.0), **QUICK)
    empty_gateway.wait_ready("r-first", "r-silent")
    ask_until(empty_gateway, "rolled_back")
    verdict = Verdict.model_validate(empty_gateway.records.last_rollout().verdict)  # type: ignore[union-attr]
    assert [seen.metric for seen in verdict.metrics if seen.is_worse] == ["silence"]
    assert "silence" in release_commands.explain(empty_gateway.records, started.rollout_id)


@pytest.mark.parametrize("fault", ["tampered", "breaks"])
def test_a_challenger_that_cannot_answer_is_rolled_back_by_its_errors(empty_gateway: Running, fault: str) -> None:
    empty_gateway.start_release("r-first")
    empty_gateway.wait_ready("r-first")
    bundle = empty_gateway.package("r-broken", Character(breaks=fault == "breaks"))
    if fault == "tampered":
        (bundle / "models" / "lexical" / "passages.json").write_text("[]")
    empty_gateway.start_bundle("r-broken", bundle)
    wait_until(lambda: _phase(empty_gateway) == "shadow", "the rollout is seen")
    if fault == "tampered":
        ready = httpx.get(f"{empty_gateway.url}/readyz")
        assert ready.status_code == 200
        assert "passages.json" in ready.json()["findings"]["r-broken"]
    answers = ask_until(empty_gateway, "rolled_back")
    assert {answer["release_id"] for answer in answers} == {"r-first"}
    empty_gateway.wait_ready("r-first")


def test_a_canary_share_is_sticky_judged_by_the_champions_scorer_and_ends_in_promotion(
    empty_gateway: Running,
) -> None:
    empty_gateway.start_release("r-first")
    empty_gateway.wait_ready("r-first")
    empty_gateway.start_release("r-second", Character(flatters=True), **{**QUICK, "shadow_requests": 0})
    empty_gateway.wait_ready("r-first", "r-second")
    wait_until(lambda: empty_gateway.records.last_rollout().phase == "canary", "canary")  # type: ignore[union-attr]
    wait_until(lambda: _phase(empty_gateway) == "canary", "the gateway knows")
    arms = {user: {ask(empty_gateway, 0, user)["arm"] for _ in range(3)} for user in map(str, range(12))}
    assert all(len(seen) == 1 for seen in arms.values())
    assert set.union(*arms.values()) == {"champion", "challenger"}
    answers = ask_until(empty_gateway, "promoted")
    rows = empty_gateway.rows()
    of_challenger = [answer for answer in answers if answer["arm"] == "challenger"]
    assert all(answer["attempts"][-1]["score"] == 1.0 for answer in of_challenger)
    assert any(rows[answer["request_id"]].score < 1.0 for answer in of_challenger)  # type: ignore[operator]
    empty_gateway.wait_ready("r-second")


def _phase(running: Running) -> str | None:
    rollout = httpx.get(f"{running.url}/readyz").json()["parts"]["release"].get("rollout")
    return rollout["phase"] if rollout else None
