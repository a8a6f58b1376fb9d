"""What the prompt options are measured by: which questions, what a joined prompt gives back, and what is compared."""

from collections.abc import Iterator
from datetime import date
from decimal import Decimal

import numpy as np
import openai
import pandas as pd
import pytest

from bench.economy import PLAIN, asked_together, chosen_questions, summary
from bench.replay_endpoint import Endpoint, PriceList, recording_of, run_endpoint
from bench.report import QaRow
from palier.adapters.heavy_rung import HeavyRung
from palier.domain.answering import RungAnswer
from palier.domain.concatenation import joined
from palier.errors import InputError
from palier.params import HeavyRung as HeavyRungParams

FACTS = ("The lake is 74 km long.", "The town has 12 bridges.", "The hill is made of chalk.", "The river is cold.")
QUESTIONS = (
    "How long is the lake?",
    "How many bridges has the town?",
    "What is the hill made of?",
    "Is the river cold?",
)
GOLD = ("74 km", "12", "chalk", "yes")


def rows() -> list[QaRow]:
    return [
        QaRow(f"r{n}", "en", "Places", f"p{n}", FACTS[n], QUESTIONS[n], (GOLD[n],), True) for n in range(len(FACTS))
    ]


@pytest.fixture
def endpoint() -> Iterator[Endpoint]:
    """It was once asked two of the questions together, and forgot one of three another time."""
    told = {joined(QUESTIONS[:2]): "1) 74 km\n2) 12", joined(QUESTIONS[:3]): "1) 74 km\n3) chalk"}
    asked = pd.DataFrame([{"query_id": n, "query": text} for n, text in enumerate(told)])
    said = [
        {"query_id": n, "model": "m", "answer": answer, "correct": 1.0, "cost_usd": 1e-6}
        for n, answer in enumerate(told.values())
    ]
    prices = PriceList({"m": (Decimal("1"), Decimal("3"))})
    with run_endpoint(Endpoint(recording_of(pd.DataFrame(said), asked), prices)) as running:
        yield running


def rung(endpoint: Endpoint) -> HeavyRung:
    price = {"input_usd_per_million": 1.0, "output_usd_per_million": 3.0, "date": date(2026, 1, 1)}
    told = {"kind": "heavy", "provider": "openai", "model": "m", "passages": 4, "max_new_tokens": 9, "price": price}
    client = openai.OpenAI(base_url=f"{endpoint.url}/v1", api_key="any", max_retries=0)
    return HeavyRung("heavy", client, HeavyRungParams.model_validate(told), prompt="Be brief.")


def test_each_question_comes_with_its_articles_passages_the_most_alike_first() -> None:
    """Words that few passages hold decide."""
    asked = {one.question.text: one for one in chosen_questions(rows(), 4, np.random.default_rng(0))}
    assert asked[QUESTIONS[0]].hits[0].passage.text == FACTS[0]
    assert asked[QUESTIONS[2]].hits[0].passage.text == FACTS[2]
    assert all(len(one.hits) == 3 for one in asked.values())
    with pytest.raises(InputError, match="No answerable question"):
        chosen_questions([], 4, np.random.default_rng(0))


@pytest.mark.parametrize(("n", "answers"), [(2, ["74 km", "12"]), (3, ["74 km", "", "chalk"])])
def test_questions_in_one_prompt_share_one_charge_and_a_forgotten_one_has_no_answer(
    endpoint: Endpoint, n: int, answers: list[str]
) -> None:
    """One call, whose cost is shared to the nano-dollar."""
    asked = {one.question.text: one for one in chosen_questions(rows(), 4, np.random.default_rng(0))}
    given = asked_together(rung(endpoint), [asked[text] for text in QUESTIONS[:n]])
    assert [answer.text for answer in given] == answers
    assert len(endpoint.charges) == 1
    assert sum(answer.cost_nanousd for answer in given) == endpoint.total_nanousd


def test_saving_and_loss_are_held_against_the_plain_way_question_by_question() -> None:
    """Half the price and one right answer lost of four."""
    asked = chosen_questions(rows(), 4, np.random.default_rng(0))
    plain = [RungAnswer("heavy", one.answers[0], cost_nanousd=100) for one in asked]
    cheap = [RungAnswer("heavy", "" if n == 0 else one.answers[0], cost_nanousd=50) for n, one in enumerate(asked)]
    told = summary(asked, {PLAIN: plain, "cheap": cheap}, np.random.default_rng(0))
    assert told["cheap"]["saving"] == 0.5
    assert told["cheap"]["change_f1"]["value"] == -0.25
    assert told[PLAIN]["change_f1"]["value"] == 0.0
    assert told["cheap"]["silent"] == 1
