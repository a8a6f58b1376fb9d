"""Rungs that write: the local model, and the same model behind OpenAI's and Azure's protocols, paid by the token."""

import math
from collections.abc import Iterator, Mapping
from decimal import Decimal
from typing import Any

import openai
import pytest
from openai_server import API_VERSION, KEY, MODEL, Endpoint, run_endpoint

from palier.adapters.catalogue import resolve
from palier.adapters.heavy_rung import HeavyRung, RefusedQuestionError, heavy_client, refuses_question
from palier.adapters.writer_rung import LlamaCpp, WriterLimits, WriterRung, mean_logprob
from palier.domain.answering import Hit, Question
from palier.domain.documents import Passage
from palier.errors import ModelEndpointError, ParamsError
from palier.params import HeavyRung as HeavyRungParams
from palier.settings import Settings

pytestmark = pytest.mark.model

PROMPT = "Answer the question briefly from the passage."
QUESTION = Question("When does the shop open?", "en")
TEXT = "The shop opens at 9 o'clock.\nDogs are welcome."
HITS = [
    Hit(Passage("hours#1", "hours", "en", "Hours", "", TEXT, 1, 2), 0.9),
    Hit(Passage("unread#1", "unread", "en", "Unread", "", "UNREAD PASSAGE", 1, 1), 0.1),
]
INTO, OUT = "0.15", "0.6"
PROVIDERS = pytest.mark.parametrize("provider", ["openai", "azure"])


@pytest.fixture(scope="module")
def model() -> LlamaCpp:
    """The writer of the catalogue, loaded once."""
    return LlamaCpp(next(resolve("smollm2-135m-instruct").glob("*.gguf")))


@pytest.fixture(scope="module")
def running(model: LlamaCpp) -> Iterator[Endpoint]:
    with run_endpoint(model) as endpoint:
        yield endpoint


@pytest.fixture
def endpoint(running: Endpoint) -> Endpoint:
    running.reset()
    return running


def heavy(
    endpoint: Endpoint,
    provider: str,
    key: str = KEY,
    name: str = MODEL,
    request: Mapping[str, Any] | None = None,
    **client: float,
) -> HeavyRung:
    """The rung as `params.yaml` and the environment would make it."""
    url = endpoint.url if provider == "azure" else f"{endpoint.url}/v1"
    settings = Settings(heavy_url=url, heavy_api_key=key, heavy_api_version=API_VERSION)
    price = {"input_usd_per_million": float(INTO), "output_usd_per_million": float(OUT), "date": "2024-07-18"}
    told = {"kind": "heavy", "provider": provider, "model": name, "passages": 1, "max_new_tokens": 16, "price": price}
    params = HeavyRungParams.model_validate(told | {"request": request or {}})
    ready = heavy_client(provider, settings)
    return HeavyRung("heavy", ready.with_options(**client) if client else ready, params, prompt=PROMPT)


def writer(model: LlamaCpp) -> WriterRung:
    return WriterRung("writer", model, None, WriterLimits(1, 100, 16), prompt=PROMPT, cpu_usd_per_hour=0.04)


@PROVIDERS
def test_an_answer_costs_its_tokens_times_the_listed_price_to_the_nano_dollar(endpoint, provider):
    answer = heavy(endpoint, provider).answer(QUESTION, HITS)
    usage = endpoint.replies[0]["usage"]
    exact = 1000 * (usage["prompt_tokens"] * Decimal(INTO) + usage["completion_tokens"] * Decimal(OUT))
    assert answer.cost_nanousd == exact > 0
    assert type(answer.cost_nanousd) is int
    assert answer.text
    assert answer.latency_ms > 0
    assert -20 < answer.signals["mean_logprob"] < 0


@PROVIDERS
def test_an_answer_cites_the_passage_that_was_sent_and_no_other_is_sent(endpoint, provider):
    answer = heavy(endpoint, provider).answer(QUESTION, HITS)
    (citation,) = answer.citations
    assert citation.document_id == "hours"
    assert citation.quote in TEXT.split("\n")
    sent = str(endpoint.bodies[0]["messages"])
    assert "opens at 9" in sent
    assert "UNREAD" not in sent


@PROVIDERS
def test_a_wrong_key_is_an_error_that_names_the_remedy_and_not_the_key(endpoint, provider):
    with pytest.raises(ModelEndpointError, match="PALIER_HEAVY_API_KEY") as caught:
        heavy(endpoint, provider, key="sk-wrong-71c2").answer(QUESTION, HITS)
    assert "sk-wrong-71c2" not in str(caught.value)
    assert len(endpoint.bodies) == 1, "a refused key must not be tried again"


@PROVIDERS
def test_an_unknown_model_is_named(endpoint, provider):
    with pytest.raises(ModelEndpointError, match=r"'gpt-none'.*model's name"):
        heavy(endpoint, provider, name="gpt-none").answer(QUESTION, HITS)


@PROVIDERS
@pytest.mark.parametrize("status", [429, 500])
def test_failures_that_last_are_an_error_after_the_clients_retries(endpoint, provider, status):
    endpoint.statuses = [status] * 10
    with pytest.raises(ModelEndpointError, match=rf"'heavy'.*{status}"):
        heavy(endpoint, provider).answer(QUESTION, HITS)
    assert len(endpoint.bodies) == 1 + openai.DEFAULT_MAX_RETRIES


@PROVIDERS
def test_a_failure_that_passes_is_retried_and_paid_once(endpoint, provider):
    endpoint.statuses = [429, 500]
    answer = heavy(endpoint, provider).answer(QUESTION, HITS)
    assert answer.text
    assert len(endpoint.bodies) == 3
    assert len(endpoint.replies) == 1


@PROVIDERS
def test_an_endpoint_that_is_late_is_given_up(endpoint, provider):
    endpoint.delay_s = 1.5
    with pytest.raises(ModelEndpointError, match="timed out"):
        heavy(endpoint, provider, timeout=0.2, max_retries=0).answer(QUESTION, HITS)


def test_an_endpoint_that_is_not_there_is_an_error_of_its_own_kind(model):
    nowhere = Endpoint(model, url="http://127.0.0.1:9")
    with pytest.raises(ModelEndpointError, match="PALIER_HEAVY_URL"):
        heavy(nowhere, "openai", max_retries=0).answer(QUESTION, HITS)


def test_a_web_page_in_place_of_an_answer_is_an_error_and_no_crash(endpoint):
    endpoint.web_page = True
    with pytest.raises(ModelEndpointError, match="no chat completion"):
        heavy(endpoint, "openai").answer(QUESTION, HITS)


@pytest.mark.parametrize(
    "body",
    [
        b'{"choices": [{"mess',
        b"",
        b'{"choices": [{"index": 0}], "usage": {"prompt_tokens": 1, "completion_tokens": 1}}',
    ],
)
def test_half_an_answer_is_an_error_of_its_own_kind_so_that_a_cascade_goes_on_without_it(endpoint, body):
    endpoint.body = body
    with pytest.raises(ModelEndpointError, match=r"what came back is no (whole JSON|chat completion)"):
        heavy(endpoint, "openai").answer(QUESTION, HITS)


@PROVIDERS
def test_log_probabilities_that_a_model_forbids_are_done_without(endpoint, provider):
    endpoint.forbids = "logprobs"
    rung = heavy(endpoint, provider)
    assert rung.answer(QUESTION, HITS).text
    assert rung.answer(QUESTION, HITS).text
    assert ["logprobs" in body for body in endpoint.bodies] == [True, False, False]


@PROVIDERS
def test_a_question_that_is_refused_for_good_is_an_error_of_its_own_kind_and_the_next_one_is_answered(
    endpoint, provider
):
    endpoint.filters = "poison"
    rung = heavy(endpoint, provider)
    with pytest.raises(RefusedQuestionError, match=r"Rung 'heavy': Model .* refuses the question") as caught:
        rung.answer(Question("How much poison is in the shop?", "en"), HITS)
    assert caught.value.reason == "HTTP 400, content_filter"
    assert len(endpoint.bodies) == 1
    assert rung.answer(QUESTION, HITS).text


def test_what_is_wrong_with_every_question_is_no_refusal_of_one(endpoint):
    for status in (401, 403, 404, 409):
        endpoint.statuses = [status] * 10
        with pytest.raises(ModelEndpointError) as caught:
            heavy(endpoint, "openai", max_retries=0).answer(QUESTION, HITS)
        assert not isinstance(caught.value, RefusedQuestionError)


def test_a_field_of_the_owners_that_is_refused_is_no_refusal_of_a_question(endpoint):
    rung = heavy(endpoint, "openai", request={"reasoning_effort": "low"})
    endpoint.forbids = "reasoning_effort"
    with pytest.raises(ModelEndpointError) as caught:
        rung.answer(QUESTION, HITS)
    assert not isinstance(caught.value, RefusedQuestionError)


@pytest.mark.parametrize(
    ("status", "told"),
    [
        (400, "content_filter prompt The response was filtered due to the prompt"),
        (400, "context_length_exceeded messages This model's maximum context length is 8192 tokens"),
        (400, "400 None 'max_tokens' is too large: 200. This model's maximum context length is 4096 tokens"),
        (413, "None None Request Entity Too Large"),
        (422, "None None Input validation error: `inputs` must have less than 4096 tokens"),
    ],
)
def test_refusals_of_one_question(status, told):
    assert refuses_question(status, told)


@pytest.mark.parametrize(
    ("status", "told"),
    [
        (400, "model_not_found model The requested model 'gpt-none' does not exist"),
        (400, "model_decommissioned None The model has been decommissioned"),
        (400, "None None invalid model ID"),
        (400, "400 None API key not valid. Please pass a valid API key."),
        (400, "billing_hard_limit_reached None Billing hard limit has been reached"),
        (400, "None None Your credit balance is too low to access the API"),
        (401, "None None Incorrect API key"),
        (403, "None None Forbidden"),
        (404, "DeploymentNotFound None The API deployment for this resource does not exist"),
        (408, "None None Timeout"),
        (429, "rate_limit_exceeded None Slow down"),
        (500, "None None Oops"),
    ],
)
def test_what_is_refused_to_every_question_or_only_now(status, told):
    assert not refuses_question(status, told)


def test_a_usage_without_counts_is_none(endpoint):
    endpoint.body = b'{"choices": [{"index": 0, "message": {"role": "assistant", "content": "9"}}], "usage": {}}'
    with pytest.raises(ModelEndpointError, match="usage"):
        heavy(endpoint, "openai").answer(QUESTION, HITS)


def test_an_answer_whose_cost_cannot_be_known_is_refused(endpoint):
    endpoint.hides_usage = True
    with pytest.raises(ModelEndpointError, match="usage"):
        heavy(endpoint, "openai").answer(QUESTION, HITS)


def test_without_an_address_the_variable_to_set_is_named():
    with pytest.raises(ParamsError, match="PALIER_HEAVY_URL"):
        heavy_client("openai", Settings(heavy_url=None))


def test_the_writer_is_greedy_and_says_the_same_twice(model):
    one, two = (writer(model).answer(QUESTION, HITS) for _ in range(2))
    assert one.text
    assert (one.text, one.signals) == (two.text, two.signals)


def test_the_writer_cites_its_passage_and_is_paid_by_its_seconds(model):
    answer = writer(model).answer(QUESTION, HITS)
    assert [citation.document_id for citation in answer.citations] == ["hours"]
    assert math.isfinite(answer.signals["mean_logprob"])
    assert answer.signals["mean_logprob"] < 0
    whole = answer.latency_ms / 1000 * 0.04 / 3600 * 1e9
    assert (
        0.9 * whole < answer.cost_nanousd <= whole + 1
    )  # what a busy machine takes between the model's seconds is free


def test_without_passages_both_roads_to_one_model_give_one_answer(model, endpoint):
    assert heavy(endpoint, "openai").answer(QUESTION, ()).text == writer(model).answer(QUESTION, ()).text


@pytest.mark.parametrize("choice", [{}, {"logprobs": None}, {"logprobs": {"content": []}}])
def test_an_endpoint_without_log_probabilities_gives_zero(choice):
    assert mean_logprob(choice) == 0.0


def test_the_mean_leaves_out_what_is_not_finite():
    tokens = [{"logprob": -1.0}, {"logprob": -math.inf}, {"logprob": -3.0}]
    assert mean_logprob({"logprobs": {"content": tokens}}) == -2.0
