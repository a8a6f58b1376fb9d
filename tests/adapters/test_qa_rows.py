"""Question-answer files: what is read as answers, and that a line which is no row is named."""

import gzip
import json

import pytest

from palier.adapters.qa_rows import read_qa
from palier.errors import InputError

ROW = {"id": "1", "lang": "en", "title": "France", "passage_id": "p", "context": "Paris it is.", "question": "Where?"}


def answers_of(tmp_path, told):
    path = tmp_path / "questions.jsonl"
    path.write_text(json.dumps({**ROW, "answers": ["Paris"]}) + "\n" + json.dumps(ROW | told), encoding="utf-8")
    return read_qa(path)[1].answers


@pytest.mark.parametrize(
    ("told", "answers"),
    [
        ({"answers": ["Paris", "Paris it is"]}, ("Paris", "Paris it is")),
        ({"answers": {"text": ["Paris"], "answer_start": [0]}}, ("Paris",)),
        ({"answers": {"text": [], "answer_start": []}}, ()),
        ({"answers": []}, ()),
        ({"answers": None}, ()),
        ({"answers": [""]}, ()),
        ({"answers": {"text": ["", "Paris"], "answer_start": [0, 0]}}, ("Paris",)),
        ({}, ()),
    ],
)
def test_answers_are_a_list_of_strings_or_in_the_form_of_squad(tmp_path, told, answers):
    assert answers_of(tmp_path, told) == answers


def test_a_null_is_as_good_as_no_word_on_whether_there_is_an_answer(tmp_path):
    """As tables write it that were joined from several files."""
    path = tmp_path / "questions.jsonl"
    path.write_text("\n".join(json.dumps(ROW | told) for told in ({}, {"answerable": None}, {"answerable": False})))
    assert [row.answerable for row in read_qa(path)] == [True, True, False]


@pytest.mark.parametrize("told", ["Paris", "", 1998, {"answer": "Paris"}, {"text": "Paris"}, [{"text": "Paris"}], [75]])
def test_answers_in_another_form_are_refused_with_their_line(tmp_path, told):
    with pytest.raises(InputError, match=r"questions\.jsonl line 2 is no QA row"):
        answers_of(tmp_path, {"answers": told})


@pytest.mark.parametrize("damage", [slice(0, -9), slice(0, 12), slice(4, None)])
def test_a_damaged_file_is_told_with_its_name(tmp_path, damage):
    path = tmp_path / "questions.jsonl.gz"
    path.write_bytes(gzip.compress(json.dumps(ROW).encode())[damage])
    with pytest.raises(InputError, match=r"questions\.jsonl\.gz cannot be read"):
        read_qa(path)


def test_a_flipped_byte_is_told_too(tmp_path):
    path, packed = tmp_path / "questions.jsonl.gz", bytearray(gzip.compress(json.dumps(ROW).encode()))
    packed[11] ^= 0xFF
    path.write_bytes(packed)
    with pytest.raises(InputError, match="cannot be read"):
        read_qa(path)
