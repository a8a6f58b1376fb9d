"""Golden questions become exercises whose target stands in the evidence under the mark that it cites."""

import re

import numpy as np
import pytest

from palier.domain.documents import Passage
from palier.domain.evidence import Pointed
from palier.domain.golden import GoldenQuestion
from palier.domain.prompting import DONT_KNOW
from palier.domain.reading_tasks import Lookalikes
from palier.domain.writing_tasks import Asked, WritingTask, answered_task, golden_tasks, silent_task

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


def made(seed: int, *rows: GoldenQuestion, max_words: int = 60) -> list[WritingTask]:
    lookalikes = Lookalikes(list(PASSAGES.values()))
    return golden_tasks(rows, PASSAGES, lookalikes, max_words, np.random.default_rng(seed))


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
    task = answered_task(asked, contents, [Pointed(1, start, start + 5)], 60, np.random.default_rng(0))
    assert task is not None
    assert task.evidence[int(task.target[-2]) - 1].startswith("Hours")


def test_without_passages_there_is_nothing_to_be_silent_about():
    assert silent_task(Asked("Why?", "en"), [], 60) is None
