"""Golden questions become exercises whose target stands in the evidence under the mark that it cites."""

import re
from collections import Counter

import numpy as np
import pytest

from palier.domain.documents import Passage
from palier.domain.evidence import EVIDENCE_TOKENS, Pointed, about_tokens, point_by_words
from palier.domain.golden import GoldenQuestion
from palier.domain.prompting import DONT_KNOW
from palier.domain.reading_tasks import Lookalikes
from palier.domain.writing_tasks import Asked, Exercises, WritingTask, exam_task, golden_tasks

HOURS = Passage("a", "en/hours", "en", "Hours", "", "Leeds closes at 22:00. York closes at 23:00.", 1, 1)
TOPPINGS = Passage("b", "en/menu", "en", "Menu", "Extras", "- ham\n- olives\n- capers", 1, 3)
FRENCH = Passage("c", "fr/heures", "fr", "Horaires", "", "York ferme à 23 h. Lyon ferme à minuit.", 1, 1)
PASSAGES = {passage.passage_id: passage for passage in (HOURS, TOPPINGS, FRENCH)}
SEEDS = range(20)


def row(**changes: object) -> GoldenQuestion:
    fields: dict[str, object] = {
        "id": "1",
        "lang": "en",
        "question": "When does York close?",
        "answers": ("23:00",),
        "document_id": "en/hours",
        "quote": "York closes at 23:00.",
        "answerable": True,
        "kind": "fact",
        "split": "train",
        "passage_ids": ("a",),
    }
    return GoldenQuestion.model_validate(fields | changes)


def times(question, contents):
    """Points to every time of a clock, the last one first, as a reader would."""
    found = [(i, match) for i, text in enumerate(contents) for match in re.finditer(r"\d\d:\d\d", text)]
    return [Pointed(i, match.start(), match.end(), match.group()) for i, match in reversed(found)]


def exercises(seed: int, point=point_by_words, max_words: int = 60) -> Exercises:
    return Exercises(point, max_words, np.random.default_rng(seed))


def made(seed: int, *rows: GoldenQuestion, max_words: int = 60) -> list[WritingTask]:
    lookalikes = Lookalikes(list(PASSAGES.values()))
    return golden_tasks(rows, PASSAGES, lookalikes, exercises(seed, max_words=max_words))


@pytest.mark.parametrize("seed", SEEDS)
def test_a_target_cites_the_evidence_that_holds_it(seed):
    """Whatever else is pointed to and in whatever order."""
    answered = [task for task in made(seed, row()) if task.target != DONT_KNOW["en"]]
    (task,) = answered
    answer, mark = re.fullmatch(r"(.*) \[(\d)\]", task.target).groups()
    assert answer == "23:00"
    assert "York closes at 23:00." in task.evidence[int(mark) - 1]


@pytest.mark.parametrize("seed", SEEDS)
def test_answerable_questions_also_teach_silence_but_only_beside_passages_without_their_answer(seed):
    for task in made(seed, row()):
        assert (task.target == DONT_KNOW["en"]) == (not task.answers)
        if not task.answers:
            assert "23:00" not in " ".join(task.evidence)


def test_some_answerable_questions_teach_silence_and_most_do_not():
    counts = [sum(not task.answers for task in made(seed, row())) for seed in range(100)]
    assert 5 < sum(counts) < 40


def test_a_question_without_an_answer_teaches_silence_in_its_language():
    tasks = made(1, row(lang="fr", question="Quand ferme Nice ?", answers=(), quote="", answerable=False,
                        kind="unanswerable", passage_ids=(), document_id="fr/heures"))  # fmt: skip
    assert [task.target for task in tasks] == ["Je ne sais pas."]
    assert tasks[0].messages()[0]["content"].endswith("Je ne sais pas.")


def test_all_items_of_a_list_are_written():
    listed = row(kind="list", answers=("ham; olives; capers",), quote="- ham\n- olives\n- capers", passage_ids=("b",))
    assert "ham; olives; capers [1]" in {task.target for task in made(3, listed)}


def test_an_answer_that_the_cut_evidence_lost_is_no_exercise():
    """A list that is too long to be read must not be recited."""
    listed = row(kind="list", answers=("ham; olives; capers",), quote="- ham\n- olives\n- capers", passage_ids=("b",))
    assert [task for task in made(3, listed, max_words=3) if task.answers] == []


def test_the_right_passage_is_cited_where_it_comes_second():
    contents = [TOPPINGS.content, HOURS.content]
    start = HOURS.content.index("23:00")
    asked = Asked("When does York close?", "en", ("23:00",))
    task = exercises(0).answered(asked, contents, [Pointed(1, start, start + 5)])
    assert task is not None
    assert task.evidence[int(task.target[-2]) - 1].startswith("Hours")


def test_without_passages_there_is_nothing_to_be_silent_about():
    assert exercises(0).silent(Asked("Why?", "en"), []) is None


def test_an_exam_asks_with_no_more_than_is_read_when_answering():
    """Eighty words of a price list are 400 tokens."""
    prices = " ".join(f"{number}.99" for number in range(100, 300))
    task = exam_task(Asked("When does York close?", "en"), [prices], point_by_words, 80)
    assert 0 < sum(map(about_tokens, task.evidence)) <= EVIDENCE_TOKENS


def test_what_a_reader_would_say_is_suggested_and_at_times_taken_away():
    """All of it in most exercises, without the best one or nothing at all in some; an exam always hears all."""
    start = HOURS.content.index("23:00")
    asked = Asked("When does York close?", "en", ("23:00",))
    tasks = [
        exercises(seed, times).answered(asked, [HOURS.content], [Pointed(0, start, start + 5)]) for seed in range(200)
    ]
    counts = Counter(task.suggested for task in tasks)
    assert counts.keys() == {("23:00 [1]", "22:00 [1]"), ("22:00 [1]",), ()}
    assert 120 < counts["23:00 [1]", "22:00 [1]"] < 160
    assert counts["22:00 [1]",] > counts[()] > 8
    assert {task.target for task in tasks} == {"23:00 [1]"}
    exam = exam_task(asked, [HOURS.content], times, 60)
    assert exam.suggested == ("23:00 [1]", "22:00 [1]")
    assert exam.messages()[-1]["content"].endswith("\nPerhaps: 23:00 [1] | 22:00 [1]")


def test_silence_is_learnt_beside_suggestions_too():
    asked = Asked("When does Bath close?", "en", ("20:00",))
    tasks = [exercises(seed, times).silent(asked, [HOURS.content]) for seed in range(20)]
    assert {(task.target, task.answers) for task in tasks} == {(DONT_KNOW["en"], ())}
    assert any(task.suggested for task in tasks)
