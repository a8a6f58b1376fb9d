"""Evidently finds the columns that moved, and only those."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from palier.adapters.drift import compare_tables

pytestmark = pytest.mark.model
KINDS = {"words": "number", "score": "number", "language": "category", "rung": "category"}


def table(seed: int, n: int = 400, **changes: float) -> pd.DataFrame:
    """Rows of one source; ``score_shift`` moves the scores, ``french`` is the share of French."""
    rng = np.random.default_rng(seed)
    french = changes.get("french", 0.4)
    return pd.DataFrame(
        {
            "words": rng.poisson(9, n),
            "score": rng.normal(0.6 + changes.get("score_shift", 0.0), 0.15, n),
            "language": rng.choice(["fr", "en"], n, p=[french, 1 - french]),
            "rung": rng.choice(["reader", "reader_wide"], n),
            "not_asked_for": rng.random(n) + seed,
        }
    )


def drifted(current: pd.DataFrame, tmp_path: Path) -> set[str]:
    columns = compare_tables(current, table(1), KINDS, alpha=0.05, report=tmp_path / "a" / "drift.html")
    assert [column.column for column in columns] == list(KINDS)
    return {column.column for column in columns if column.drifted}


def test_two_tables_of_one_source_are_not_told_apart(tmp_path):
    assert drifted(table(2), tmp_path) == set()


def test_a_shifted_number_is_found_and_no_other_column_is_blamed(tmp_path):
    assert drifted(table(2, score_shift=-0.1), tmp_path) == {"score"}


def test_a_category_that_became_more_frequent_is_found_and_no_other_column_is_blamed(tmp_path):
    assert drifted(table(2, french=0.6), tmp_path) == {"language"}


def test_chance_in_a_small_reference_is_no_drift(tmp_path):
    """A reference of 60 rows with 45 % of French does not tell 1,000 rows with 57 % from its own source (p = .07)."""
    small = pd.DataFrame({"language": ["fr"] * 27 + ["en"] * 33})
    large = pd.DataFrame({"language": ["fr"] * 570 + ["en"] * 430})
    (column,) = compare_tables(large, small, {"language": "category"}, alpha=0.05, report=tmp_path / "drift.html")
    assert column.p_value == pytest.approx(0.069, abs=0.002)
    assert not column.drifted


def test_an_assistant_of_one_language_has_no_drift_of_languages(tmp_path):
    one = pd.DataFrame({"language": ["fr"] * 50})
    (column,) = compare_tables(one, one, {"language": "category"}, alpha=0.05, report=tmp_path / "drift.html")
    assert column.p_value == 1


def test_the_level_is_shared_among_the_columns_and_each_kind_has_its_test(tmp_path):
    report = tmp_path / "drift.html"
    columns = compare_tables(table(2), table(1), KINDS, alpha=0.05, report=report)
    assert [column.method for column in columns] == ["ks", "ks", "z", "z"]
    assert all(column.level == 0.05 / 4 and 0 <= column.p_value <= 1 for column in columns)
    assert "<html" in report.read_text(encoding="utf-8")[:1000].lower()
