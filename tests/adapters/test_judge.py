"""The judge behind a real endpoint with a real small model: both orders, paid once, priced to the nano-dollar."""

from collections.abc import Iterator
from datetime import date
from pathlib import Path

import pytest
from openai_server import KEY, MODEL, Endpoint, run_endpoint

from palier.adapters.catalogue import resolve
from palier.adapters.heavy_rung import heavy_client
from palier.adapters.judge import Judge, Pair
from palier.adapters.writer_rung import LlamaCpp
from palier.domain.judging import RELATIONS
from palier.domain.money import TokenPrice, token_cost_nanousd
from palier.errors import ModelEndpointError
from palier.params import JudgeParams
from palier.settings import Settings

pytestmark = pytest.mark.model

PRICE = TokenPrice(input_usd_per_million=0.15, output_usd_per_million=0.6, date=date(2026, 1, 1))
PARAMS = JudgeParams(provider="openai", model=MODEL, max_new_tokens=48, price=PRICE)
PAIR = Pair("When does the shop open?", "At nine.", "It opens at 9 o'clock in the morning.")


@pytest.fixture(scope="module")
def running() -> Iterator[Endpoint]:
    with run_endpoint(LlamaCpp(next(resolve("smollm2-135m-instruct").glob("*.gguf")))) as endpoint:
        yield endpoint


@pytest.fixture
def endpoint(running: Endpoint) -> Endpoint:
    running.reset()
    return running


def judge(endpoint: Endpoint, folder: Path) -> Judge:
    settings = Settings(heavy_url=f"{endpoint.url}/v1", heavy_api_key=KEY)
    patient = heavy_client("openai", settings).with_options(timeout=300)  # a busy machine must not make it ask twice
    return Judge(patient, PARAMS, folder / "judge.jsonl")


def test_each_pair_is_shown_in_both_orders_and_costs_its_tokens(endpoint: Endpoint, tmp_path: Path):
    verdict = judge(endpoint, tmp_path).compare(PAIR)
    first, second = (body["messages"][-1]["content"] for body in endpoint.bodies)
    assert first.index(PAIR.candidate) < first.index(PAIR.reference)
    assert second.index(PAIR.reference) < second.index(PAIR.candidate)
    usages = [reply["usage"] for reply in endpoint.replies]
    exact = sum(token_cost_nanousd(one["prompt_tokens"], one["completion_tokens"], PRICE) for one in usages)
    assert verdict.cost_nanousd == exact > 0
    assert len(verdict.votes) <= 2
    assert all(vote.relation in RELATIONS for vote in verdict.votes)


def test_a_verdict_is_paid_once_also_by_the_next_process(endpoint: Endpoint, tmp_path: Path):
    one = judge(endpoint, tmp_path).compare(PAIR)
    n_calls = len(endpoint.bodies)
    assert judge(endpoint, tmp_path).compare_all([PAIR, PAIR]) == [one, one]
    assert len(endpoint.bodies) == n_calls == 2


def test_the_same_words_need_no_judge(endpoint: Endpoint, tmp_path: Path):
    verdict = judge(endpoint, tmp_path).compare(Pair("When?", " At nine.", "At nine. "))
    assert [vote.relation for vote in verdict.votes] == ["C", "C"]
    assert verdict.cost_nanousd == 0
    assert endpoint.bodies == []


def test_a_judge_that_fails_is_an_error_and_no_label(endpoint: Endpoint, tmp_path: Path):
    endpoint.statuses = [500] * 20
    with pytest.raises(ModelEndpointError, match="500"):
        judge(endpoint, tmp_path).compare(PAIR)
    assert not (tmp_path / "judge.jsonl").exists()


def test_a_pair_that_the_judge_may_not_read_stays_undecided(endpoint: Endpoint, tmp_path: Path):
    endpoint.filters = "morning"
    refused, heard = judge(endpoint, tmp_path).compare_all([PAIR, Pair("When?", "Nine.", "At nine.")])
    assert (refused.votes, refused.cost_nanousd) == ((), 0)
    assert heard.cost_nanousd > 0
