"""Stage `check-drift`: are people asking other things, or getting other scores, than the models were tuned on?

The window of the ledger (of very many requests, the newest) is compared with the recorded test questions under the
released cascade. Four columns are tested; few rows make no alarm, and are said.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

import pandas as pd

from palier.adapters.drift import compare_tables
from palier.adapters.records import Records
from palier.adapters.workspace import Workspace, write_json
from palier.domain.ledger import GUARD, LedgerRow
from palier.errors import NotReadyError
from palier.params import Params

MOST_REQUESTS = 50_000
COLUMNS = {"n_words": "number", "score": "number", "lang": "category", "answered": "category"}


@dataclass(frozen=True)
class DriftResult:
    """``drifted`` names the columns; empty where nothing drifted or too few rows were there to say."""

    n_rows: int
    drifted: tuple[str, ...]
    p_values: Mapping[str, float]
    report: Path | None
    reason: str

    @property
    def metrics(self) -> dict[str, float]:
        return {"n_rows": float(self.n_rows), **{f"p_value.{name}": p for name, p in self.p_values.items()}}


def run(params: Params, root: Path, records: Records, now: datetime) -> DriftResult:
    """Write data/drift/report.html and drift.json; NotReadyError before the first evaluation."""
    workspace = Workspace(root)
    reference = _reference(workspace)
    since = now - timedelta(days=params.check_drift.window_days)
    current = _current(records.requests(since=since, limit=MOST_REQUESTS))
    if len(current) < params.check_drift.min_rows:
        reason = f"{len(current)} requests since {since:%Y-%m-%d}, fewer than min_rows {params.check_drift.min_rows}"
        return _write(workspace, DriftResult(len(current), (), {}, None, reason))
    report = workspace.drift / "report.html"
    found = compare_tables(current, reference, COLUMNS, alpha=params.check_drift.alpha, report=report)
    drifted = tuple(column.column for column in found if column.drifted)
    reason = f"drift in {', '.join(drifted)}" if drifted else "no drift"
    p_values = {column.column: column.p_value for column in found}
    return _write(workspace, DriftResult(len(current), drifted, p_values, report, reason))


def _reference(workspace: Workspace) -> pd.DataFrame:
    path = workspace.evaluation / "answers.parquet"
    if not path.is_file():
        raise NotReadyError(f"{path} is not there yet: run `palier evaluate-release` first.")
    answers = pd.read_parquet(path)
    queries = pd.read_parquet(workspace.outcomes / "queries.parquet").set_index("query_id")["query"]
    texts = queries.reindex(answers["query_id"]).tolist()
    return _columns(texts, answers["score"].tolist(), answers["lang"].tolist(), answers["answered"].tolist())


def _current(rows: Sequence[LedgerRow]) -> pd.DataFrame:
    """What went up the cascade, as the reference did: a refusal's score is the guard's, of other numbers."""
    climbed = [row for row in rows if row.error is None and row.rung != GUARD]
    judged = [row for row in climbed if row.score is not None and row.question]  # or it was erased
    return _columns(
        [row.question for row in judged],
        [float(row.score or 0.0) for row in judged],
        [row.language for row in judged],
        [not row.abstained for row in judged],
    )


def _columns(
    questions: Sequence[str], scores: Sequence[float], languages: Sequence[str], answered: Sequence[bool]
) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "n_words": [len(question.split()) for question in questions],
            "score": list(scores),
            "lang": list(languages),
            "answered": [str(bool(value)) for value in answered],
        }
    )


def _write(workspace: Workspace, result: DriftResult) -> DriftResult:
    values = {
        "n_rows": result.n_rows,
        "drifted": result.drifted,
        "p_values": result.p_values,
        "reason": result.reason,
    }
    write_json(workspace.drift / "drift.json", values)
    return result
