"""The replay benchmark: what it compares, and a small run through a real gateway in a process of its own."""

import json
from decimal import Decimal
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from bench.replay import Answered, compared_ledger, compared_promise, run
from bench.replay_endpoint import Charge, Endpoint, PriceList, recording_of
from bench.replay_workspace import draw_split, replay_params, rung_names
from palier.errors import InputError

WORDS = ("river", "lake", "hill", "town")


def tables(n: int = 270) -> tuple[pd.DataFrame, pd.DataFrame]:
    """A cheap model that is right, at length, on two of three questions, and says little where it is wrong."""
    rng = np.random.default_rng(5)
    asked = [{"query_id": f"q{i}", "query": f"Which {WORDS[i % 4]} has the number {i}?"} for i in range(n)]
    said = []
    for i in range(n):
        knows = bool(rng.random() < 0.66)
        long = f"The answer is the {WORDS[i % 4]} number {i}, as everybody there knows."
        said.append(
            {"query_id": f"q{i}", "model": "lab/cheap", "answer": long if knows else "Perhaps.", "correct": knows}
        )
        said.append({"query_id": f"q{i}", "model": "lab/dear", "answer": long, "correct": bool(rng.random() < 0.9)})
    frame = pd.DataFrame(said).assign(cost_usd=lambda f: np.where(f["model"] == "lab/dear", 2e-3, 1e-4))
    return frame.assign(correct=frame["correct"].astype(float)), pd.DataFrame(asked)


def charged(*nanousd: int) -> Endpoint:
    endpoint = Endpoint(recording_of(*tables(2)), PriceList({}))
    endpoint.charges = [Charge("q1", "lab/dear", 1, 1, amount) for amount in nanousd]
    return endpoint


def test_one_nano_dollar_too_little_in_the_ledger_is_seen() -> None:
    """Sums and questions are compared in whole nano-dollars; what the caller was told as well."""
    answered = [Answered("q1", 200, "dear", cost_nanousd=30, request_id="a")]
    assert compared_ledger({"a": 30}, charged(10, 20), answered)["equal"]
    short = compared_ledger({"a": 29}, charged(10, 20), answered)
    assert (short["equal"], short["difference_nanousd"]) == (False, -1)
    assert (short["questions_that_differ"], short["answers_that_differ_from_ledger"]) == (1, 1)


def test_a_promise_is_kept_within_both_kinds_of_chance_and_broken_beyond() -> None:
    """The same promise, once with new questions that bear it out and once with worse ones."""
    rng = np.random.default_rng(1)
    chosen = {
        "reference_rung": "dear",
        "reference_cost_nanousd": 1000,
        "expected": {
            "quality": {"value": 0.8, "low": 0.78, "high": 0.82, "n": 1500},
            "cost_nanousd": {"value": 400.0, "low": 380.0, "high": 420.0, "n": 1500},
        },
    }
    cost, reference = rng.normal(400, 100, 600), np.full(600, 1000.0)
    kept = compared_promise(chosen, (rng.random(600) < 0.8).astype(float).tolist(), cost, reference, rng)
    assert kept["quality"]["within"]
    assert kept["saving"]["within"]
    assert kept["saving"]["promised"]["low"] == pytest.approx(0.58)
    broken = compared_promise(chosen, (rng.random(600) < 0.6).astype(float).tolist(), cost * 2, reference, rng)
    assert not broken["quality"]["within"]
    assert not broken["saving"]["within"]


def test_rungs_have_names_that_a_model_name_can_hold_and_their_own_prices() -> None:
    """Two models whose names differ in the lab alone stay two rungs."""
    assert rung_names(["a/tiny 1", "b/tiny 1"]) == {"tiny-1": "a/tiny 1", "tiny-1-1": "b/tiny 1"}
    said, asked = tables()
    split = draw_split(said, asked, 100, None, np.random.default_rng(0))
    prices = PriceList({"lab/cheap": (Decimal("0.1"), Decimal("0.2")), "lab/dear": (Decimal("1"), Decimal("2"))})
    params = replay_params(split, prices)
    assert not params.retrieval.searches
    assert set(params.ladder.rungs) == {"cheap", "dear"}
    assert len(split.test_ids) == 100
    assert set(split.asked["split"]) == {"test", "validation"}


def test_too_few_questions_are_refused() -> None:
    """A hundred to learn from is the least."""
    with pytest.raises(InputError, match="usable questions"):
        draw_split(*tables(120), 100, None, np.random.default_rng(0))


@pytest.mark.service
@pytest.mark.model
def test_the_whole_gateway_climbs_over_recorded_answers_and_the_books_agree(tmp_path: Path) -> None:
    """From files to HTTP answers: the ledger is what the endpoint charged, and each answer, by what is believed of its
    words, what was foreseen."""
    said, asked = tables()
    said.to_parquet(tmp_path / "outcomes.parquet")
    asked.to_parquet(tmp_path / "queries.parquet")
    out = tmp_path / "replay.json"
    run(tmp_path / "outcomes.parquet", tmp_path / "queries.parquet", out, questions=60, error_rate=0.05)
    results = json.loads(out.read_text(encoding="utf-8"))["results"]
    assert results["ledger"]["equal"]
    assert results["ledger"]["charged_nanousd"] > 0
    assert results["ledger"]["questions_that_differ"] == 0
    assert results["ledger"]["failed_calls"] > 0, "an endpoint that never failed would prove less"
    assert results["answers"]["failed"] == 0
    assert results["offline"] == {"compared": 60, "another_rung": 0, "another_cost": 0}
    assert results["promise"]["saving"]["found"]["value"] > 0.1
