"""Which questions a rung is tried on, and when it is left out."""

import pytest

from palier.domain.answering import AskedQuestion, Question
from palier.domain.documents import Lang
from palier.domain.probation import on_probation, reason_to_leave_out


def asked(row_id: str, lang: Lang, split: str = "validation") -> AskedQuestion:
    return AskedQuestion({"id": row_id, "split": split}, Question("Why?", lang), ())


def test_each_language_is_tried_on_its_own_validation_questions_whatever_their_order():
    rows = [asked(f"q{n}", lang, split) for n in range(30) for lang in ("en", "fr") for split in ("validation", "test")]
    chosen = on_probation(rows, "fr", 5)
    assert len(chosen) == 5
    assert {item.question.lang for item in chosen} == {"fr"}
    assert {item.row["split"] for item in chosen} == {"validation"}
    again = on_probation(rows[::-1], "fr", 5)
    assert [item.row["id"] for item in again] == [item.row["id"] for item in chosen]


def test_only_a_rung_that_cannot_reach_the_bound_is_left_out_and_the_reason_has_figures():
    assert reason_to_leave_out([0.3, 0.2, 0.4], 0.25) is None
    assert reason_to_leave_out([0.0, 1.0, 0.0, 0.0, 0.0], 0.25) is None, "0.2 on five questions may be 0.5"
    reason = reason_to_leave_out([0.0] * 19 + [0.1], 0.25)
    assert reason is not None
    assert "20 questions" in reason
    assert "< 0.25" in reason


@pytest.mark.parametrize("n", [1, 2, 3, 5])
def test_a_few_wrong_answers_in_a_row_are_no_proof(n):
    """A rung that is right in 35 % of all cases fails five questions running in one language of eight."""
    assert reason_to_leave_out([0.0] * n, 0.35) is None
    assert reason_to_leave_out([0.0] * 8, 0.35) is not None


def test_without_a_question_there_is_no_reason():
    assert reason_to_leave_out([], 0.25) is None
