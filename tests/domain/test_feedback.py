"""What people said teaches only what a passage says too, never a test question, and no key more than its share."""

import random
from collections import Counter
from dataclasses import replace

import pytest
from feedback_pieces import RULES, TOWNS, corpus, hours, judged, rules, shop
from hypothesis import given, settings
from hypothesis import strategies as st

from palier.domain.feedback import FeedbackExample, JudgedAnswer, Sifted, sift
from palier.domain.feedback_votes import Cap, capped, key_limit
from palier.domain.golden import row_findings
from palier.domain.ledger import CACHE, GUARD
from palier.domain.near_questions import NearQuestions
from palier.domain.personal_data import redact
from palier.domain.reading_tasks import answer_spans
from palier.params import CollectFeedbackParams


def sifted(*rows: JudgedAnswer, under: CollectFeedbackParams = RULES) -> Sifted:
    return sift(rows, corpus(), under)


def only(found: Sifted) -> FeedbackExample:
    (example,) = found.examples
    return example


def reason(found: Sifted) -> str:
    assert found.examples == []
    ((why, n),) = found.dropped.items()
    assert n >= 1
    return why


def test_a_correction_becomes_an_example_in_the_passages_own_words() -> None:
    """Word for word where it stands there; else the nearest span; a row that a reader can learn from."""
    exact = only(sifted(judged("Dublin", answer="9:00", correction="13:30")))
    near = only(sifted(judged("Dublin", answer="9:00", correction="Closes 13:30 on Mondays!")))
    assert exact.answers == ("13:30",)
    assert near.answers == ("closes at 13:30 on Mondays",)
    for example in (exact, near):
        assert (example.source, example.document_id, example.passage_ids) == ("correction", "en/Dublin", ("p-Dublin",))
        assert row_findings(example) == []
        assert answer_spans(example, shop("Dublin"))[0]


@pytest.mark.parametrize("said", ["14:45", "closes at 13:45 on Mondays", "ask the manager", " ".join(["13:30"] * 61)])
def test_a_correction_that_no_passage_supports_teaches_nothing(said: str) -> None:
    """Other figures are not supported, however many words are shared."""
    assert reason(sifted(judged("Dublin", correction=said))) == "in no current passage"


def test_what_no_passage_says_is_kept_when_a_param_allows_it_but_no_reader_can_learn_it() -> None:
    """It has no passage; a thumb up on an unsupported answer stays out."""
    allowed = rules(corrections_need_passage=False)
    example = only(sifted(judged("Dublin", correction="14:45"), under=allowed))
    assert (example.answers, example.passage_ids) == (("14:45",), ())
    assert reason(sifted(judged("Dublin", answer="14:45", rating=1), under=allowed)) == "in no current passage"


def test_a_thumb_up_confirms_and_a_thumb_down_only_labels() -> None:
    """Up: the answer is learned; down: nobody knows the right one, but the scorer hears of it."""
    up, down = sifted(judged("Dublin", rating=1)), sifted(judged("Dublin", answer="9:00", rating=-1))
    assert (only(up).source, only(up).answers) == ("thumb", ("13:30",))
    assert reason(down) == "a thumb down"
    assert [label.quality for label in up.labels] == [0.8]
    assert [label.quality for label in down.labels] == [pytest.approx(0.2)]


def test_a_correction_labels_the_answer_that_it_corrects() -> None:
    """By how near that answer was to the right one."""
    (label,) = sifted(judged("Dublin", answer="9:00", rating=-1, correction="13:30")).labels
    assert (label.answer, label.quality) == ("9:00", 0.0)
    (near,) = sifted(judged("Dublin", answer="13:30 on Mondays", correction="13:30")).labels
    assert near.quality == pytest.approx(2 * 2 / (4 + 2))  # words: 13 30 on mondays, against 13 30


def test_an_i_dont_know_that_two_keys_confirm_is_learned_as_such() -> None:
    """As an unanswerable question; a correction may say it too. No passage bears it out, so one key is not enough."""
    confirmed = judged("Dublin", 1, answer="", rating=1)
    corrected = judged("Dublin", 2, key_id="key-2", correction="I don't know.")
    example = only(sifted(confirmed, corrected))
    assert (example.answerable, example.kind, example.answers, example.quote) == (False, "unanswerable", (), "")
    assert example.n_keys == 2
    for alone in (confirmed, corrected):
        again = alone.model_copy(update={"request_id": "req-again", "at": "2026-05-01T13:00:00"})
        assert reason(sifted(alone, again)) == "that nothing answers it, said by one key"


def test_heavy_answers_are_learned_when_the_scorer_believed_them() -> None:
    """Unjudged answers of cheap rungs never are."""
    heavy = judged("Dublin", is_heavy=True, score=0.9, answer="It closes at 13:30 on Mondays.")
    assert (only(sifted(heavy)).source, only(sifted(heavy)).answers) == ("heavy", ("closes at 13:30 on Mondays",))
    for row in (judged("Dublin", is_heavy=True, score=0.5), judged("Dublin", score=0.99)):
        assert reason(sifted(row)) == "not judged, and not believed"


@pytest.mark.parametrize(
    ("row", "why"),
    [
        (judged("Bath", question="when does the shop in BATH close", rating=1), "a test question"),
        (judged("Bath", question="When does the shop in Bath close today?", correction="15:30"), "a test question"),
        (judged("Bath", rating=1), "document of test questions"),
        (judged("Dublin", correction=hours("Bath"), cited=(("en/Bath", "p-Bath"),)), "document of test questions"),
        (judged("Leeds", question="When does the shop in Leeds close?", rating=1), "a validation question"),
        (judged("Leeds", rating=1), "document of validation questions"),
    ],
)
def test_nothing_of_the_test_or_validation_questions_is_learned(row: JudgedAnswer, why: str) -> None:
    """Neither the question, exactly or nearly, nor another one about its document; nor does it label."""
    found = sifted(row)
    assert reason(found) == why
    assert found.labels == []


@pytest.mark.parametrize(("town", "split"), [("Bath", "test"), ("Leeds", "validation")])
@pytest.mark.parametrize("gone", [False, True])
def test_what_is_said_of_a_held_document_is_not_learned_from_another(town: str, split: str, *, gone: bool) -> None:
    """The correction stands in Dublin's passage only: it says when another shop closes. Nor is the document forgotten
    when it is gone, or cited second."""
    passages = [shop(name) for name in TOWNS if name != town or not gone]
    both = (("en/Derby", "p-Derby"), (f"en/{town}", f"p-{town}"))
    for row in (judged(town, correction="13:30"), judged(town, correction="13:30", cited=both)):
        found = sift([row], corpus(passages), RULES)
        assert reason(found) == f"document of {split} questions"
        assert found.labels == []


def test_where_nothing_was_cited_a_held_document_that_is_likeliest_is_meant() -> None:
    """An "I don't know" cites nothing; the question names Bath, and Dublin's hour is no answer to it."""
    row = judged("Bath", answer="", cited=(), correction="13:30")
    assert reason(sifted(row)) == "document of test questions"


def test_a_correction_is_looked_for_in_what_was_cited_and_in_what_repeats_it() -> None:
    """Not in the whole corpus, where the same figures say something else, not even when what was cited is gone."""
    assert reason(sifted(judged("Derby", correction="13:30"))) == "in no current passage"
    without = [shop(town) for town in TOWNS if town != "Derby"]
    assert reason(sift([judged("Derby", correction="13:30")], corpus(without), RULES)) == "in no current passage"
    longer = replace(shop("Derby", duplicate_of="p-Derby"), passage_id="p-more", document_id="en/more")
    longer = replace(longer, text=f"{longer.text} Closed on 26 December.")
    found = sift([judged("Derby", correction="26 December")], corpus([*(shop(t) for t in TOWNS), longer]), RULES)
    assert (only(found).document_id, only(found).passage_ids) == ("en/more", ("p-more",))


def test_a_test_question_is_known_whatever_language_it_was_taken_for() -> None:
    """A short question is easily taken for French; about another document, so that only its words tell."""
    asked = {"question": "When does the shop in Bath close?", "rating": 1}
    assert reason(sifted(judged("Dublin", lang="fr", **asked))) == "a test question"


def test_a_refusal_of_the_guard_teaches_nothing() -> None:
    """It is no answer, and "right to refuse" does not mean that no document says it."""
    for said in ({"rating": 1}, {"rating": -1}, {"correction": "13:30"}):
        found = sifted(judged("Dublin", answer="", rung=GUARD, **said))
        assert reason(found) == "refused by the guard"
        assert found.labels == []


def test_a_thumb_on_a_cached_answer_whose_rung_is_not_known_labels_nothing_and_is_counted() -> None:
    """It may still teach the reader; and it takes nothing of its key's share of labels."""
    cached = [judged("Dublin", n, rung=CACHE, rating=1) for n in range(3)]
    named = [judged(town, n, rating=1) for n, town in enumerate(("Derby", "Luton"))]
    found = sift([*cached, *named], corpus(), rules(free_key_rows=2))
    assert [label.rung for label in found.labels] == ["reader", "reader"]
    assert found.dropped["label of a cached answer whose rung is not known"] == 3
    assert "en/Dublin" in {example.document_id for example in sifted(*cached).examples}


def test_a_passage_that_repeats_a_test_passage_stays_test_too() -> None:
    """Elsewhere, under another document: the same words would be learned."""
    copied = replace(shop("Bath"), passage_id="p-copy", document_id="en/copy", duplicate_of="p-Bath")
    passages = [*(shop(town) for town in TOWNS), copied]
    row = judged("Bath", rating=1, cited=(("en/copy", "p-copy"),))
    assert reason(sift([row], corpus(passages), RULES)) == "document of test questions"


def test_an_answer_that_contradicts_a_golden_one_is_dropped() -> None:
    """A golden training question says what is right; agreeing with it is nothing new."""
    asked = "When does the shop in York close?"
    assert reason(sifted(judged("York", question=asked, correction="9:00"))) == "contradicts a golden answer"
    assert reason(sifted(judged("York", question=asked, correction="10:30"))) == "a golden question already"
    assert reason(sifted(judged("York", question=asked, answer="9:00", rating=-1))) == "a golden question already"
    near = "When does the shop in York close today?"
    assert reason(sifted(judged("York", question=near, correction="9:00"))) == "contradicts a golden answer"


def test_documents_are_split_as_a_whole() -> None:
    """All rows of one document are on one side, whatever their questions; with 50 % some are on either side."""
    asked = ["What time may I leave my dog in {}?", "Until when can one buy bread at {}?", "{} last orders when?"]
    rows = [judged(town, n, question=q.format(town), rating=1) for town in TOWNS for n, q in enumerate(asked)]
    found = sift(rows, corpus(validation_percent=50), RULES).examples
    assert len(found) == 20  # of the seven free towns; one key's limit
    sides = {(example.document_id, example.split) for example in found}
    assert len(sides) == len({document for document, _ in sides})
    assert {split for _, split in sides} == {"train", "validation"}


def test_the_same_question_is_learned_once() -> None:
    """Exactly, in other spelling, or nearly; another town is another question."""
    rows = [
        judged("Dublin", 1, rating=1, key_id="key-1"),
        judged("Dublin", 2, rating=1, key_id="key-2", question="at what hour do the DUBLIN staff lock up on mondays"),
        judged("Dublin", 3, rating=1, key_id="key-3", question="At what hour do Dublin staff lock up Mondays, please?"),
        judged("Derby", 4, rating=1),
    ]
    found = sifted(*rows)
    assert [(example.document_id, example.n_keys) for example in found.examples] == [("en/Dublin", 3), ("en/Derby", 1)]
    assert found.dropped == Counter({"said already": 2})


def test_where_people_disagree_the_majority_is_believed_and_a_tie_teaches_nothing() -> None:
    """One voice a key, its last; a thumb down is a voice against; a heavy rung's word counts for none."""
    wrong = judged("Dublin", 1, key_id="key-1", correction="9:00")
    right = judged("Dublin", 2, key_id="key-2", correction="13:30")
    also = judged("Dublin", 3, key_id="key-3", rating=1)
    heavy = judged("Dublin", 4, key_id="key-4", is_heavy=True, score=0.9, answer="9:00")
    assert reason(sifted(wrong, right)) == "people disagree"
    assert only(sifted(wrong, right, also)).answers == ("13:30",)
    assert only(sifted(right, heavy)).answers == ("13:30",)
    changed_mind = judged("Dublin", 5, key_id="key-1", correction="13:30")
    assert only(sifted(wrong, right, changed_mind)).n_keys == 2
    against = judged("Dublin", 6, key_id="key-5", answer="9:00", rating=-1)
    assert sifted(wrong, against).examples == []


def test_heavy_answers_count_only_where_no_person_spoke() -> None:
    """Neither the answer that its own key's correction was about, given again, nor many of them, overrule a person."""
    wrong = {"answer": "9:00", "rung": "heavy", "is_heavy": True, "score": 0.9}
    corrected = judged("Dublin", 0, correction="13:30", **wrong)
    again = judged("Dublin", 1, **wrong)
    others = [judged("Dublin", n, key_id=f"key-{n}", **wrong) for n in range(2, 6)]
    assert only(sifted(corrected, again)).answers == ("13:30",)
    assert only(sifted(corrected, again, *others)).answers == ("13:30",)
    assert only(sifted(again, *others)).answers == ("9:00",)
    assert sifted(again, *others, judged("Dublin", 9, key_id="key-9", answer="9:00", rating=-1)).examples == []


def test_a_thumb_down_on_another_answer_leaves_the_keys_own_correction() -> None:
    """It agrees with it; one on the corrected answer takes it back. Both are one voice: another key still ties."""
    corrected = judged("Dublin", 0, answer="9:00", correction="13:30")
    down = judged("Dublin", 1, answer="9:00", rating=-1)
    assert only(sifted(corrected, down)).answers == ("13:30",)
    assert sifted(corrected, down, judged("Dublin", 2, answer="13:30", rating=-1)).examples == []
    assert sifted(corrected, down, judged("Dublin", 3, key_id="key-2", answer="9:00", rating=1)).examples == []


def test_many_wrong_corrections_by_one_key_are_capped() -> None:
    """Ten honest keys and one that shouts: it teaches no more than it always may, or its share."""
    asked, bad = "Closing of Dublin, route {}?", {"key_id": "key-bad", "correction": "9:00"}
    honest = [judged("Dublin", n, key_id=f"key-{n}", question=asked.format(n), rating=1) for n in range(10)]
    shouting = [judged("Derby", n, question=f"Derby, item {n}, closes?", **bad) for n in range(60)]
    found = sift([*honest, *shouting], corpus(), rules(free_key_rows=1))
    wrong = [example for example in found.examples if example.document_id == "en/Derby"]
    assert len(wrong) == 1
    assert len(found.examples) == 11
    assert found.dropped["more than the key's share"] == 59
    assert len(found.labels) == 11


def test_a_busy_key_takes_nothing_that_another_one_says_too() -> None:
    """What two keys say counts for the quieter one, within whose share it is."""
    asked = "Closing of Dublin, route {}?"
    busy = [judged("Dublin", n, question=asked.format(n), rating=1) for n in range(30)]
    quiet = [judged("Dublin", 30 + n, question=asked.format(n), rating=1, key_id="key-2") for n in range(3)]
    found = sift([*busy, *quiet], corpus(), rules(free_key_rows=5))
    assert Counter(example.n_keys for example in found.examples) == {1: 5, 2: 3}


def test_a_keys_last_thumb_is_its_label_however_often_it_thumbed_before() -> None:
    """The cap counts what a key judged, not how often."""
    thumbs = [judged("Dublin", n, rating=1) for n in range(30)]
    (label,) = sift([*thumbs, judged("Dublin", 30, rating=-1)], corpus(), rules(free_key_rows=1)).labels
    assert label.quality == pytest.approx(1 - RULES.thumb_trust)


def test_a_question_that_all_ask_is_found_soon() -> None:
    """It is compared with itself once, not with each time that it was asked: that took hours."""
    asked = NearQuestions((), 0.8)
    for n in range(20_000):
        assert asked.find("When does the shop close?", "en") == ("0" if n else None)
        asked.add(str(n), "When does the SHOP close", "en")
    assert asked.find("When does the shop really close?", "en") == "0"


def test_personal_data_in_an_answer_drops_the_row_and_in_a_question_leaves_a_placeholder() -> None:
    """What was taken out of an answer cannot be learned."""
    answer, question = redact("Call 06 12 34 56 78").text, redact("I am a@b.fr, when does Dublin lock up?").text
    assert reason(sifted(judged("Dublin", correction=answer))) == "personal data in the answer"
    assert only(sifted(judged("Dublin", question=question, rating=1))).question.startswith("I am [e-mail], ")


def test_lists_are_learned_as_lists() -> None:
    """Items that follow each other in the passage."""
    listed = replace(shop("Poole"), text="- ham\n- eggs\n- peas\n- oil")
    passages = [*(shop(town) for town in TOWNS if town != "Poole"), listed]
    found = sift([judged("Poole", correction="ham; eggs; peas")], corpus(passages), RULES)
    assert (only(found).kind, only(found).answers) == ("list", ("ham; eggs; peas",))
    assert row_findings(only(found)) == []


def test_order_does_not_matter_and_the_corpus_may_be_empty() -> None:
    """The same rows give the same version; without passages there is nothing to learn."""
    rows = [judged(town, n, rating=1, key_id=f"key-{n}") for n, town in enumerate(TOWNS)]
    shuffled = random.Random(7).sample(rows, len(rows))
    assert sifted(*rows) == sifted(*shuffled)
    assert len(sifted(*rows).examples) == 8  # all but Leeds and Bath, which measure
    assert sift(rows, corpus([]), RULES).examples == []
    assert sifted().examples == []


@settings(deadline=None)
@given(
    st.lists(st.sampled_from("abcdefghijkl"), max_size=120),
    st.sampled_from([0.05, 0.1, 0.3, 1.0]),
    st.integers(1, 50),
    st.integers(0, 10),
)
def test_no_key_gives_more_than_its_share(keys: list[str], share: float, most: int, free: int) -> None:
    """Its share of what remains, or what it always may; nobody else loses a row, and the limit is the largest."""
    rows = list(enumerate(keys))
    kept = capped(rows, Cap(share, most, free), lambda row: row[1], lambda row: str(row[0]))
    before, after = Counter(keys), Counter(key for _, key in kept)
    limit = key_limit(before, Cap(share, most, free))
    assert after == Counter({key: min(n, limit) for key, n in before.items() if limit})
    assert kept == [row for row in rows if row in kept]
    assert limit <= most
    for n in after.values():
        assert n <= max(free, share * len(kept) + 1e-6)
