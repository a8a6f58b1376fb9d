"""The stage reads what earlier stages wrote, chooses on validation rows alone, and leaves files that load."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from palier.domain.answering import Cascade
from palier.errors import InputError, NotReadyError, ParamsError
from palier.params import Params, TuneCascadeParams, load_params
from palier.stages import tune_cascade
from tests.domain.cascade_tables import drawn_table

PARAMS = load_params(Path(__file__).parents[2] / "params.yaml")


def quiet(done: int, total: int, what: str) -> None:
    """A progress report that nobody reads."""


def asking(**wishes: object) -> Params:
    """The params with other wishes of the owner."""
    asked = PARAMS.tune_cascade.model_copy(update={"margin": 0.05} | wishes)
    return PARAMS.model_copy(update={"tune_cascade": asked})


def with_budget(usd_per_1000: float | None) -> Params:
    return asking(budget_usd_per_1000=usd_per_1000)


@pytest.fixture
def recorded(tmp_path: Path) -> Path:
    """A workspace with recorded outcomes: 300 validation rows, and 100 test rows that lie about everything."""
    table = drawn_table(np.random.default_rng(0), 400, 2, languages=True)
    assert table.languages is not None
    queries = pd.DataFrame(
        {
            "query_id": table.query_ids,
            "query": "?",
            "lang": table.languages,
            "split": np.where(np.arange(400) < 300, "validation", "test"),
            "kind": "fact",
            "reference": "[]",
            "answerable": True,
        }
    )
    rows = []
    for i, query_id in enumerate(table.query_ids):
        for r, name in enumerate(table.rungs):
            quality = float(table.quality[i, r]) if i < 300 else 0.0
            cost = int(table.cost_nanousd[i, r])
            rows.append((query_id, name, "said", quality, cost, cost / 1e9, 5.0, float(table.score[i, r])))
    columns = ["query_id", "model", "answer", "correct", "cost_nanousd", "cost_usd", "latency_ms", "score"]
    outcomes = pd.DataFrame(rows, columns=columns)
    for folder in ("outcomes", "scores"):
        (tmp_path / "data" / folder).mkdir(parents=True)
    queries.to_parquet(tmp_path / "data/outcomes/queries.parquet")
    outcomes.drop(columns="score").to_parquet(tmp_path / "data/outcomes/outcomes.parquet")
    outcomes[["query_id", "model", "score"]].to_parquet(tmp_path / "data/scores/scores.parquet")
    return tmp_path


def test_files_say_what_the_result_says(recorded: Path) -> None:
    """cascade.json holds a cascade that loads, the guarantee over validation rows only, and the front."""
    result = tune_cascade.run(with_budget(None), recorded, quiet)
    written = json.loads((recorded / "data/cascade/cascade.json").read_text(encoding="utf-8"))
    assert Cascade.model_validate(written["cascade"]) == result.cascade
    assert written["guarantee"]["n"] == 300
    assert written["expected"]["reference_quality"]["value"] > 0.5
    assert len(written["front"]) > 2
    assert (recorded / "data/cascade/front.svg").read_text(encoding="utf-8").startswith("<?xml")
    assert result.reference_rung == "rung1"


def test_a_rerun_writes_the_same_bytes(recorded: Path) -> None:
    """Same rows, same params: the same four files, so that DVC sees no change."""
    folder = recorded / "data/cascade"
    tune_cascade.run(with_budget(None), recorded, quiet)
    first = {path.name: path.read_bytes() for path in folder.iterdir()}
    tune_cascade.run(with_budget(None), recorded, quiet)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == first
    assert set(first) == {"cascade.json", "metrics.json", "front.png", "front.svg"}


def test_an_infeasible_budget_is_refused_with_its_reason(recorded: Path) -> None:
    """A budget below the cheapest rung is a params error that names the rung and its price."""
    with pytest.raises(ParamsError, match="rung0 costs"):
        tune_cascade.run(with_budget(0.00000001), recorded, quiet)


def test_an_owner_s_wishes_reach_the_choice(recorded: Path) -> None:
    """A monthly budget and a ban hold in the written cascade; impossible wishes are refused by name."""
    wishes = {"budget_usd_per_month": 0.5, "requests_per_month": 1_000_000, "forbidden": {"fr": ("rung1",)}}
    result = tune_cascade.run(asking(**wishes), recorded, quiet)
    assert result.metrics["expected_cost_nanousd"] <= 500
    assert all(step.languages == ("en",) for step in result.cascade.steps if step.rung == "rung1")
    with pytest.raises(ParamsError, match="lift one of: latency"):
        tune_cascade.run(asking(max_latency_ms_p95=0.5), recorded, quiet)
    with pytest.raises(ParamsError, match="no rung 'rnug1'"):
        tune_cascade.run(asking(forbidden={"fr": ("rnug1",)}), recorded, quiet)


def test_a_latency_that_one_rung_does_not_tell_is_not_taken_for_none(recorded: Path) -> None:
    """Outcomes without a latency are not instant: a p95 that rests on them is refused, and none is reported."""
    path = recorded / "data/outcomes/outcomes.parquet"
    outcomes = pd.read_parquet(path)
    outcomes.loc[outcomes["model"] == "rung0", "latency_ms"] = np.nan
    outcomes.to_parquet(path)
    with pytest.raises(InputError, match="no latency was recorded of some"):
        tune_cascade.run(asking(max_latency_ms_p95=50.0), recorded, quiet)
    assert "expected_latency_p95_ms" not in tune_cascade.run(with_budget(None), recorded, quiet).metrics


def test_the_tighter_budget_counts() -> None:
    """Of a budget per thousand and one per month the lower one is kept; half a monthly budget is refused."""
    both = {"budget_usd_per_1000": 1.0, "budget_usd_per_month": 50.0, "requests_per_month": 100_000}
    assert asking(**both).tune_cascade.budget_nanousd == 500_000
    assert asking(budget_usd_per_1000=0.2).tune_cascade.budget_nanousd == 200_000
    raw = PARAMS.tune_cascade.model_dump() | {"requests_per_month": 100}
    with pytest.raises(ValueError, match="belong together"):
        TuneCascadeParams.model_validate(raw)


def test_missing_outcomes_name_the_command(tmp_path: Path) -> None:
    """An empty workspace is told what to run first."""
    with pytest.raises(NotReadyError, match="record-outcomes"):
        tune_cascade.run(with_budget(None), tmp_path, quiet)
