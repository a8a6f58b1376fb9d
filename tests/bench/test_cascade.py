"""The cascade benchmark: what it sees in texts, how it measures, and a small run from files to JSON."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from bench.cascade import auc, run, split_rows
from bench.cascade_data import read_recorded
from bench.cascade_measures import routellm_figures, strong_share
from bench.cascade_rivals import upper_hull
from palier.errors import InputError

N_QUERIES = 240


def test_auc_of_known_cases() -> None:
    """A perfect order has AUC 1, a constant .5."""
    right = np.array([0.0, 0.0, 1.0, 1.0])
    assert auc(np.array([0.1, 0.2, 0.8, 0.9]), right) == 1.0
    assert auc(np.full(4, 0.3), right) == 0.5
    assert auc(np.array([0.9, 0.2, 0.8, 0.9]), right) == pytest.approx(0.625)


def test_hull_leaves_out_what_a_mix_beats() -> None:
    """A model under the line between two others is not worth a call."""
    cost, quality = np.array([1.0, 2.0, 3.0, 4.0]), np.array([0.2, 0.25, 0.6, 0.5])
    assert upper_hull(cost, quality) == [0, 2]


def test_routellm_figures_of_a_random_router() -> None:
    """A coin between two models recovers half of the gap for half of the calls: APGR and CPT50 are one half."""
    quality, cost = np.tile([0.0, 1.0], (10, 1)), np.tile([0.0, 1.0], (10, 1))
    line = np.linspace(0, 1, 101)
    found = routellm_figures(line, line, quality, cost)
    assert found["apgr"] == pytest.approx(0.5)
    assert found["cpt50"] == pytest.approx(0.5)


def test_strong_calls_are_counted_not_paid_for() -> None:
    """A long question's strong call is one call, a cascade's two are one strong one, a coin counts by its share."""
    cost = np.array([[1.0, 10.0], [1.0, 10.0], [2.0, 90.0], [2.0, 90.0]])
    assert strong_share(cost[:, 0], cost) == 0.0
    assert strong_share(np.array([1.0, 1.0, 90.0, 2.0]), cost) == pytest.approx(0.25)
    assert strong_share(np.array([11.0, 1.0, 92.0, 2.0]), cost) == pytest.approx(0.5)
    assert strong_share(0.7 * cost[:, 0] + 0.3 * cost[:, 1], cost) == pytest.approx(0.3)


def drawn_outcomes(folder: Path, *, with_text: bool) -> tuple[Path, Path]:
    """Sums asked of three models: the cheap ones are wrong when numbers are large; a wrong one hedges now and then."""
    rng = np.random.default_rng(0)
    queries, rows = [], []
    for i in range(N_QUERIES):
        a, b = int(rng.integers(1, 10 ** rng.integers(1, 5))), int(rng.integers(1, 99))
        queries.append({"query_id": f"q{i}", "query": f"How much is {a} plus {b}?"})
        for model, skill, price in (("small", 0.55, 1e-6), ("middle", 0.75, 4e-6), ("large", 0.9, 4e-5)):
            right = rng.random() < skill + 0.1 * (a < 100)
            said = a + b if right else a + b + int(rng.integers(1, 9))
            hedge = "Perhaps " if not right and rng.random() < 0.5 else ""
            row = {"query_id": f"q{i}", "model": model, "correct": float(right), "cost_usd": price}
            rows.append(row | ({"answer": f"{hedge}we add both. The answer is {said}."} if with_text else {}))
    paths = folder / "outcomes.parquet", folder / "queries.parquet"
    pd.DataFrame(rows).to_parquet(paths[0])
    pd.DataFrame(queries).to_parquet(paths[1])
    return paths


@pytest.mark.model
@pytest.mark.parametrize("with_text", [True, False])
def test_a_small_run_writes_the_contract(tmp_path: Path, with_text: bool) -> None:
    """All policies, the guarantee, budgets and the scorer are measured; agreement pays where there are texts."""
    outcomes, queries = drawn_outcomes(tmp_path, with_text=with_text)
    run(outcomes, queries, tmp_path / "out.json", seeds=1, trials=3, optimiser_rows=60, most_repeats=1)
    written = json.loads((tmp_path / "out.json").read_text(encoding="utf-8"))
    results = written["results"]
    assert set(results["policies"]) >= {
        "palier",
        "best_single",
        "random_mix",
        "query_router",
        "knn_router",
        "cascade_routing",
        "frugalgpt",
    }
    for policy in results["policies"].values():
        assert set(policy["saving_at_parity"]) == {"value", "low", "high", "n"}
        assert len(policy["curve"]) >= 1
    assert results["policies"]["best_single"]["saving_at_parity"]["value"] == 0
    assert 0 <= results["budgets"]["kept_share"]["value"] <= 1
    assert results["guarantee"]["trials"] == 3
    assert [row["rows"] for row in written["data"]] == [3 * N_QUERIES, N_QUERIES]
    if with_text:
        assert results["scorer"]["posterior_auc"]["value"] > results["scorer"]["auc"]["value"]


def test_given_splits_are_kept(tmp_path: Path) -> None:
    """Where the queries name their split, test rows are those and no others."""
    outcomes, queries = drawn_outcomes(tmp_path, with_text=False)
    frame = pd.read_parquet(queries)
    frame["split"] = np.where(np.arange(len(frame)) % 3 == 0, "test", "train")
    frame.to_parquet(queries)
    data = read_recorded(outcomes, queries, None, np.random.default_rng(0))
    split = split_rows(data, np.random.default_rng(0))
    assert {data.query_ids[i] for i in split.test} == set(frame.loc[frame["split"] == "test", "query_id"])
    assert not set(split.choosing) & set(split.test)


def test_files_in_another_form_are_refused(tmp_path: Path) -> None:
    """A missing column is named; so are outcomes told twice."""
    outcomes, queries = drawn_outcomes(tmp_path, with_text=False)
    frame = pd.read_parquet(outcomes)
    frame.drop(columns="cost_usd").to_parquet(tmp_path / "free.parquet")
    pd.concat([frame, frame.head(1)]).to_parquet(tmp_path / "twice.parquet")
    rng = np.random.default_rng(0)
    with pytest.raises(InputError, match="cost_usd"):
        read_recorded(tmp_path / "free.parquet", queries, None, rng)
    with pytest.raises(InputError, match="two outcomes"):
        read_recorded(tmp_path / "twice.parquet", queries, None, rng)
