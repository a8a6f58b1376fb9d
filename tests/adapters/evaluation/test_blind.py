"""A blind sheet does not tell whose answer is whose, and judgements come back to the rung they were about."""

import csv
import io
import json

import numpy as np
import pytest

from palier.adapters.evaluation.blind import BlindPair, key_file, read_sheets, write_sheet
from palier.errors import InputError

RUNGS = ("reader", "writer")
PAIRS = [
    BlindPair(f"q{i}", "en", f"=What about {i}?", "it", ("short", f"a long answer number {i}")) for i in range(40)
] + [BlindPair("same", "en", "What?", "it", ("The oven", "oven!"))]


@pytest.fixture
def sheet(tmp_path):
    path = tmp_path / "sheet.csv"
    assert write_sheet(path, RUNGS, PAIRS, np.random.default_rng(7)) == 40
    return path


def rows_of(path):
    return list(csv.DictReader(io.StringIO(path.read_text(encoding="utf-8-sig"), newline="")))


def fill(sheet, target, judge, delimiter=","):
    """Write a filled copy, as a spreadsheet would: ``judge(row)`` gives the changed cells."""
    rows = [row | judge(row) for row in rows_of(sheet)]
    with target.open("w", encoding="utf-8", newline="") as handle:
        writer = csv.DictWriter(handle, fieldnames=list(rows[0]), delimiter=delimiter)
        writer.writeheader()
        writer.writerows(rows)
    return target


def likes_short(row):
    return {"better": "1" if row["answer_1"] == "short" else "2"}


def test_sides_and_order_are_mixed_and_the_sheet_names_no_rung(sheet):
    text, rows = sheet.read_text(encoding="utf-8-sig"), rows_of(sheet)
    assert "reader" not in text
    assert "writer" not in text
    first = [row["answer_1"] == "short" for row in rows]
    assert 8 < sum(first) < 32
    key = json.loads(key_file(sheet).read_text(encoding="utf-8"))
    assert key["n_same"] == 1
    assert [key["items"][row["item"]]["query_id"] for row in rows] != [pair.query_id for pair in PAIRS[:40]]
    assert all(row["question"].startswith("'=What") for row in rows)  # no spreadsheet runs it


def test_the_same_seed_writes_the_same_sheet(sheet, tmp_path):
    write_sheet(tmp_path / "again.csv", RUNGS, PAIRS, np.random.default_rng(7))
    assert (tmp_path / "again.csv").read_bytes() == sheet.read_bytes()


@pytest.mark.parametrize("delimiter", [",", ";"])
def test_verdicts_come_back_to_their_rung(sheet, delimiter):
    fill(sheet, sheet, likes_short, delimiter)
    found = read_sheets([sheet], np.random.default_rng(0))
    assert (found.wins, found.ties, found.n_judged) == ({"reader": 40, "writer": 0}, 0, 40)
    assert (found.preference.value, found.preference.low) == (1.0, 1.0)
    assert (found.agreement, found.kappa) == (None, None)


def test_two_raters_are_compared_and_an_item_counts_once(sheet, tmp_path):
    """The second rater ties every second item; the preference is the mean over raters of each item."""
    one = fill(sheet, tmp_path / "ann.csv", likes_short)
    key_file(one).write_bytes(key_file(sheet).read_bytes())
    other = fill(sheet, tmp_path / "b.csv", lambda row: likes_short(row) if int(row["item"]) % 2 else {"better": "tie"})
    found = read_sheets([one, other], np.random.default_rng(0))
    assert found.raters == ("ann", "b")
    assert (found.wins["reader"], found.ties, found.n_judged) == (60, 20, 80)
    assert found.preference.n == 40
    assert found.preference.value == pytest.approx(0.875)
    assert found.agreement == 0.5
    assert found.kappa == pytest.approx(0.0)


@pytest.mark.parametrize(
    ("cells", "told"),
    [
        ({"better": "3"}, "better must be 1, 2 or tie"),
        ({"better": "1", "item": "99"}, "'99'"),
        ({"better": ""}, "No row has a verdict"),
        ({"better": "1", "item": "1"}, "judged item 1 twice"),
    ],
)
def test_what_cannot_be_counted_is_told(sheet, cells, told):
    fill(sheet, sheet, lambda row: cells)
    with pytest.raises(InputError, match=told):
        read_sheets([sheet], np.random.default_rng(0))


def test_rungs_that_say_the_same_leave_nothing_to_judge(tmp_path):
    with pytest.raises(InputError, match="nothing to judge"):
        write_sheet(tmp_path / "sheet.csv", RUNGS, PAIRS[-1:], np.random.default_rng(0))
