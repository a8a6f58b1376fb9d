"""Search, feedback, usage, admin, metrics and docs do what their contracts say."""

import httpx
import pytest
from running_gateway import Running

pytestmark = pytest.mark.service

QUESTION = "Is the Canal Street restaurant open on Sunday?"


def ask(gateway: Running, key: str | None = None) -> httpx.Response:
    body = {"model": "palier", "messages": [{"role": "user", "content": QUESTION}]}
    with gateway.http(key) as http:
        answer = http.post("/v1/chat/completions", json=body)
    assert answer.status_code == 200
    return answer


def test_search_gives_passages_best_first_with_their_lines(gateway: Running) -> None:
    with gateway.http() as http:
        body = http.post("/v1/search", json={"query": "Combien coûte la livraison ?", "k": 2}).json()
    assert (body["language"], body["release_id"]) == ("fr", "r-founding")
    assert body["data"][0]["document_id"] == "fr/livraison"
    assert body["data"][0]["start_line"] == 1
    assert [hit["score"] for hit in body["data"]] == sorted((hit["score"] for hit in body["data"]), reverse=True)
    assert len(body["data"]) <= 2


def test_feedback_is_stored_beside_the_answer_it_judges(gateway: Running) -> None:
    request_id = ask(gateway).headers["x-request-id"]
    with gateway.http() as http:
        good = http.post("/v1/feedback", json={"request_id": request_id, "rating": 1})
        better = http.post("/v1/feedback", json={"request_id": request_id, "correction": "12:00 to 22:30"})
    assert (good.status_code, better.status_code) == (201, 201)
    stored = [entry for entry in gateway.records.feedback() if entry["request_id"] == request_id]
    assert [(entry["rating"], entry["correction"]) for entry in stored] == [(1, None), (None, "12:00 to 22:30")]


def test_feedback_needs_something_to_say_about_an_answer_of_this_key(gateway: Running) -> None:
    request_id = ask(gateway, gateway.admin_key).headers["x-request-id"]
    with gateway.http() as http:
        empty = http.post("/v1/feedback", json={"request_id": request_id})
        twice = http.post("/v1/feedback", json={"request_id": request_id, "rating": 2})
        unknown = http.post("/v1/feedback", json={"request_id": "nothing", "rating": 1})
        of_another = http.post("/v1/feedback", json={"request_id": request_id, "rating": 1})
        blank = http.post("/v1/feedback", json={"request_id": request_id, "correction": " "})
        no_id = http.post("/v1/feedback", json={"request_id": "a\0b", "rating": 1})  # Postgres would refuse it
    answers = (empty, twice, unknown, of_another, blank, no_id)
    assert [answer.status_code for answer in answers] == [400, 400, 404, 404, 400, 400]
    assert "rating" in empty.json()["error"]["message"]


def test_usage_is_the_sum_of_this_keys_rows_and_of_all_for_an_operator(gateway: Running) -> None:
    ask(gateway)
    ask(gateway, gateway.admin_key)
    with gateway.http() as http:
        own = http.get("/v1/usage").json()
    with gateway.http(gateway.admin_key) as http:
        everything = http.get("/v1/usage").json()
    rows = list(gateway.rows().values())
    assert own["cost_nanousd"] == sum(row.cost_nanousd for row in rows if row.key_id == own["scope"])
    assert everything["cost_nanousd"] == sum(row.cost_nanousd for row in rows)
    assert "by_key" not in own
    assert {row["key_id"] for row in everything["by_key"]} == {row.key_id for row in rows}


def test_an_operator_sees_what_serves_and_how_it_came_to_this(gateway: Running) -> None:
    with gateway.http(gateway.admin_key) as http:
        body = http.get("/admin/releases").json()
    assert body["active"]["champion"]["release_id"] == "r-founding"
    assert body["serving"]["champion"] == "r-founding"
    assert body["history"][0]["action"] == "founded"


def test_metrics_count_requests_money_and_the_release(gateway: Running) -> None:
    before = _metric(gateway, 'palier_cost_nanousd_total{arm="champion"}')
    request_id = ask(gateway).headers["x-request-id"]
    row = gateway.rows()[request_id]
    after = _metric(gateway, 'palier_cost_nanousd_total{arm="champion"}')
    assert after - before == row.cost_nanousd
    assert _metric(gateway, 'palier_release_info{release_id="r-founding",role="champion"}') == 1
    route = 'palier_http_requests_total{method="POST",route="/v1/chat/completions",status="200"}'
    assert _metric(gateway, route) >= 1
    assert _metric(gateway, 'palier_http_request_seconds_count{route="/v1/chat/completions"}') >= 1


def test_docs_describe_every_route_with_its_key_and_its_errors(gateway: Running) -> None:
    with httpx.Client(base_url=gateway.url) as http:
        assert http.get("/docs").status_code == 200
        api = http.get("/openapi.json").json()
    assert set(api["paths"]) == {
        "/v1/chat/completions", "/v1/models", "/v1/models/{name}", "/v1/search", "/v1/score", "/v1/embeddings",
        "/v1/feedback", "/v1/usage", "/livez", "/readyz", "/metrics", "/admin/releases",
    }  # fmt: skip
    chat = api["paths"]["/v1/chat/completions"]["post"]
    assert chat["security"]
    assert {"400", "401", "404", "503"} <= set(chat["responses"])
    assert "422" not in {code for path in api["paths"].values() for verb in path.values() for code in verb["responses"]}


def _metric(gateway: Running, series: str) -> float:
    lines = httpx.get(f"{gateway.url}/metrics").text.splitlines()
    return next((float(line.split()[-1]) for line in lines if line.startswith(series)), 0.0)
