"""What can be seen in a text: final answers and whether they agree, numbers of an answer, hashed words."""

import numpy as np
import pytest

from palier.domain.beliefs.texts import (
    N_ANSWER_FEATURES,
    agree,
    agreement_matrix,
    answer_features,
    final_answer,
    word_counts,
)


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("Let us add. The answer is (C).", "so it must be that\nThe answer is C. 42 apples", True),
        ("The answer is (A).", "The answer is (B).", False),
        ("3 x 6 = 18.\n#### 18", "She makes 9 * 2 = $18.", True),
        ("#### 18", "She makes 17 dollars.", False),
        (r"Hence \boxed{7}", "The final answer: 7.0", True),
        ("The answer is the mitochondria.", "Answer: Mitochondria", True),
        ("This breaks off because the", "This breaks off because the", False),
        ("", "", False),
    ],
)
def test_final_answers_are_compared_by_what_they_say(one: str, other: str, same: bool) -> None:
    """Letters, numbers, boxes and words agree when they mean the same; an answer that breaks off agrees with none."""
    assert agree(final_answer(one), final_answer(other)) is same


def test_silence_is_neither_agreement_nor_disagreement() -> None:
    """An answer without an end stands half-way between same and different."""
    same = agreement_matrix([[final_answer("The answer is 4."), final_answer("4."), final_answer("")]])
    assert same[0].tolist() == [[1.0, 1.0, 0.5], [1.0, 1.0, 0.5], [0.5, 0.5, 1.0]]


def test_answer_features_have_one_length() -> None:
    """Empty, short and long answers give vectors of the same length, all finite."""
    for answer in ("", "7", "First, 2 + 2 = 4. However, perhaps not.\n" * 50):
        found = answer_features("What is 2 + 2?", answer)
        assert len(found) == N_ANSWER_FEATURES
        assert np.isfinite(found).all()


def test_words_are_counted_once_and_in_pairs() -> None:
    """Each word and each pair of neighbours has one place, however often it stands in the text."""
    counts = word_counts(["Deux pains, deux pains", "deux pains", "pains deux", ""], 2**16)
    assert counts.shape == (4, 2**16)
    assert counts.sum(axis=1).ravel().tolist()[0] == [4, 3, 3, 0]  # the first has "pains deux" as well
    assert counts.max() == 1
    assert len(set(counts[1].indices) & set(counts[2].indices)) == 2  # the words, not the pairs
