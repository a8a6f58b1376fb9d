"""POST /v1/search: the caller chooses way and day, and is told both; what cannot be had is refused by name."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest
from lexical_release import Character
from running_gateway import Running, run_gateway

pytestmark = pytest.mark.service

QUERY = {"query": "Is the Canal Street restaurant open on Sunday?"}


def search(gateway: Running, **body: Any) -> httpx.Response:
    with gateway.http() as http:
        return http.post("/v1/search", json=QUERY | body)


def test_the_answer_says_how_on_which_day_and_in_which_index_it_searched(gateway: Running) -> None:
    body = search(gateway).json()
    today = datetime.now(UTC).date().isoformat()
    assert (body["mode"], body["as_of"], body["index"]) == ("hybrid", today, "passages-cccccccccccc-00000000")
    assert {"valid_from", "valid_until", "rerank", "near_duplicates"} <= set(body["data"][0])
    for mode in ("bm25", "dense", "hybrid"):
        assert search(gateway, mode=mode).json()["mode"] == mode


@pytest.mark.parametrize(
    ("wish", "param", "told"),
    [
        ({"mode": "reranked"}, "mode", "does not rerank in en"),
        ({"mode": "magic"}, "mode", "'bm25', 'dense', 'hybrid' or 'reranked'"),
        ({"as_of": "tomorrow"}, "as_of", "date"),
    ],
)
def test_what_cannot_be_had_is_a_400_that_names_the_field(
    gateway: Running, wish: dict[str, str], param: str, told: str
) -> None:
    answer = search(gateway, **wish)
    error = answer.json()["error"]
    assert (answer.status_code, error["type"], error["param"]) == (400, "invalid_request_error", param)
    assert told in error["message"]


def test_what_has_expired_is_found_only_as_of_a_day_on_which_it_held(tmp_path: Path) -> None:
    with run_gateway(tmp_path) as gateway:
        gateway.start_release("r-old", Character(valid_until="2026-03-01"))
        gateway.wait_ready("r-old")
        assert search(gateway).json()["data"] == []
        assert search(gateway, as_of="2026-03-01").json()["data"][0]["valid_until"] == "2026-03-01"
        assert search(gateway, as_of="2026-03-02").json()["data"] == []
        given = gateway.client().chat.completions.create(
            model="palier", messages=[{"role": "user", "content": QUERY["query"]}]
        )
        assert given.model_extra is not None
        assert given.model_extra["palier"]["citations"] == []


def test_a_release_that_does_not_look_at_dates_says_so(tmp_path: Path) -> None:
    with run_gateway(tmp_path) as gateway:
        gateway.start_release("r-old", Character(valid_until="2026-03-01", only_valid=False))
        gateway.wait_ready("r-old")
        body = search(gateway).json()
        assert (body["as_of"], len(body["data"]) > 0) == (None, True)
        with pytest.raises(openai.BadRequestError) as caught:
            gateway.client().post("/search", body=QUERY | {"as_of": "2026-03-01"}, cast_to=object)
        assert (caught.value.param, caught.value.code) == ("as_of", "unsupported_value")
