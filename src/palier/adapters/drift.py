"""Evidently, asked one question: do two tables of numbers and categories come from the same source?

Every column gets a test that gives a p-value (Kolmogorov-Smirnov for numbers, the z-test of two shares for categories;
Evidently keeps p-values and distances in one field, so the method is always named here) at a level corrected for the
number of columns. Not Evidently's chi-squared: it takes the shares of the reference for exact, and with a hundred
reference rows and a thousand others it finds drift in four of ten tables where there is none. The price: of a category
with more than two values, one is held against all others.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd


@dataclass(frozen=True)
class ColumnDrift:
    """One column's test: it drifted where ``p_value`` is below ``level``."""

    column: str
    method: str
    p_value: float
    level: float

    @property
    def drifted(self) -> bool:
        return self.p_value < self.level


def compare_tables(
    current: pd.DataFrame, reference: pd.DataFrame, kinds: Mapping[str, str], *, alpha: float, report: Path
) -> list[ColumnDrift]:
    """Test each column of ``kinds`` (column -> "number" or "category") and write Evidently's HTML ``report``.

    ``alpha`` holds for all columns together (Bonferroni).
    """
    os.environ.setdefault("DO_NOT_TRACK", "1")
    from evidently import DataDefinition, Dataset, Report  # seconds to import
    from evidently.metrics import ValueDrift

    level = alpha / len(kinds)
    definition = DataDefinition(
        numerical_columns=[name for name, kind in kinds.items() if kind == "number"],
        categorical_columns=[name for name, kind in kinds.items() if kind == "category"],
    )
    methods = {name: "ks" if kind == "number" else "z" for name, kind in kinds.items()}
    metrics = [ValueDrift(column=name, method=methods[name], threshold=level) for name in kinds]
    tables = [Dataset.from_pandas(table[list(kinds)], data_definition=definition) for table in (current, reference)]
    snapshot = Report(metrics).run(*tables)
    report.parent.mkdir(parents=True, exist_ok=True)
    snapshot.save_html(str(report))
    values = [float(item["value"]) for item in _metric_values(snapshot)]
    return [ColumnDrift(name, methods[name], value, level) for name, value in zip(kinds, values, strict=True)]


def _metric_values(snapshot: Any) -> list[dict[str, Any]]:
    return list(snapshot.dict()["metrics"])
