"""The official `openai` client works against the gateway: answers, streams, models, and each error as its class."""

import json
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import openai
import pytest
from running_gateway import Running

from serving.chat_answers import decimal_usd

pytestmark = pytest.mark.service

EN = "Is the Canal Street restaurant open on Sunday?"
FR = "Combien coûte la grande margherita ?"
PALIER_KEYS = {
    "release_id", "arm", "language", "rung", "attempts", "cost_usd", "reference_cost_usd", "saved_usd", "index",
    "citations", "degraded",
}  # fmt: skip


def ask(client: openai.OpenAI, text: Any, model: str = "palier", **options: Any) -> Any:
    return client.chat.completions.create(model=model, messages=[{"role": "user", "content": text}], **options)


def test_an_answer_comes_with_citation_costs_and_the_same_figures_in_headers_and_ledger(gateway: Running) -> None:
    raw = gateway.client().chat.completions.with_raw_response.create(
        model="palier", messages=[{"role": "user", "content": EN}]
    )
    answer = raw.parse()
    palier = answer.model_extra["palier"]
    row = gateway.rows()[raw.headers["x-request-id"]]
    assert "12:00 to 22:30" in answer.choices[0].message.content
    assert set(palier) >= PALIER_KEYS
    citation = palier["citations"][0]
    assert citation["document_id"] == "en/hours"
    assert citation["quote"] in "The Canal Street restaurant is open on Sunday from 12:00 to 22:30."
    assert set(citation) == {"document_id", "revision", "passage_id", "quote"}
    assert row.cost_nanousd > 0
    assert raw.headers["x-palier-cost-usd"] == decimal_usd(row.cost_nanousd)
    assert round(palier["cost_usd"] * 1e9) == row.cost_nanousd
    assert raw.headers["x-palier-saved-usd"] == decimal_usd(row.reference_cost_nanousd - row.cost_nanousd)
    assert raw.headers["x-palier-release"] == palier["release_id"] == row.release_id == "r-founding"
    assert raw.headers["x-palier-rung"] == palier["rung"] == row.rung
    assert (row.answer, row.language, row.arm) == (answer.choices[0].message.content, "en", "champion")
    assert row.citations[0]["start_line"] == 1


def test_a_french_question_is_answered_in_french(gateway: Running) -> None:
    answer = ask(gateway.client(), FR)
    assert answer.choices[0].message.content == "La grande margherita coûte 11,50 euros."
    assert answer.model_extra["palier"]["language"] == "fr"


@pytest.mark.parametrize(
    ("question", "said"),
    [("Who won the football match in Brazil?", "I don't know."), ("Qui a gagné le match de foot ?", "Je ne sais pas.")],
)
def test_what_no_passage_supports_is_not_known_in_the_questions_language(
    gateway: Running, question: str, said: str
) -> None:
    answer = ask(gateway.client(), question)
    assert answer.choices[0].message.content == said
    assert answer.model_extra["palier"]["abstained"] is True
    assert answer.model_extra["palier"]["citations"] == []


@pytest.mark.parametrize("include_usage", [False, True])
def test_a_stream_says_the_same_as_a_plain_answer_and_ends_with_costs(gateway: Running, include_usage: bool) -> None:
    plain = ask(gateway.client(), EN)
    options = {"stream_options": {"include_usage": True}} if include_usage else {}
    chunks = list(ask(gateway.client(), EN, stream=True, **options))
    text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
    last = chunks[-1]
    assert text == plain.choices[0].message.content
    assert len(chunks) > 5
    assert [chunk for chunk in chunks if "palier" in (chunk.model_extra or {})] == [last]
    assert last.model_extra["palier"]["citations"] == plain.model_extra["palier"]["citations"]
    assert last.usage.total_tokens == plain.usage.total_tokens
    assert (last.choices == []) is include_usage
    assert [c.choices[0].finish_reason for c in chunks if c.choices][-1] == "stop"


def test_a_stream_on_the_wire_is_server_sent_events_that_end_with_done(gateway: Running) -> None:
    body = {"model": "palier", "messages": [{"role": "user", "content": EN}], "stream": True}
    with gateway.http() as http:
        answer = http.post("/v1/chat/completions", json=body)
    events = answer.text.strip().split("\n\n")
    assert answer.headers["content-type"].startswith("text/event-stream")
    assert answer.headers["x-palier-cost-usd"]
    assert events[-1] == "data: [DONE]"
    assert json.loads(events[-2].removeprefix("data: "))["palier"]["release_id"] == "r-founding"


def test_a_follow_up_is_understood_with_the_turn_before_it(gateway: Running) -> None:
    turns = [
        {"role": "system", "content": "You are a pirate."},
        {"role": "user", "content": "Combien coûte la petite margherita ?"},
        {"role": "assistant", "content": "8,50 euros."},
        {"role": "user", "content": "Et la grande ?"},
    ]
    answer = gateway.client().chat.completions.create(model="palier", messages=turns)
    assert answer.model_extra["palier"]["citations"][0]["document_id"] == "fr/prix"


def test_content_parts_are_read_as_text(gateway: Running) -> None:
    answer = ask(gateway.client(), [{"type": "text", "text": FR}])
    assert "11,50" in answer.choices[0].message.content


def test_one_rung_can_be_asked_alone(gateway: Running) -> None:
    palier = ask(gateway.client(), EN, model="palier-wide").model_extra["palier"]
    assert [attempt["rung"] for attempt in palier["attempts"]] == ["wide"]


def test_models_are_the_cascade_and_its_rungs(gateway: Running) -> None:
    client = gateway.client()
    assert [model.id for model in client.models.list()] == ["palier", "palier-first", "palier-wide"]
    assert client.models.retrieve("palier-wide").id == "palier-wide"
    with pytest.raises(openai.NotFoundError):
        client.models.retrieve("gpt-4o")


@pytest.mark.parametrize("key", ["pk-wrong", "x"])
def test_a_wrong_key_is_401(gateway: Running, key: str) -> None:
    with pytest.raises(openai.AuthenticationError) as caught:
        ask(gateway.client(key), EN)
    assert (caught.value.status_code, caught.value.code) == (401, "invalid_api_key")


@pytest.mark.parametrize("model", ["gpt-4o", "palier-nonsense", "palier-"])
def test_an_unknown_model_is_404(gateway: Running, model: str) -> None:
    with pytest.raises(openai.NotFoundError) as caught:
        ask(gateway.client(), EN, model=model)
    assert (caught.value.code, caught.value.param) == ("model_not_found", "model")


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"messages": []}, "messages"),
        ({"messages": [{"role": "user", "content": 7}]}, "messages[0].content"),
        ({"messages": [{"role": "wizard", "content": "hi"}]}, "messages[0].role"),
        ({"messages": [{"role": "assistant", "content": "hi"}]}, "messages"),
        ({"messages": [{"role": "user", "content": "  "}]}, "messages[0].content"),
        ({"messages": [{"role": "user", "content": "a" * 4001}]}, "messages[0].content"),
        ({"messages": [{"role": "user", "content": [{"type": "image_url"}]}]}, "messages[0].content[0]"),
        ({"messages": [{"role": "tool", "content": "1"}, {"role": "user", "content": "hi"}]}, "messages[0]"),
        ({"n": 2}, "n"),
        ({"tools": [{"type": "function", "function": {"name": "f"}}]}, "tools"),
        ({"response_format": {"type": "json_object"}}, "response_format"),
    ],
)
def test_a_bad_body_is_400_and_names_the_field(gateway: Running, body: dict[str, Any], param: str) -> None:
    whole = {"model": "palier", "messages": [{"role": "user", "content": EN}], **body}
    with pytest.raises(openai.BadRequestError) as caught:
        gateway.client().chat.completions.create(**whole)
    assert caught.value.param == param
    assert caught.value.body["message"]  # type: ignore[index]


def test_concurrent_answers_are_each_in_the_ledger_once_with_their_cost(gateway: Running) -> None:
    def costs_of(number: int) -> tuple[str, int]:
        text = (EN, FR)[number % 2]
        raw = gateway.client().chat.completions.with_raw_response.create(
            model="palier", messages=[{"role": "user", "content": text}], user=f"user {number}"
        )
        palier = raw.parse().model_extra["palier"]
        assert palier["language"] == ("en", "fr")[number % 2]
        return raw.headers["x-request-id"], round(palier["cost_usd"] * 1e9)

    with ThreadPoolExecutor(12) as pool:
        acknowledged = list(pool.map(costs_of, range(30)))
    rows = gateway.rows()
    assert len({request_id for request_id, _ in acknowledged}) == 30
    assert [rows[request_id].cost_nanousd for request_id, _ in acknowledged] == [cost for _, cost in acknowledged]
