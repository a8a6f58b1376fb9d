"""A cascade that climbs by beliefs is evaluated on what `train-scorer` wrote down, by the gateway's own climb."""

from pathlib import Path

import pandas as pd
import pytest

from palier.adapters.workspace import Workspace
from palier.domain.answering import Cascade, Step
from palier.errors import NotReadyError
from palier.params import Params, load_params
from palier.settings import repository_root
from palier.stages.evaluate_release import _intervals, _scorer_intervals, read_beliefs, replay

PARAMS = load_params(repository_root() / "params.yaml")
CASCADE = Cascade(steps=(Step(rung="cheap", threshold=0.5), Step(rung="dear", threshold=0.0)), by_beliefs=True)


def outcomes() -> pd.DataFrame:
    """Three questions: the dear rung promises little, or much, or much and then backs the cheap one."""
    rows = []
    for query, promise in (("hard", 0.1), ("easy", 0.9), ("backed", 0.9)):
        for rung, score, cost in (("cheap", 0.4, 1), ("dear", 0.8, 9)):
            row = {"query_id": query, "model": rung, "score": score, "promise": promise, "cost_nanousd": cost}
            told = {"query": "How much?", "lang": "en", "kind": "fact", "answer": rung, "latency_ms": 1.0}
            rows.append(row | told | {"correct": float(rung == "dear"), "answerable": True, "retrieved_gold": False})
    return pd.DataFrame(rows).assign(cites_gold=None)


def write_beliefs(workspace: Workspace) -> None:
    """Beside each other the dear answer is believed more, but for the question where it backs the cheap one."""
    rows = [
        {"query_id": query, "seen": "cheap + dear", "model": rung, "belief": belief}
        for query, beliefs in (("hard", (0.2, 0.7)), ("easy", (0.2, 0.7)), ("backed", (0.9, 0.7)), ("unasked", (0, 1)))
        for rung, belief in zip(("cheap", "dear"), beliefs, strict=True)
    ]
    workspace.scores.mkdir(parents=True)
    pd.DataFrame(rows).to_parquet(workspace.scores / "beliefs.parquet")


def test_recorded_beliefs_decide_whom_to_ask_and_whom_to_believe(tmp_path: Path) -> None:
    """Little promised: the cheap answer stays. Much promised: both are paid, and the answer believed most is final."""
    workspace, table = Workspace(tmp_path), outcomes()
    write_beliefs(workspace)
    beliefs = read_beliefs(workspace, table["query_id"])
    assert {query for query, _ in beliefs} == {"hard", "easy", "backed"}
    told = replay(table, CASCADE, beliefs).set_index("query_id")
    assert told["rung"].to_dict() == {"hard": "cheap", "easy": "dear", "backed": "cheap"}
    assert told["cost_nanousd"].to_dict() == {"hard": 1, "easy": 10, "backed": 10}
    assert told["score"].to_dict() == {"hard": 0.4, "easy": 0.7, "backed": 0.9}


def test_beliefs_that_are_missing_are_said(tmp_path: Path) -> None:
    """Before `train-scorer` there is nothing to climb by."""
    with pytest.raises(NotReadyError, match="train-scorer"):
        read_beliefs(Workspace(tmp_path), outcomes()["query_id"])


def test_the_auc_of_the_scorer_comes_with_its_interval_over_questions() -> None:
    rows = [(f"q{n}", rung, (n % 3 == 0) != (n % 7 == 0)) for n in range(42) for rung in ("cheap", "dear")]
    table = pd.DataFrame(rows, columns=["query_id", "model", "good"])
    table = table.assign(correct=table["good"].astype(float), score=[0.3 + 0.4 * (n % 6 == 0) for n in range(84)])
    found = _scorer_intervals(table, PARAMS)
    auc, error = found["test.scorer.auc"], found["test.scorer.ece"]
    assert auc["low"] < auc["value"] < auc["high"]
    assert auc["n"] == 42
    assert error["low"] == error["value"] == error["high"]


def answered(n: int, *, answerable: bool) -> pd.DataFrame:
    """What a cascade made of ``n`` questions, at 10 nano-dollars each."""
    row = {"lang": "en", "answerable": answerable, "f1": 1.0, "answered": answerable, "retrieved_gold": False}
    told = {"cites_gold": None, "cost_nanousd": 10, "latency_ms": 1.0}
    return pd.DataFrame([row | told | {"query_id": f"q{i}"} for i in range(n)])


def paid(n: int, cost: int) -> pd.DataFrame:
    return pd.DataFrame({"query_id": [f"q{i}" for i in range(n)], "cost_nanousd": cost})


def test_the_saving_is_told_over_the_questions_that_the_reference_answered() -> None:
    """Recorded outcomes may lack some of its answers: what is not known is neither NaN nor a loss."""
    found = _intervals(answered(4, answerable=True), paid(3, 40), PARAMS)
    assert found["saving"] == {"value": 0.75, "low": 0.75, "high": 0.75, "n": 3}
    assert "saving" not in _intervals(answered(4, answerable=True), paid(4, 0), PARAMS)
    assert "saving" not in _intervals(answered(4, answerable=True), paid(0, 0), PARAMS)


def test_questions_without_an_answer_alone_can_be_evaluated() -> None:
    found = _intervals(answered(4, answerable=False), paid(4, 40), PARAMS)
    assert found["f1"]["value"] == 1.0
    assert not {"f1.answerable", "recall_at_10"} & set(found)


def with_retrieval(**changes: object) -> Params:
    return PARAMS.model_copy(update={"retrieval": PARAMS.retrieval.model_copy(update=changes)})


def test_recall_is_named_by_how_many_passages_were_retrieved() -> None:
    """Also where none of them is the right one; without a search there is nothing to recall."""
    for params, name in ((PARAMS, "recall_at_10"), (with_retrieval(k=4), "recall_at_4")):
        found = _intervals(answered(4, answerable=True), paid(4, 40), params)
        assert {key: one["value"] for key, one in found.items() if key.startswith("recall")} == {name: 0.0}
    silent = _intervals(answered(4, answerable=True), paid(4, 40), with_retrieval(mode="none"))
    assert not any(key.startswith("recall") for key in silent)
