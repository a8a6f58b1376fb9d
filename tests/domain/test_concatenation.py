"""Several questions in one prompt, and their answers out of one reply."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from palier.domain.concatenation import joined, shared_cost, taken_apart

LINES = st.text("abc xyz", min_size=1, max_size=12).map(lambda text: f"q{text}q")


def test_questions_are_numbered_one_a_line():
    assert joined(["When?", "Where\nto?"]).split("\n")[1:] == ["1) When?", "2) Where to?"]


@pytest.mark.parametrize(
    ("reply", "answers"),
    [
        ("1) At noon.\n2) Lausanne.", ["At noon.", "Lausanne."]),
        ("**1.** At noon\n**2.** Lausanne", ["At noon", "Lausanne"]),
        ("Sure:\n1: At noon.\n\n2: In two lines:\nLausanne.", ["At noon.", "In two lines:\nLausanne."]),
        ("2) Lausanne.", [None, "Lausanne."]),
        ("At noon, in Lausanne.", [None, None]),
        ("1) Flour:\n1. white\n2) Lausanne.", ["Flour:\n1. white", "Lausanne."]),
        ("1) \n2) Lausanne.\n3) More.", [None, "Lausanne.\n3) More."]),
    ],
)
def test_a_reply_is_taken_apart_by_rising_numbers(reply, answers):
    assert taken_apart(reply, 2) == answers


@given(st.lists(LINES, min_size=1, max_size=9))
def test_what_was_joined_by_numbers_comes_apart_again(texts):
    reply = "\n".join(f"{n}) {text}" for n, text in enumerate(texts, 1))
    assert taken_apart(reply, len(texts)) == [text.strip() for text in texts]


@given(st.integers(0, 10**12), st.integers(1, 50))
def test_shares_of_a_cost_add_up_to_it(total, n):
    parts = shared_cost(total, n)
    assert sum(parts) == total
    assert max(parts) - min(parts) <= 1
