"""Examples to read: one that breaks its form would be trained on as a question without an answer."""

from collections import Counter

import pytest

from models.training_rows import QUESTIONS, TEXTS, UNREAD, WRITTEN
from palier.adapters.reading_texts import read_texts
from palier.domain.title_split import title_split


@pytest.mark.parametrize("name", [*TEXTS, *UNREAD])
def test_texts_are_in_the_form_and_no_question_is_asked_twice(name: str) -> None:
    rows = list(read_texts(WRITTEN / name, (TEXTS | UNREAD)[name]))
    assert len({row.passage_id for row in rows}) > 100
    asked = Counter((row.passage_id, row.question) for row in rows)
    assert [question for question, n in asked.items() if n > 1] == []
    assert 0.1 < sum(not row.answerable for row in rows) / len(rows) < 0.6


def test_what_the_scorer_learns_from_is_nothing_that_a_reader_reads() -> None:
    read, unread = (
        {row.passage_id for name, lang in names.items() for row in read_texts(WRITTEN / name, lang)}
        for names in (TEXTS, UNREAD)
    )
    assert read.isdisjoint(unread)


@pytest.mark.parametrize("name", QUESTIONS)
def test_questions_about_public_passages_are_of_training_titles(name: str) -> None:
    rows = [line.split("\t") for line in (WRITTEN / name).read_text(encoding="utf-8").rstrip("\n").split("\n")]
    assert {len(row) for row in rows} == {3}
    assert {title_split(passage.rsplit("#", 1)[0]) for passage, _, _ in rows} == {"train"}
    assert len({(passage, question) for passage, question, _ in rows}) == len(rows)
