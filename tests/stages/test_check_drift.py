"""The window that is compared is the whole window, and only what the cascade answered."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pandas as pd
import pytest

from palier.adapters.records import Records
from palier.adapters.workspace import Workspace, read_json
from palier.domain.ledger import GUARD, LedgerRow
from palier.errors import NotReadyError
from palier.params import Params, load_params
from palier.settings import repository_root
from palier.stages import check_drift

NOW = datetime(2026, 5, 1, 12, tzinfo=UTC)
ROW = LedgerRow("req", NOW, "key-1", "r-1", None, "champion", "fr", "Quand ?", "À 9 h.", "reader", 0.8, False)


def params(min_rows: int) -> Params:
    loaded = load_params(repository_root() / "params.yaml")
    return loaded.model_copy(update={"check_drift": loaded.check_drift.model_copy(update={"min_rows": min_rows})})


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    """What `evaluate-release` leaves for one test question."""
    place = Workspace(tmp_path / "workspace")
    for folder in (place.evaluation, place.outcomes):
        folder.mkdir(parents=True)
    answers = pd.DataFrame({"query_id": ["q1"], "score": [0.8], "lang": ["fr"], "answered": [True]})
    answers.to_parquet(place.evaluation / "answers.parquet")
    pd.DataFrame({"query_id": ["q1"], "query": ["Quand ?"]}).to_parquet(place.outcomes / "queries.parquet")
    return place


@pytest.fixture
def records(tmp_path: Path) -> Records:
    return Records(f"sqlite:///{tmp_path / 'records.db'}")


def test_every_request_of_the_window_is_looked_at(workspace, records):
    for n in range(1005):
        records.append_request(replace(ROW, request_id=f"req-{n}", created_at=NOW - timedelta(minutes=n)))
    found = check_drift.run(params(min_rows=1010), workspace.root, records, NOW)
    assert found.n_rows == 1005
    assert "1005 requests" in read_json(workspace.drift / "drift.json", "check-drift")["reason"]


def test_what_the_guard_refused_what_failed_and_what_was_erased_say_nothing_of_the_cascade(workspace, records):
    rows = [ROW, replace(ROW, rung=GUARD, score=0.99, abstained=True), replace(ROW, error="internal"),
            replace(ROW, question="", answer=""), replace(ROW, created_at=NOW - timedelta(days=30))]  # fmt: skip
    for n, row in enumerate(rows):
        records.append_request(replace(row, request_id=f"req-{n}"))
    assert check_drift.run(params(min_rows=50), workspace.root, records, NOW).n_rows == 1


def test_before_the_first_evaluation_the_stage_to_run_is_named(tmp_path, records):
    with pytest.raises(NotReadyError, match="evaluate-release"):
        check_drift.run(params(min_rows=50), tmp_path, records, NOW)
