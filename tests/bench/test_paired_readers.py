"""Two readers are compared question by question: what is hard for both is no difference between them."""

import numpy as np

from bench.paired_readers import Exercise, compared, gold_exercises, quality_of, quality_of_claim
from palier.adapters.qa_rows import QaRow
from palier.domain.answering import Citation, Question, RungAnswer
from palier.domain.documents import Lang
from palier.domain.title_split import title_split

NOWHERE = Citation("p", "d", "")


def exercise(lang: Lang, *answers: str) -> Exercise:
    return Exercise(Question("When?", lang), (), answers)


def said(text: str) -> RungAnswer:
    return RungAnswer("reader", text)


def withheld(text: str) -> RungAnswer:
    return RungAnswer("reader", "", withheld=(text, NOWHERE))


def test_a_reader_beside_itself_changes_nothing_whatever_is_drawn() -> None:
    exercises = [exercise("en", "at noon"), exercise("fr", "à midi"), exercise("en")]
    answers = [said("noon"), said("jeudi"), said("")]
    found = compared(exercises, {"starter": answers, "tuned": answers}, np.random.default_rng(1))
    assert set(found) == {"all", "en", "fr"}
    for part in found.values():
        for measure in part.values():
            assert measure["change"]["value"] == measure["change"]["low"] == measure["change"]["high"] == 0.0


def test_a_threshold_takes_what_was_withheld_from_f1_and_gives_to_quality_where_there_is_no_answer() -> None:
    exercises = [exercise("en", "noon"), exercise("en")]
    bold, shy = [said("noon"), said("noon")], [withheld("noon"), withheld("noon")]
    found = compared(exercises, {"bold": bold, "shy": shy}, np.random.default_rng(1))["all"]
    assert (found["f1"]["bold"]["value"], found["f1"]["shy"]["value"]) == (1.0, 0.0)
    assert found["f1_without_threshold"]["change"]["value"] == 0.0
    assert (found["quality"]["bold"]["value"], found["quality"]["shy"]["value"]) == (0.5, 0.5)
    assert (found["f1"]["bold"]["n"], found["quality"]["bold"]["n"]) == (1, 2)


def test_what_was_withheld_is_judged_as_a_claim_not_as_silence() -> None:
    """A right silence is no right claim: a verifier that doubts what was withheld there is right."""
    no_answer, withheld_well = exercise("en"), withheld("noon")
    assert (quality_of(no_answer, withheld_well), quality_of_claim(no_answer, withheld_well)) == (1.0, 0.0)
    answerable, withheld_badly = exercise("en", "noon"), withheld("noon")
    assert (quality_of(answerable, withheld_badly), quality_of_claim(answerable, withheld_badly)) == (0.0, 1.0)


def test_only_questions_of_the_named_articles_are_exercises_each_beside_its_own_passage() -> None:
    titles = [f"Bakery {number}" for number in range(200)]
    rows = [
        QaRow(f"q{i}", "en", title, f"p{i}", f"{title} opened in 19{i:02}.", "When?", (f"19{i:02}",), answerable=True)
        for i, title in enumerate(titles)
    ]
    found = gold_exercises(rows, "test", 5, np.random.default_rng(1))
    assert len(found) == 5
    assert all(title_split(item.hits[0].passage.title) == "test" for item in found)
    assert all(item.answers[0] in item.hits[0].passage.text for item in found)
    assert len(gold_exercises(rows, "all", None, np.random.default_rng(1))) == 200, "a stranger's file as a whole"
