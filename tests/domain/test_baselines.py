"""The baselines quote what they say they quote, and say nothing where nothing was found."""

from palier.domain.answering import Hit, Question
from palier.domain.baselines import best_overlap_sentence, first_sentence, sentences
from palier.domain.documents import Passage

TEXT = "# Opening hours\n\nWe open at noon. On **Sunday** the kitchen closes at ten.\n- Monday: closed"


def hit(name: str, text: str, bm25: float | None) -> Hit:
    return Hit(Passage(name, f"en/{name}", "en", name, "", text, 1, 1), 1.0, bm25)


def test_sentences_are_lines_and_sentences_that_hold_a_word():
    assert sentences("# Title\n\nOne. Two!\n---\n| a |") == ["# Title", "One.", "Two!", "| a |"]


def test_the_sentence_with_most_words_of_the_question_is_said_without_markup_and_cited():
    asked = Question("When does the kitchen close on Sunday?", "en")
    answer = best_overlap_sentence(asked, [hit("a", TEXT, 2.0), hit("b", "When does the kitchen close on Sunday", 1.0)])
    assert answer.text == "On Sunday the kitchen closes at ten."
    assert [citation.passage_id for citation in answer.citations] == ["a"]
    assert answer.citations[0].quote in TEXT


def test_the_first_sentence_is_that_of_the_best_bm25_hit():
    asked = Question("Anything?", "en")
    answer = first_sentence(asked, [hit("a", "Not this. Nor this.", 1.0), hit("b", TEXT, 2.0)])
    assert (answer.text, answer.citations[0].passage_id) == ("Opening hours", "b")
    assert first_sentence(asked, [hit("c", "Only dense. Yes.", None)]).text == "Only dense."


def test_without_a_hit_nothing_is_said():
    for baseline in (best_overlap_sentence, first_sentence):
        answer = baseline(Question("Anything?", "en"), [])
        assert (answer.text, answer.citations) == ("", ())
