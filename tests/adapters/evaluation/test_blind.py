"""A blind sheet does not tell whose answer is whose, and judgements come back to the rung they were about."""

import csv
import io
import json
import shutil

import numpy as np
import pytest
from typer.testing import CliRunner

from palier.__main__ import build_app
from palier.adapters.evaluation.blind import BlindPair, key_file, read_sheets, write_sheet
from palier.errors import InputError
from palier.settings import repository_root

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


def evaluate_models(workspace, *arguments):
    """Run the command in this process, in a workspace that holds params alone; what it prints."""
    workspace.mkdir(exist_ok=True)
    shutil.copy(repository_root() / "params.yaml", workspace)
    result = CliRunner().invoke(build_app(), ["evaluate-models", "-w", str(workspace), *map(str, arguments)])
    if result.exception is not None:
        raise result.exception
    return result.stdout


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


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
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
        ({"better": "1", "item": "1"}, "question or answers of item 1 "),
        ({"better": "1", "question": "What else?"}, r"of item 1 \('What else\?'\) are not those of .*key.json"),
        ({"better": "1", "answer_1": "A newer answer"}, "answers of item 1 "),
        ({"better": "1", "answer_2": "A newer answer"}, "answers of item 1 "),
        ({"better": "1", "comment": "x" * 131_073}, r"field larger than field limit \(131072\). A quotation mark"),
    ],
)
def test_what_cannot_be_counted_is_told(sheet, cells, told):
    fill(sheet, sheet, lambda row: cells)
    with pytest.raises(InputError, match=told):
        read_sheets([sheet], np.random.default_rng(0))


def test_a_rater_judges_an_item_once(sheet):
    """The same file named twice counts nobody twice."""
    fill(sheet, sheet, likes_short)
    with pytest.raises(InputError, match="'sheet' judged item 1 twice"):
        read_sheets([sheet, sheet], np.random.default_rng(0))


def test_a_column_that_is_read_must_be_there(sheet):
    text = sheet.read_text(encoding="utf-8").replace("answer_2", "b").replace("better", "c")
    sheet.write_text(text, encoding="utf-8")
    with pytest.raises(InputError, match="no column answer_2, better"):
        read_sheets([sheet], np.random.default_rng(0))


def test_a_copy_of_an_earlier_sheet_is_not_read_with_a_newer_key(sheet, tmp_path):
    """Same questions, same seed, one rung that answers anew: rows and sides are alike, the words are not."""
    old = fill(sheet, tmp_path / "ann.csv", likes_short)
    pairs = [BlindPair(p.query_id, p.lang, p.question, p.reference, ("short", f"new: {p.answers[1]}")) for p in PAIRS]
    write_sheet(tmp_path / "newer.csv", RUNGS, pairs[:40], np.random.default_rng(7))
    key_file(tmp_path / "newer.csv").replace(key_file(old))
    with pytest.raises(InputError, match="question or answers of item 1 "):
        read_sheets([old], np.random.default_rng(0))


def test_what_spreadsheets_do_to_cells_is_borne(tmp_path):
    """Decimals on whole numbers, other line ends and blanks, no apostrophe, a price written anew, capitals."""
    path = tmp_path / "sheet.csv"
    pairs = [BlindPair(f"q{i}", "en", f"=How\nmuch is {i}?", "it", ("12.50", "true\n")) for i in range(4)]
    write_sheet(path, RUNGS, pairs, np.random.default_rng(7))
    shown = {"12.50": "12,5", "true\n": "TRUE"}
    fill(
        path,
        path,
        lambda row: {
            "item": f"{row['item']},0 ",
            "question": row["question"].lstrip("'").replace("\n", "\r\n") + " ",
            "answer_1": shown[row["answer_1"]],
            "answer_2": shown[row["answer_2"]],
            "better": "1.0" if row["answer_1"] == "12.50" else "2.0",
        },
        ";",
    )
    assert read_sheets([path], np.random.default_rng(0)).wins == {"reader": 4, "writer": 0}


def test_no_sheet_is_written_over_another(sheet, tmp_path):
    """Nor over a key whose sheet was sent away; the command says so before it asks a rung anything."""
    fill(sheet, sheet, likes_short)
    before = sheet.read_bytes(), key_file(sheet).read_bytes()
    with pytest.raises(InputError, match=r"sheet\.csv is there already.*another name, or delete sheet and key"):
        write_sheet(sheet, RUNGS, PAIRS, np.random.default_rng(8))
    with pytest.raises(InputError, match=r"sheet\.csv is there already"):
        evaluate_models(tmp_path / "workspace", "--blind-out", sheet)
    assert (sheet.read_bytes(), key_file(sheet).read_bytes()) == before
    sheet.unlink()
    with pytest.raises(InputError, match=r"sheet\.key\.json is there already"):
        write_sheet(sheet, RUNGS, PAIRS, np.random.default_rng(8))


def test_the_result_tells_how_many_questions_were_not_judged(sheet, tmp_path):
    """Whoever reads the shares sees that they speak of the questions on which the two differ."""
    fill(sheet, sheet, likes_short)
    told = evaluate_models(tmp_path / "workspace", "--blind-in", sheet)
    assert "40 judgements: reader 40, writer 0, tie 0" in told
    assert "left out, as both said the same: 1" in told
    assert json.loads(evaluate_models(tmp_path / "workspace", "--blind-in", sheet, "--json"))["n_same"] == 1


def test_rungs_that_say_the_same_leave_nothing_to_judge(tmp_path):
    with pytest.raises(InputError, match="nothing to judge"):
        write_sheet(tmp_path / "sheet.csv", RUNGS, PAIRS[-1:], np.random.default_rng(0))


def test_a_copy_without_its_key_is_told_what_to_do(sheet, tmp_path):
    """Not to write a sheet again: what the rater judged belongs to this one."""
    copy = fill(sheet, tmp_path / "ann.csv", likes_short)
    with pytest.raises(InputError, match=r"ann\.key\.json is not there\. Lay the key .* or name the sheet .* first"):
        read_sheets([copy], np.random.default_rng(0))
