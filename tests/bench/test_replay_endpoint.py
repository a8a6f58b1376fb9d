"""The endpoint that says what models once said: its answers, its charges, and a heavy rung that adapts to it."""

import json
from collections.abc import Iterator
from datetime import date
from decimal import Decimal
from pathlib import Path

import httpx
import numpy as np
import openai
import pandas as pd
import pytest

from bench.replay_endpoint import (
    Endpoint,
    Misbehaviour,
    PriceList,
    count_tokens,
    derived_prices,
    read_prices,
    read_tables,
    recording_of,
    run_endpoint,
)
from palier.adapters.heavy_rung import HeavyRung, refused_fields
from palier.domain.answering import Question
from palier.errors import InputError, ModelEndpointError
from palier.params import HeavyRung as HeavyRungParams

PRICES = PriceList({"small": (Decimal("0.100"), Decimal("0.400")), "large": (Decimal("2.5"), Decimal("10"))}, 7)
QUESTIONS = {"q1": "What is 2 + 2?\nA. 4\nB. 5", "q2": "Name a lake."}
ANSWERS = {("q1", "small"): "5", ("q1", "large"): "The answer is A.", ("q2", "large"): "Lake Geneva [1]"}


def tables() -> tuple[pd.DataFrame, pd.DataFrame]:
    said = [
        {"query_id": query, "model": model, "answer": answer, "correct": 1.0, "cost_usd": 1e-5}
        for (query, model), answer in ANSWERS.items()
    ]
    asked = [{"query_id": key, "query": text} for key, text in QUESTIONS.items()]
    return pd.DataFrame(said), pd.DataFrame(asked)


def endpoint_of(misbehaviour: Misbehaviour | None = None) -> Endpoint:
    return Endpoint(recording_of(*tables()), PRICES, misbehaviour or Misbehaviour())


@pytest.fixture
def endpoint() -> Iterator[Endpoint]:
    with run_endpoint(endpoint_of()) as running:
        yield running


def client(endpoint: Endpoint, retries: int = 0) -> openai.OpenAI:
    return openai.OpenAI(base_url=f"{endpoint.url}/v1", api_key="any", max_retries=retries, timeout=20)


def rung(endpoint: Endpoint, model: str = "large", retries: int = 0, **params: object) -> HeavyRung:
    into, out = PRICES.usd_per_million[model]
    price = {"input_usd_per_million": float(into), "output_usd_per_million": float(out), "date": date(2026, 1, 1)}
    told = {"kind": "heavy", "provider": "openai", "model": model, "passages": 0, "max_new_tokens": 50, "price": price}
    asked = HeavyRungParams.model_validate({**told, **params})
    return HeavyRung("top", client(endpoint, retries), asked, prompt="Be brief.")


def ask(endpoint: Endpoint, text: str, model: str = "large") -> str:
    reply = client(endpoint).chat.completions.create(model=model, messages=[{"role": "user", "content": text}])
    return str(reply.choices[0].message.content)


def test_it_answers_word_for_word_for_each_model_whatever_is_put_before_the_question(endpoint):
    assert ask(endpoint, QUESTIONS["q1"]) == "The answer is A."
    assert ask(endpoint, QUESTIONS["q1"], "small") == "5"
    assert ask(endpoint, f"[1] A passage\n\n{QUESTIONS['q2']}") == "Lake Geneva [1]"


def test_a_stream_holds_the_same_words_and_the_same_usage(endpoint):
    whole = client(endpoint).chat.completions.create(
        model="large", messages=[{"role": "user", "content": QUESTIONS["q1"]}]
    )
    chunks = list(
        client(endpoint).chat.completions.create(
            model="large",
            messages=[{"role": "user", "content": QUESTIONS["q1"]}],
            stream=True,
            stream_options={"include_usage": True},
        )
    )
    text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
    assert text == whole.choices[0].message.content
    assert chunks[-1].usage == whole.usage
    assert len({charge.nanousd for charge in endpoint.charges}) == 1


@pytest.mark.parametrize(
    ("text", "model", "code"),
    [
        ("What is 3 + 3?", "large", "not_recorded"),
        (QUESTIONS["q2"], "small", "not_recorded"),
        ("x", "huge", "no_model"),
    ],
)
def test_what_was_not_recorded_is_a_404_with_a_remedy_and_costs_nothing(endpoint, text, model, code):
    with pytest.raises(openai.NotFoundError) as caught:
        ask(endpoint, text, model)
    assert caught.value.code == code
    assert "There are" in str(caught.value) or "word for word" in str(caught.value)
    assert endpoint.charges == []


def test_the_rungs_cost_is_the_endpoints_charge_to_the_nano_dollar(endpoint):
    answers = [rung(endpoint, name).answer(Question(QUESTIONS["q1"], "en"), ()) for name in ("small", "large")]
    assert [answer.cost_nanousd for answer in answers] == [charge.nanousd for charge in endpoint.charges]
    told = httpx.get(f"{endpoint.url}/admin/charges", params={"detail": True}).json()
    assert told["total_nanousd"] == sum(answer.cost_nanousd for answer in answers) > 0
    assert [charge["query_id"] for charge in told["charges"]] == ["q1", "q1"]
    n_prompt = count_tokens("Be brief." + QUESTIONS["q1"]) + 7
    assert told["charges"][1]["nanousd"] == 2500 * n_prompt + 10_000 * count_tokens("The answer is A.")


def test_a_rung_without_passages_keeps_the_brackets_of_an_answer(endpoint):
    assert rung(endpoint).answer(Question(QUESTIONS["q2"], "en"), ()).text == "Lake Geneva [1]"


def test_fields_that_an_endpoint_refuses_are_left_out_from_then_on():
    """Like the newer models: no `max_tokens`, no `temperature`, no `logprobs`."""
    refusing = Misbehaviour(refuses=("max_tokens", "temperature", "logprobs"))
    with run_endpoint(endpoint_of(refusing)) as endpoint:
        asked = rung(endpoint)
        assert asked.answer(Question(QUESTIONS["q1"], "en"), ()).text == "The answer is A."
        assert endpoint.n_refused == 3
        assert asked.answer(Question(QUESTIONS["q2"], "en"), ()).text
        assert endpoint.n_refused == 3, "what was refused once is not tried again"
        assert asked._endpoint.fields() == {"max_completion_tokens": 50}


def test_the_owners_own_fields_are_sent_as_told_and_never_dropped_in_silence():
    with run_endpoint(endpoint_of(Misbehaviour(refuses=("top_p",)))) as endpoint:
        with pytest.raises(ModelEndpointError, match=r"Rung 'top'.*top_p"):
            rung(endpoint, request={"top_p": 0.5}).answer(Question(QUESTIONS["q1"], "en"), ())
        asked = rung(endpoint, request={"max_tokens": None, "max_completion_tokens": 9, "seed": 1})
        assert asked.answer(Question(QUESTIONS["q1"], "en"), ()).text
        assert asked._endpoint.fields() == {
            "temperature": 0,
            "logprobs": True,
            "max_completion_tokens": 9,
            "seed": 1,
        }


@pytest.mark.parametrize(
    ("param", "message", "refused"),
    [
        ("max_tokens", "Unsupported parameter: 'max_tokens'. Use 'max_completion_tokens' instead.", {"max_tokens"}),
        ("temperature", "Unsupported value: 'temperature' does not support 0 with this model.", {"temperature"}),
        (None, "logprobs: Extra inputs are not permitted", {"logprobs"}),
        (None, "Unrecognized request argument supplied: temperature", {"temperature"}),
        ("messages", "This model's maximum context length is 8192 tokens; unsupported with max_tokens 50", set()),
        (None, "max_tokens must be at least 1", set()),
    ],
)
def test_only_a_refusal_that_names_a_field_of_ours_leaves_it_out(param, message, refused):
    assert refused_fields(param, message, ["max_tokens", "temperature", "logprobs"]) == refused


def test_a_prompt_of_its_own_goes_before_the_releases(endpoint):
    asked = rung(endpoint, prompt="Think first, then answer in full sentences.")
    asked.answer(Question(QUESTIONS["q1"], "en"), ())
    (charge,) = endpoint.charges
    own = count_tokens("Think first, then answer in full sentences." + QUESTIONS["q1"])
    assert charge.prompt_tokens == own + 7


def test_an_endpoint_that_fails_now_and_then_charges_only_what_it_answers():
    with run_endpoint(endpoint_of(Misbehaviour(error_rate=0.5, seed=1))) as endpoint:
        asked = rung(endpoint, retries=10)
        costs = [asked.answer(Question(QUESTIONS["q1"], "en"), ()).cost_nanousd for _ in range(8)]
        assert endpoint.n_failed > 0
        assert sum(costs) == endpoint.total_nanousd
        assert len(endpoint.charges) == 8


def test_derived_prices_give_the_recorded_costs_back():
    """Costs that were made by token prices are found again, the tokens beside each question among them."""
    rng = np.random.default_rng(3)
    asked = pd.DataFrame({"query_id": range(60), "query": ["w" * int(n) for n in rng.integers(20, 900, 60)]})
    said = []
    for model, into, out in (("cheap", 0.05, 0.2), ("dear", 3.0, 15.0)):
        for key, text in zip(asked["query_id"], asked["query"], strict=True):
            answer = "a" * int(rng.integers(5, 2000))
            cost = ((1200 + count_tokens(text)) * into + count_tokens(answer) * out) / 1e6
            said.append({"query_id": key, "model": model, "answer": answer, "correct": 1.0, "cost_usd": cost})
    found = derived_prices(pd.DataFrame(said), asked)
    assert found.fixed_prompt_tokens == 1200
    assert found.usd_per_million["dear"] == (Decimal("3.000"), Decimal("15.000"))
    assert found.usd_per_million["cheap"] == (Decimal("0.050"), Decimal("0.200"))


def test_a_price_list_is_read_in_decimals_and_a_broken_one_is_named(tmp_path: Path):
    path = tmp_path / "prices.json"
    row = {"input_usd_per_million": 0.15, "output_usd_per_million": 0.6}
    path.write_text(json.dumps({"fixed_prompt_tokens": 3, "models": {"m": row}}))
    listed = read_prices(path)
    assert listed.charge_nanousd("m", 7, 3) == 2850
    path.write_text("{}")
    with pytest.raises(InputError, match=r"prices\.json is no price list"):
        read_prices(path)


def test_files_without_answers_cannot_be_replayed(tmp_path: Path):
    said, asked = tables()
    said.drop(columns="answer").to_parquet(tmp_path / "o.parquet")
    asked.to_parquet(tmp_path / "q.parquet")
    with pytest.raises(InputError, match=r"o\.parquet lacks answer"):
        read_tables(tmp_path / "o.parquet", tmp_path / "q.parquet")
