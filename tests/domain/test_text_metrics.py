"""Answers are compared as people would compare them: words count, their dress does not."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from palier.domain.text_metrics import (
    best_exact_match,
    best_f1,
    exact_match,
    no_answer_f1,
    normal,
    repetition_rate,
    token_f1,
)


@pytest.mark.parametrize(
    ("said", "wanted", "lang"),
    [
        ("The oven", "oven!", "en"),
        ("l’Auberge", "auberge", "fr"),
        ("les boulettes de viande", "Boulettes de viande", "fr"),
        ("a été rejete", "à ete rejeté", "fr"),
        ("until 23:30", "until  23:30.", "en"),
        ("« Braise Club »", "Braise Club", "fr"),
    ],
)
def test_dress_does_not_count(said: str, wanted: str, lang: str) -> None:
    """Case, articles, accents, quotes and spaces are not part of an answer."""
    assert exact_match(said, wanted, lang) == 1.0


@pytest.mark.parametrize(("said", "wanted"), [("12.90", "1290"), ("12.90", "12.09"), ("1,5", "15")])
def test_numbers_keep_their_point(said: str, wanted: str) -> None:
    """A price is not another price because a point was dropped."""
    assert exact_match(said, wanted, "en") == 0.0


def test_decimal_comma_and_point_are_the_same() -> None:
    """12,90 in French is 12.90 in English."""
    assert exact_match("12,90 €", "12.90 €", "fr") == 1.0


def test_articles_are_those_of_the_language() -> None:
    """ "les" is a word in English and "the" is one in French."""
    assert normal("the les", "en") == "les"
    assert normal("the les", "fr") == "the"


def test_f1_counts_shared_words_once_each() -> None:
    """2 of 3 said words and 2 of 4 wanted ones: precision 2/3, recall 1/2, F1 4/7."""
    assert token_f1("red hot oven", "hot oven of stone", "en") == pytest.approx(4 / 7)
    assert token_f1("oven oven", "oven", "en") == pytest.approx(2 / 3)


def test_best_takes_the_nearest_reference() -> None:
    """Further references can only help."""
    assert best_f1("100", ["100 points", "100"], "en") == 1.0
    assert best_exact_match("100", ["100 points"], "en") == 0.0
    with pytest.raises(ValueError, match="No reference"):
        best_f1("100", [], "en")


def test_no_answer_f1_punishes_both_errors() -> None:
    """One right abstention, one wrong, one missed: precision and recall are one half."""
    assert no_answer_f1([True, True, False, False], [True, False, True, False]) == pytest.approx(0.5)
    assert no_answer_f1([False], [False]) == 1.0


@given(st.text(max_size=30), st.text(max_size=30), st.sampled_from(["en", "fr"]))
def test_f1_is_a_symmetric_share(left: str, right: str, lang: str) -> None:
    """F1 is between 0 and 1, the same both ways, and 1 for a text and itself."""
    assert 0.0 <= token_f1(left, right, lang) <= 1.0
    assert token_f1(left, right, lang) == token_f1(right, left, lang)
    assert token_f1(left, left, lang) == 1.0


@given(st.text(max_size=40), st.sampled_from(["en", "fr"]))
def test_normal_is_settled(text: str, lang: str) -> None:
    """What is normal has no surplus space and does not grow."""
    once = normal(text, lang)
    assert once == " ".join(once.split())


def test_repetition_is_the_share_of_n_grams_that_were_said_before():
    assert repetition_rate("a b c d e") == 0.0
    assert repetition_rate("no no no no no") == pytest.approx(2 / 3)
    assert repetition_rate("Yes it is yes it is") == pytest.approx(1 / 4)
    assert repetition_rate("two words") == repetition_rate("") == 0.0
