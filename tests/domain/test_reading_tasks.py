"""Golden questions become exercises whose marked answers stand where the quote says."""

from palier.domain.documents import Passage
from palier.domain.golden import GoldenQuestion
from palier.domain.reading_tasks import Lookalikes, answer_spans, training_tasks
from palier.domain.title_split import title_split

HOURS = Passage(
    "a", "en/hours", "en", "Hours", "", "Leeds closes at 22:00.\n\nYork closes at 22:00, the bar at 23:00.", 1, 3
)
TOPPINGS = Passage("b", "en/menu", "en", "Menu", "Extras", "- ham\n- olives\n- capers", 1, 3)
FRENCH = Passage("c", "fr/heures", "fr", "Horaires", "", "York ferme à 22:00.", 1, 1)


def _row(**changes: object) -> GoldenQuestion:
    fields: dict[str, object] = {
        "id": "1",
        "lang": "en",
        "question": "When does York close?",
        "answers": ("22:00",),
        "document_id": "en/hours",
        "quote": "York closes at 22:00, the bar at 23:00.",
        "answerable": True,
        "kind": "fact",
        "split": "train",
        "passage_ids": ("a",),
    }
    return GoldenQuestion.model_validate(fields | changes)


def test_the_answer_in_the_quote_is_marked_and_no_other() -> None:
    """22:00 stands twice; only York's is right."""
    spans, is_block = answer_spans(_row(), HOURS)
    assert [HOURS.content[start - 10 : end] for start, end in spans] == ["closes at 22:00"]
    assert spans[0][0] > HOURS.content.index("York")
    assert not is_block


def test_a_list_is_one_block_from_first_to_last_item() -> None:
    """All items, in order, over several lines."""
    row = _row(kind="list", answers=("ham; olives; capers",), quote="- ham\n- olives\n- capers", passage_ids=("b",))
    spans, is_block = answer_spans(row, TOPPINGS)
    assert TOPPINGS.content[slice(*spans[0])] == "ham\n- olives\n- capers"
    assert is_block


def test_two_near_facts_are_one_span() -> None:
    """Both facts of a sentence are read in one go."""
    spans, _ = answer_spans(_row(kind="two_facts", answers=("22:00; 23:00",)), HOURS)
    assert HOURS.content[slice(*spans[-1])].endswith("22:00, the bar at 23:00")


def test_negatives_never_hold_the_answer_or_another_language() -> None:
    """A passage with the answer, or one in French, is no counter-example to an English question."""
    passages = {p.passage_id: p for p in (HOURS, TOPPINGS, FRENCH)}
    tasks = training_tasks([_row()], passages, Lookalikes(list(passages.values())), negatives=5)
    assert [task.content for task in tasks if not task.spans] == [TOPPINGS.content]


def test_unanswerable_rows_train_silence() -> None:
    """Every exercise of an unanswerable question is one without an answer."""
    row = _row(answers=(), quote="", answerable=False, kind="unanswerable", passage_ids=())
    tasks = training_tasks([row], {"a": HOURS, "b": TOPPINGS}, Lookalikes([HOURS, TOPPINGS]), negatives=1)
    assert len(tasks) == 2
    assert not any(task.spans for task in tasks)


def test_title_split_is_settled_and_has_all_parts() -> None:
    """The same title is always on the same side, however it is written; shares are as said."""
    assert title_split("Steam_engine") == title_split(" steam engine ")
    parts = [title_split(f"title {number}") for number in range(4000)]
    assert 0.05 < parts.count("test") / 4000 < 0.09
    assert 0.04 < parts.count("validation") / 4000 < 0.08
