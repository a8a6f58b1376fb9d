"""Whatever goes wrong, the answer is in OpenAI's error shape, says what and the remedy, and carries the request id."""

import socket
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest
from lexical_release import Character
from running_gateway import Running, run_gateway, wait_until

from serving.desk import Limits

pytestmark = pytest.mark.service

QUESTION = {"model": "palier", "messages": [{"role": "user", "content": "Is the restaurant open on Sunday?"}]}


def error_of(answer: httpx.Response) -> dict[str, Any]:
    body = answer.json()
    assert set(body) == {"error"}
    assert set(body["error"]) == {"message", "type", "param", "code"}
    assert answer.headers["x-request-id"]
    return dict(body["error"])


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "code"),
    [
        ("GET", "/v1/nothing", None, 404, "not_found"),
        ("GET", "/v1/chat/completions", None, 405, "method_not_allowed"),
        ("POST", "/v1/chat/completions", b"{not json", 400, "invalid_body"),
        ("POST", "/v1/chat/completions", b"", 400, "invalid_body"),
        ("POST", "/v1/chat/completions", b"[1, 2]", 400, "invalid_body"),
        ("POST", "/v1/chat/completions", b"\xff\xfe", 400, "invalid_body"),
        ("POST", "/v1/chat/completions", b'{"a":"' + b"x" * 1_000_001 + b'"}', 413, "body_too_large"),
        ("POST", "/v1/search", b'{"query": "a", "k": 0}', 400, "invalid_body"),
        ("GET", "/v1/usage?since=yesterday", None, 400, "invalid_body"),
        ("GET", "/v1/usage?since=2026-01-01T00:00:00", None, 400, "unsupported_value"),
        ("GET", "/v1/usage?since=0001-01-01T00:00:00%2B14:00", None, 400, "unsupported_value"),
        ("GET", "/admin/releases", None, 403, "missing_scope"),
    ],
)
def test_wrong_requests_get_openais_error_shape(
    gateway: Running, method: str, path: str, body: bytes | None, status: int, code: str
) -> None:
    with gateway.http() as http:
        answer = http.request(method, path, content=body, headers={"content-type": "application/json"})
    error = error_of(answer)
    assert (answer.status_code, error["code"]) == (status, code)
    assert error["message"]
    assert "[" not in (error["param"] or ""), "no field of these bodies is a list: a place in the text is no field"


@pytest.mark.parametrize("header", [{}, {"authorization": "Basic abc"}, {"authorization": "Bearer"}])
def test_without_a_bearer_key_every_door_of_v1_is_shut(gateway: Running, header: dict[str, str]) -> None:
    for method, path in (("POST", "/v1/chat/completions"), ("GET", "/v1/models"), ("GET", "/v1/usage")):
        answer = httpx.request(method, gateway.url + path, json=QUESTION, headers=header)
        assert answer.status_code == 401
        assert error_of(answer)["code"] == "invalid_api_key"


def test_a_revoked_key_is_refused_within_seconds(gateway: Running) -> None:
    key = next(key for key in gateway.records.list_keys() if key.name == "operator")
    with gateway.http(gateway.admin_key) as http:
        assert http.get("/v1/models").status_code == 200
        gateway.records.revoke_key(key.key_id, key.created_at)
        wait_until(lambda: http.get("/v1/models").status_code == 401, "the key is refused", seconds=5)


def test_a_sane_request_id_is_kept_and_others_are_replaced(gateway: Running) -> None:
    with gateway.http() as http:
        kept = http.get("/livez", headers={"x-request-id": "trace-0123.abc"}).headers["x-request-id"]
        replaced = http.get("/livez", headers={"x-request-id": "a b<script>"}).headers["x-request-id"]
        made = [http.get("/livez").headers["x-request-id"] for _ in range(5)]
    assert kept == "trace-0123.abc"
    assert replaced.startswith("req-")
    stamps = [request_id[:17] for request_id in made]
    assert stamps == sorted(stamps)
    assert len(set(made)) == 5


@pytest.mark.parametrize("own_id", ["my-own-id-1", "req-01a22b95-24a0-7dd1-a849-8d66a472ab0b"])
def test_two_answers_under_one_callers_id_are_two_rows(gateway: Running, own_id: str) -> None:
    """An id of our making too: a client may send on what the answer before came with."""
    with gateway.http() as http:
        ids = [
            http.post("/v1/chat/completions", json=QUESTION, headers={"x-request-id": own_id}).headers["x-request-id"]
            for _ in range(3)
        ]
    rows = gateway.rows()
    assert ids[0] == own_id
    assert len(set(ids)) == 3
    assert all(row_id in rows for row_id in ids)


def test_two_requests_at_once_under_one_callers_id_are_two_rows(empty_gateway: Running) -> None:
    """Neither has its row when the other comes; each is told the id of its own, in the header and in the body."""
    empty_gateway.start_release("r-slow", Character(pause_s=0.5, n_rungs=1))
    empty_gateway.wait_ready("r-slow")

    def told(text: str) -> tuple[str, str, str]:
        with empty_gateway.http() as http:
            body = {"model": "palier", "messages": [{"role": "user", "content": text}]}
            answer = http.post("/v1/chat/completions", json=body, headers={"x-request-id": "my-own-id-1"})
        return answer.headers["x-request-id"], answer.json()["id"], text

    texts = ("Is the Canal Street restaurant open on Sunday?", "How much does the large margherita cost?")
    with ThreadPoolExecutor(2) as pool:
        seen = list(pool.map(told, texts))
    rows = empty_gateway.rows()
    assert "my-own-id-1" in rows
    assert {row_id: row.question for row_id, row in rows.items()} == {row_id: text for row_id, _, text in seen}
    assert all(body_id == f"chatcmpl-{row_id}" for row_id, body_id, _ in seen)


def test_an_accident_is_a_500_that_tells_nothing_and_is_in_the_ledger(empty_gateway: Running) -> None:
    empty_gateway.start_release("r-broken", Character(breaks=True))
    empty_gateway.wait_ready("r-broken")
    with empty_gateway.http() as http:
        answer = http.post("/v1/chat/completions", json=QUESTION)
    assert (answer.status_code, error_of(answer)["code"]) == (500, "internal_error")
    assert "secret" not in answer.text
    row = empty_gateway.rows()[answer.headers["x-request-id"]]
    assert (row.error, row.rung, row.cost_nanousd) == ("internal_error", None, 0)


def test_search_away_is_503_with_the_remedy_and_when_to_come_back(empty_gateway: Running) -> None:
    empty_gateway.start_release("r-deaf", Character(search_is_away=True))
    empty_gateway.wait_ready("r-deaf")
    with empty_gateway.http() as http:
        answer = http.post("/v1/chat/completions", json=QUESTION)
        ready = http.get("/readyz")
        found = http.post("/v1/search", json={"query": "open on Sunday"})
    error = error_of(answer)
    assert (answer.status_code, error["code"]) == (503, "search_unavailable")
    assert "palier services up" in error["message"]
    assert int(answer.headers["retry-after"]) > 0
    assert error_of(found)["code"] == "search_unavailable"
    assert ready.status_code == 503
    assert "does not answer" in ready.json()["parts"]["search"]["reason"]
    assert empty_gateway.rows()[answer.headers["x-request-id"]].error == "search_unavailable"


def test_a_rung_whose_endpoint_is_away_is_skipped_and_named(empty_gateway: Running) -> None:
    empty_gateway.start_release("r-heavy", Character(heavy_url="http://127.0.0.1:9/v1"))
    empty_gateway.wait_ready("r-heavy")
    client = empty_gateway.client()
    hard = [{"role": "user", "content": "Does your delivery of the margherita cost anything these days?"}]
    palier = client.chat.completions.create(model="palier", messages=hard).model_extra["palier"]  # type: ignore
    assert palier["degraded"] == ["heavy_endpoint"]
    assert [attempt["rung"] for attempt in palier["attempts"]] == ["first", "wide"]
    assert palier["citations"]
    with pytest.raises(openai.InternalServerError) as caught:
        client.chat.completions.create(model="palier-heavy", messages=hard)  # type: ignore
    assert (caught.value.status_code, caught.value.code) == (503, "model_endpoint_unavailable")


def test_an_endpoint_that_hangs_is_not_waited_for_question_after_question(empty_gateway: Running) -> None:
    """A real server that takes connections and says nothing: the first question waits for it, the next go past."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        empty_gateway.start_release("r-heavy", Character(heavy_url=f"http://127.0.0.1:{silent.getsockname()[1]}/v1"))
        empty_gateway.wait_ready("r-heavy")
        client = empty_gateway.client()
        hard = [{"role": "user", "content": "Does your delivery of the margherita cost anything these days?"}]
        answers = [client.chat.completions.create(model="palier", messages=hard) for _ in range(3)]  # type: ignore
        with pytest.raises(openai.InternalServerError, match="left alone"):
            client.chat.completions.create(model="palier-heavy", messages=hard)  # type: ignore
        silent.setblocking(False)
        n_asked = sum(1 for _ in iter(lambda: _accepted(silent), None))
    assert [answer.model_extra["palier"]["degraded"] for answer in answers] == [["heavy_endpoint"]] * 3  # type: ignore
    assert n_asked == 1


def _accepted(server: socket.socket) -> socket.socket | None:
    try:
        return server.accept()[0]
    except BlockingIOError:
        return None


def test_what_does_not_fit_the_queue_is_refused_at_once_and_the_rest_is_answered(tmp_path: Path) -> None:
    with run_gateway(tmp_path, Limits(n_threads=1, n_waiting=1)) as running:
        running.start_release("r-slow", Character(pause_s=0.3, n_rungs=1))
        running.wait_ready("r-slow")

        def status(_: int) -> tuple[int, str | None]:
            with running.http() as http:
                answer = http.post("/v1/chat/completions", json=QUESTION)
            return answer.status_code, None if answer.is_success else error_of(answer)["code"]

        with ThreadPoolExecutor(6) as pool:
            seen = sorted(pool.map(status, range(6)))
        assert (200, None) in seen
        assert (503, "overloaded") in seen
        assert {code for _, code in seen} == {None, "overloaded"}
        assert len(running.rows()) == sum(code is None for _, code in seen)


def test_what_is_refused_at_the_door_is_not_copied_to_a_shadow(tmp_path: Path) -> None:
    """There is no row that it could be compared with; a full queue would only become fuller, and a dear rung dearer."""
    with run_gateway(tmp_path, Limits(n_threads=1, n_waiting=0)) as running:
        running.start_release("r-slow", Character(pause_s=0.3, n_rungs=1))
        running.wait_ready("r-slow")
        running.start_release("r-next")
        running.wait_ready("r-slow", "r-next")

        def status(_: int) -> int:
            with running.http() as http:
                return http.post("/v1/chat/completions", json=QUESTION).status_code

        with ThreadPoolExecutor(6) as pool:
            seen = list(pool.map(status, range(6)))
        assert {200, 503} == set(seen)
        assert status(0) == 200
        last = running.records.requests(limit=1)[0].request_id

        def copies() -> set[str]:
            rows = running.records.requests(include_shadow=True)
            return {row.request_id for row in rows if row.arm == "shadow"}

        wait_until(lambda: last in copies(), "the last copy, which is answered after all others")
        assert copies() == set(running.rows())


def test_what_takes_too_long_is_504_and_its_cost_is_still_written_down(tmp_path: Path) -> None:
    with run_gateway(tmp_path, Limits(n_threads=1, timeout_s=0.3)) as running:
        running.start_release("r-slow", Character(pause_s=0.8, n_rungs=1))
        running.wait_ready("r-slow")
        threads = [threading.Thread(target=_post, args=(running,)) for _ in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        wait_until(lambda: len(running.rows()) == 2, "two rows", seconds=5)
        rows = sorted(running.rows().values(), key=lambda row: row.cost_nanousd)
    assert [row.error for row in rows] == ["timeout", "timeout"]
    assert rows[0].cost_nanousd == 0  # never left the queue
    assert rows[1].cost_nanousd > 0  # ran to its end, unheard


def _post(running: Running) -> None:
    with running.http() as http:
        answer = http.post("/v1/chat/completions", json=QUESTION)
    assert (answer.status_code, error_of(answer)["code"]) == (504, "timeout")
