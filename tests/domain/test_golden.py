"""Golden rows: what is wrong is told by row, what has gone stale is not wrong, and quotes find their passages."""

import json

import pytest

from palier.adapters.formats.markdown import read_blocks
from palier.domain.documents import Document, sha256_text
from palier.domain.golden import (
    GoldenQuestion,
    gold_passages,
    is_stale,
    parse_rows,
    row_findings,
    set_findings,
)
from palier.domain.passages import split_document

TEXT = """# Delivery

Zone 1 costs **1.90**, zone 2 costs 2.90.

## Late orders

| Delay | Voucher |
|---|---|
| over 30 min | 20 % |
| over 60 min | free |

## Closed on Mondays

Nobody answers.
"""


def row(**changes: object) -> GoldenQuestion:
    fields: dict[str, object] = {
        "id": "en-1",
        "lang": "en",
        "question": "What does zone 1 cost?",
        "answers": ["1.90"],
        "document_id": "en/delivery",
        "quote": "Zone 1 costs 1.90",
        "answerable": True,
        "kind": "fact",
        "split": "train",
    }
    return GoldenQuestion.model_validate_json(json.dumps(fields | changes))


def passages(words: int = 5):
    name, blocks = "en/delivery", read_blocks(TEXT)
    return split_document(Document(name, "en", "Delivery", TEXT, f"{name}.md", sha256_text(TEXT), blocks), words)


def test_a_right_row_has_no_findings():
    assert row_findings(row()) == []
    assert not is_stale(row(), TEXT)


@pytest.mark.parametrize(
    ("changes", "finding"),
    [
        ({"answers": []}, "0 answer"),
        ({"answers": ["2.90"]}, "'2.90' does not stand in the quote"),
        ({"kind": "follow_up"}, "needs a history"),
        ({"answerable": False, "answers": []}, "it has a quote"),
        ({"quote": ""}, "is empty"),
        ({"quote": "Zone 1 costs 1.90 [...] **"}, "is empty"),
        ({"kind": "list", "answers": ["1.90; 3.90"]}, "'3.90' does not"),
    ],
)
def test_a_row_that_contradicts_itself_is_told(changes: dict[str, object], finding: str):
    assert any(finding in told and told.startswith("en-1: ") for told in row_findings(row(**changes)))


def test_lines_that_are_no_rows_are_told_with_their_number():
    rows, findings = parse_rows('{"id": "x"}\n\nnot json\n' + row().model_dump_json(), "golden/en.jsonl")
    assert len(rows) == 1
    assert any(told.startswith("golden/en.jsonl line 1: lang") for told in findings)
    assert any(told.startswith("golden/en.jsonl line 3") for told in findings)


def test_repeated_ids_and_a_document_in_two_splits_are_told():
    findings = set_findings([row(), row(split="test")])
    assert any("occurs 2 times" in told for told in findings)
    assert any("test and train" in told for told in findings)


def test_a_quote_that_left_its_document_makes_the_row_stale():
    assert is_stale(row(), TEXT.replace("1.90", "2.10"))
    assert is_stale(row(), None)


def test_markup_case_and_white_space_do_not_matter():
    assert not is_stale(row(quote="ZONE 1   costs\n1.90"), TEXT)


def test_a_quote_finds_the_passage_that_holds_it():
    (key,) = gold_passages(row(), passages())
    assert next(p for p in passages() if p.passage_id == key).start_line == 3


def test_pieces_and_quotes_over_a_passage_end_find_each_passage():
    two = row(quote="Zone 1 costs 1.90 [...] over 30 min | 20 %", kind="two_facts", answers=["1.90; 20 %"])
    assert len(gold_passages(two, passages())) == 2
    across = row(quote="zone 2 costs 2.90. | Delay | Voucher |", answers=["2.90"])
    assert len(gold_passages(across, passages())) == 2


def test_a_quote_in_a_heading_finds_the_passages_under_it():
    keys = gold_passages(row(quote="Closed on Mondays", answers=["Mondays"]), passages(2))
    assert [p.text for p in passages(2) if p.passage_id in keys] == ["Nobody answers."]


def test_a_row_without_quote_has_no_gold_passage():
    assert gold_passages(row(answerable=False, answers=[], quote=""), passages()) == ()
