"""What a model is told, and how its reply becomes an answer with citations or an "I don't know"."""

import re

import pytest
from ask_pieces import hit
from hypothesis import given
from hypothesis import strategies as st

from palier.domain.answering import Question, Turn
from palier.domain.prompting import DONT_KNOW, best_sentence, messages, read_reply

HITS = [
    hit("The Margherita is £9. It is vegetarian.", "menu"),
    hit("We open at noon.\nOn Sunday we close at 22:30.", "hours"),
]
SPACES = st.text(" \n\t", min_size=1, max_size=3)
TEXTS = st.lists(st.tuples(st.text("abcxyz-", min_size=1, max_size=6), SPACES), max_size=60).map(
    lambda pairs: "".join(word + space for word, space in pairs)
)


def test_instructions_come_first_then_the_conversation_then_numbered_passages_with_the_question_last():
    history = (Turn("user", "Hello"), Turn("assistant", "Hi"))
    chat = messages("Be brief.", Question("When do you open?", "en", history), HITS)
    assert [message["role"] for message in chat] == ["system", "user", "assistant", "user"]
    assert chat[0]["content"] == "Be brief."
    assert chat[-1]["content"].startswith("[1] Menu\nThe Margherita")
    assert "[2] Hours\nWe open at noon.\nOn Sunday" in chat[-1]["content"]
    assert chat[-1]["content"].endswith("\n\nWhen do you open?")


def test_without_passages_the_question_stands_alone():
    assert messages("p", Question("Why?", "en"), [])[-1] == {"role": "user", "content": "Why?"}


@given(st.lists(TEXTS, min_size=1, max_size=4), st.integers(0, 40))
def test_the_passages_together_never_have_more_words_than_allowed_however_they_are_spaced(texts, max_words):
    chat = messages("p", Question("QUESTION", "en"), [hit(text) for text in texts], max_words)
    evidence = re.sub(r"\[\d\] ", "", chat[-1]["content"].removesuffix("QUESTION"))
    assert len(evidence.split()) <= max_words


@given(st.lists(TEXTS, min_size=1, max_size=4))
def test_with_room_enough_each_passage_is_given_word_for_word(texts):
    hits = [hit(text) for text in texts]
    evidence = messages("p", Question("Q", "en"), hits, 10_000)[-1]["content"]
    assert all(f"[{n}] {item.passage.content.rstrip()}" in evidence for n, item in enumerate(hits, 1))


@pytest.mark.parametrize(
    "reply",
    [
        *DONT_KNOW.values(),
        "I do not know",
        "i don’t know [1]",
        "Je ne sais pas, désolé.",
        "Sorry, I can't.",
        "I'm sorry, but I don't know.",
        "Désolé, je ne sais pas.",
        "Je suis désolée, mais je ne peux pas répondre à cette question.",
        "Non précisé dans les passages.",
        "",
        "[1]",
    ],
)
def test_a_reply_that_does_not_know_is_no_answer_and_cites_nothing(reply):
    assert read_reply(reply, HITS) == ("", ())


@pytest.mark.parametrize(
    "reply", ["You can know more by phone.", "Knowing it takes £9.", "Sorry, it is closed.", "Désolé, c'est fermé."]
)
def test_a_reply_that_only_resembles_not_knowing_is_an_answer(reply):
    assert read_reply(reply, HITS)[0] == reply


def test_marks_are_taken_off_the_answer_and_name_its_passages_once_each_in_order():
    text, citations = read_reply("At 22:30 on Sunday [2], the Margherita is £9 [1][2].", HITS)
    assert text == "At 22:30 on Sunday, the Margherita is £9."
    assert [citation.document_id for citation in citations] == ["hours", "menu"]


@pytest.mark.parametrize("marks", ["[2, 1]", "[2,1]", "[2; 1]", "[2][1]"])
def test_several_passages_may_stand_in_one_mark(marks):
    text, citations = read_reply(f"On Sunday at 22:30 {marks}.", HITS)
    assert text == "On Sunday at 22:30."
    assert [citation.document_id for citation in citations] == ["hours", "menu"]


def test_a_mark_of_several_that_was_cut_off_goes_and_an_interval_stays():
    assert read_reply("At 22:30 [2, ", HITS)[0] == "At 22:30"
    assert read_reply("A share in [0, 1]", HITS)[0] == "A share in [0, 1]"


@pytest.mark.parametrize("reply", ["£9", "£9 [7]", "£9 [0]"])
def test_without_a_valid_mark_the_best_passage_is_cited(reply):
    assert [citation.passage_id for citation in read_reply(reply, HITS)[1]] == ["menu#1"]


def test_without_passages_there_is_nothing_to_cite_and_brackets_belong_to_the_answer():
    assert read_reply("Take items[1] of it.", []) == ("Take items[1] of it.", ())


def test_the_quote_is_the_line_that_shares_most_words_with_the_answer():
    assert best_sentence(HITS[1].passage.text, "it closes on SUNDAY at 22:30") == "On Sunday we close at 22:30."


@given(st.lists(TEXTS, min_size=1, max_size=3), st.text(max_size=80))
def test_every_quote_stands_word_for_word_in_the_passage_that_it_names(texts, reply):
    hits = [hit(text, f"d{n}") for n, text in enumerate(texts)]
    for citation in read_reply(f"{reply} [1] [3]", hits)[1]:
        cited = next(item.passage for item in hits if item.passage.passage_id == citation.passage_id)
        assert citation.quote in cited.text


@given(st.text(max_size=200))
def test_any_reply_at_all_becomes_an_answer_with_citations_or_neither(reply):
    text, citations = read_reply(reply, HITS)
    assert bool(text) == bool(citations)
