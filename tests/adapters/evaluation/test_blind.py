"""A blind sheet does not tell whose answer is whose, and judgements come back to the rung they were about."""

import csv
import io
import json
import re
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


def fill(sheet, target, judge, delimiter=",", encoding="utf-8", line_end="\r\n"):
    """Write a filled copy, as a spreadsheet would: ``judge(row)`` gives the changed cells."""
    rows = [row | judge(row) for row in rows_of(sheet)]
    with target.open("w", encoding=encoding, newline="", errors="replace") as handle:
        writer = csv.DictWriter(handle, fieldnames=list(rows[0]), delimiter=delimiter, lineterminator=line_end)
        writer.writeheader()
        writer.writerows(rows)
    return target


def number_of(row):
    return int(row["item"].split("-")[0])


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
    other = fill(sheet, tmp_path / "b.csv", lambda row: likes_short(row) if number_of(row) % 2 else {"better": "tie"})
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
        ({"better": "3"}, "'3'; better must be 1, 2 or tie"),
        ({"item": "99"}, "item '99': the key has no such item"),
        ({"question": "What else?"}, r"question are not the words that the key has \('What else\?'\)"),
        ({"answer_1": "A newer answer"}, "answer_1 are not the words"),
        ({"answer_2": ""}, "answer_2 are not the words"),
        ({"answer_1": "#NAME?", "answer_2": "#NOM ?"}, "answer_1, answer_2 are not the words"),
    ],
)
def test_a_row_that_cannot_be_counted_is_left_out_by_itself_and_told(sheet, cells, told):
    """And where none is left, that is an error which tells each."""
    fill(sheet, sheet, lambda row: likes_short(row) | (cells if number_of(row) == 1 else {}))
    found = read_sheets([sheet], np.random.default_rng(0))
    assert (found.wins["reader"], found.n_judged, len(found.left_out)) == (39, 39, 1)
    assert re.search(told, found.left_out[0])
    assert found.left_out[0].startswith("sheet.csv: item ")
    fill(sheet, sheet, lambda row: likes_short(row) | cells)
    with pytest.raises(InputError, match=r"No row has a verdict that counts(.|\n)*" + told):
        read_sheets([sheet], np.random.default_rng(0))


@pytest.mark.parametrize(
    ("cells", "told"),
    [
        ({"better": ""}, "No row has a verdict"),
        ({"better": "1", "comment": "x" * 131_073}, r"field larger than field limit \(131072\). A quotation mark"),
    ],
)
def test_a_sheet_that_cannot_be_read_is_told(sheet, cells, told):
    fill(sheet, sheet, lambda row: cells)
    with pytest.raises(InputError, match=told):
        read_sheets([sheet], np.random.default_rng(0))


def test_a_workbook_is_told_to_be_saved_as_csv(sheet):
    sheet.write_bytes(b"PK\x03\x04 and so on")
    with pytest.raises(InputError, match="is a workbook, not CSV"):
        read_sheets([sheet], np.random.default_rng(0))


def test_columns_that_were_sorted_apart_are_noticed(sheet):
    """Answers that look alike, beside the wrong item: which of them was judged cannot be known."""
    rows = rows_of(sheet)
    after = {row["item"]: other for row, other in zip(rows, [*rows[1:], rows[0]], strict=True)}
    fill(sheet, sheet, lambda row: {"better": "1", "question": after[row["item"]]["question"]})
    with pytest.raises(InputError, match="question are not the words"):
        read_sheets([sheet], np.random.default_rng(0))


def test_a_rater_judges_an_item_once(sheet):
    """The same file named twice counts nobody twice."""
    fill(sheet, sheet, likes_short)
    with pytest.raises(InputError, match=r"'sheet' judged item 1-\w{6} twice"):
        read_sheets([sheet, sheet], np.random.default_rng(0))


def test_a_column_that_is_read_must_be_there(sheet):
    text = sheet.read_text(encoding="utf-8").replace("answer_2", "b").replace("better", "c")
    sheet.write_text(text, encoding="utf-8")
    with pytest.raises(InputError, match="no column answer_2, better"):
        read_sheets([sheet], np.random.default_rng(0))


def test_a_copy_of_an_earlier_sheet_is_not_read_with_a_newer_key(sheet, tmp_path):
    """Same questions, same seed, one rung that answers anew, be it by another number: an item bears its words."""
    old = fill(sheet, tmp_path / "ann.csv", likes_short)
    pairs = [BlindPair(p.query_id, p.lang, p.question, p.reference, ("short", f"{p.answers[1]}0")) for p in PAIRS]
    write_sheet(tmp_path / "newer.csv", RUNGS, pairs[:40], np.random.default_rng(7))
    key_file(tmp_path / "newer.csv").replace(key_file(old))
    with pytest.raises(InputError, match="of another sheet"):
        read_sheets([old], np.random.default_rng(0))


REWRITTEN = {
    "12.50": "12,5",
    "12 May 2024": "12/05/2024",
    "3 pm": "15:00",
    "12/05/2024": "12-mai-24",
    "-5": "'-5",
    "true\n": "TRUE",
    "1e5": "1.00E+05",
    "  the “big” oven": 'the "big" oven ',
    "au cœur de l'été → là": "Au cœur de l’été ? là",
}


@pytest.mark.parametrize(
    ("delimiter", "encoding", "line_end"),
    [
        (",", "utf-8", "\n"),
        (";", "utf-8-sig", "\r\n"),
        ("\t", "utf-16", "\r\n"),
        (";", "cp1252", "\r\n"),
        (",", "mac-roman", "\r"),
    ],
)
def test_what_spreadsheets_do_to_a_sheet_is_borne(tmp_path, delimiter, encoding, line_end):
    """Other separators, encodings and line ends; numbers, dates, quotation marks, blanks and capitals written anew."""
    path = tmp_path / "sheet.csv"
    pairs = [
        BlindPair(f"q{i}", "fr", f"=Où est\nle four n° {i} ?", "it", (said, f"un tout autre propos, le {i}e"))
        for i, said in enumerate(REWRITTEN)
    ]
    write_sheet(path, RUNGS, pairs, np.random.default_rng(7))
    shown = {said.strip(): found for said, found in REWRITTEN.items()}

    def as_saved(row):
        answers = [row["answer_1"], row["answer_2"]]
        first = not answers[0].startswith("un tout")
        return {
            "item": f" {row['item'].upper()} ",
            "question": row["question"].lstrip("'").replace("\n", line_end) + " ",
            **{f"answer_{n}": shown.get(one.strip().lstrip("'"), one) for n, one in enumerate(answers, 1)},
            "better": "1.0" if first else "2,0",
        }

    fill(path, path, as_saved, delimiter, encoding, line_end)
    found = read_sheets([path], np.random.default_rng(0))
    assert (found.wins, found.left_out) == ({"reader": len(REWRITTEN), "writer": 0}, ())


def test_no_cell_begins_a_formula_wherever_a_spreadsheet_parts_it(tmp_path):
    """A sheet with commas, opened where semicolons part cells, is parted inside of texts, and at their line ends."""
    path = tmp_path / "sheet.csv"
    bad = ["=1+1", "  @SUM(A1)", "a;=cmd|' /C calc'!A0", "list:\n- one\n+ two", "a\t-1", "＝1", "\r=1"]
    pairs = [BlindPair(f"q{i}", "en", said, said, (said, f"plain {i}")) for i, said in enumerate(bad)]
    write_sheet(path, RUNGS, pairs, np.random.default_rng(7))
    for row in rows_of(path):
        for cell in (row["question"], row["reference"], row["answer_1"], row["answer_2"]):
            assert not [part for part in re.split(r"[;\t\r\n]", cell) if part.strip()[:1] in set("=+-@＝＋－＠") - {""}]
    fill(path, path, lambda row: {"better": "tie"})
    assert read_sheets([path], np.random.default_rng(0)).ties == len(bad)


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


def test_the_result_tells_what_was_left_out(sheet, tmp_path):
    fill(sheet, sheet, lambda row: {"better": "left" if number_of(row) == 3 else "tie"})
    told = json.loads(evaluate_models(tmp_path / "workspace", "--blind-in", sheet, "--json"))
    assert (told["ties"], len(told["left_out"])) == (39, 1)
    assert "judged 'left'" in told["left_out"][0]


def test_rungs_that_say_the_same_leave_nothing_to_judge(tmp_path):
    with pytest.raises(InputError, match="nothing to judge"):
        write_sheet(tmp_path / "sheet.csv", RUNGS, PAIRS[-1:], np.random.default_rng(0))


def test_a_copy_without_its_key_is_told_what_to_do(sheet, tmp_path):
    """Not to write a sheet again: what the rater judged belongs to this one."""
    copy = fill(sheet, tmp_path / "ann.csv", likes_short)
    with pytest.raises(InputError, match=r"ann\.key\.json is not there\. Lay the key .* or name the sheet .* first"):
        read_sheets([copy], np.random.default_rng(0))
