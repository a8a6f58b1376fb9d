"""The words of a question that carry its subject."""

import pytest

from palier.domain.words import content_words, stems


@pytest.mark.parametrize(
    ("question", "words"),
    [
        ("Que contient l'entrée de l'entreprise à Montréal ?", {"conti", "entre", "montr"}),
        ("Quelles données l'entreprise conserve-t-elle ?", {"donne", "entre", "conse"}),
        ("Combien coûte le maïs, mais pas plus ?", {"coute", "mais"}),
        ("Which 24 things would please there?", {"24", "thing"}),
        ("Des œufs au cœur de l'été ?", {"oeufs", "coeur"}),
        ("Êtes-vous ouverts entre 12 et 14 h ?", {"ouver", "12", "14"}),
    ],
)
def test_question_words_are_left_out_and_words_that_begin_like_them_stay(question: str, words: set[str]) -> None:
    assert content_words(question) == words
    assert words <= stems(question)
