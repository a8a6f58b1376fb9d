"""What the writer reads: whole sentences of the passages, the ones pointed to first, never more than allowed."""

import re
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from palier.domain.evidence import (
    EVIDENCE_TOKENS,
    INSTRUCTIONS,
    QUESTION_BYTES,
    Pointed,
    about_tokens,
    cut_evidence,
    ending,
    evidence_messages,
    fitting_evidence,
    point_by_words,
    sentences,
    suggestions,
)

MENU = "Menu > Pizzas\nThe Margherita is £9. It is vegetarian. Dogs are welcome.\nThe Regina is £11. It has ham."
HOURS = "Hours\nWe open at noon. On Sunday we close at 22:30."
WORDS = st.text("abc", min_size=1, max_size=4)
TEXTS = st.lists(st.tuples(WORDS, st.sampled_from([" ", ". ", "\n", "\n\n", "! "])), min_size=1, max_size=20).map(
    lambda pairs: "".join(word + end for word, end in pairs)
)


def place(content: str, words: str, index: int = 0) -> Pointed:
    start = content.index(words)
    return Pointed(index, start, start + len(words))


def test_the_sentence_pointed_to_comes_with_its_heading_and_then_its_neighbours():
    """As the room grows: the sentence, the first line of the passage, the sentences before and after."""
    pointed = [place(MENU, "vegetarian")]
    assert cut_evidence([MENU], pointed, 3)[0].text == "It is vegetarian."
    assert cut_evidence([MENU], pointed, 6)[0].text == "Menu > Pizzas\nIt is vegetarian."
    assert cut_evidence([MENU], pointed, 10)[0].text == "Menu > Pizzas\nThe Margherita is £9. It is vegetarian."
    assert cut_evidence([MENU], pointed, 99)[0].text == MENU


def test_what_was_left_out_between_two_sentences_is_a_line_end():
    pieces = cut_evidence([MENU], [place(MENU, "Margherita"), place(MENU, "ham")], 7)
    assert pieces[0].text == "The Margherita is £9.\nIt has ham."


def test_places_in_two_passages_are_two_pieces_in_the_order_of_the_passages():
    pieces = cut_evidence([MENU, HOURS], [place(HOURS, "noon", 1), place(MENU, "£11")], 8)
    assert [(piece.passage_index, piece.text) for piece in pieces] == [
        (0, "The Regina is £11."),
        (1, "We open at noon."),
    ]


def test_a_sentence_that_is_too_long_is_cut_around_the_place():
    text = " ".join(f"w{n}" for n in range(100))
    (piece,) = cut_evidence([text], [place(text, "w50")], 11)
    assert piece.text.split() == [f"w{n}" for n in range(45, 56)]


def test_nothing_pointed_to_is_no_evidence():
    assert cut_evidence([MENU], [], 50) == ()


@given(st.lists(TEXTS, min_size=1, max_size=3), st.data(), st.integers(1, 30))
def test_evidence_never_exceeds_its_words_and_holds_words_of_the_passages_in_their_order(texts, data, max_words):
    """For any passages and places; the place pointed to first is always in."""
    count = st.integers(0, len(texts) - 1)
    pointed = []
    for index in data.draw(st.lists(count, min_size=1, max_size=4)):
        at = data.draw(st.integers(0, len(texts[index]) - 1))
        pointed.append(Pointed(index, at, at + 1))
    pieces = cut_evidence(texts, pointed, max_words)
    assert sum(len(piece.text.split()) for piece in pieces) <= max_words
    assert [piece.passage_index for piece in pieces] == sorted({piece.passage_index for piece in pieces})
    for piece in pieces:
        rest = iter(texts[piece.passage_index].split())
        assert all(word in rest for word in piece.text.split())


def test_text_that_is_not_dear_in_tokens_is_cut_by_words_alone():
    pointed = [replace(place(MENU, "£11"), text="£11"), place(HOURS, "noon", 1)]
    evidence = cut_evidence([MENU, HOURS], pointed, 20)
    assert fitting_evidence([MENU, HOURS], pointed, 20) == (evidence, suggestions(pointed, evidence))


def test_of_one_long_word_the_characters_around_the_place_are_read():
    """A path of hundreds of tokens: what is pointed to is still read, and said."""
    path = "/".join(f"v{number}/data-{number:x}.bak" for number in range(300))
    pointed = [replace(place(path, "data-96.bak"), text="data-96.bak")]
    ((piece,), suggested) = fitting_evidence([path], pointed, 80)
    assert about_tokens(path) > 10 * EVIDENCE_TOKENS
    assert about_tokens(piece.text) <= EVIDENCE_TOKENS
    assert piece.text in path
    assert suggested == ("data-96.bak [1]",)


@given(st.lists(st.text(min_size=1, max_size=9), min_size=1, max_size=3), st.integers(1, 400), st.data())
def test_no_text_is_too_dear(texts, n_times, data):
    """Whatever its script and with or without spaces, and wherever is pointed to."""
    contents = [text * n_times for text in texts]
    index = data.draw(st.integers(0, len(contents) - 1))
    start = data.draw(st.integers(0, len(contents[index]) - 1))
    pointed = [Pointed(index, start, start + 9, contents[index][start : start + 9])]
    evidence, suggested = fitting_evidence(contents, pointed, 80)
    assert sum(map(about_tokens, [*(piece.text for piece in evidence), *suggested])) <= EVIDENCE_TOKENS
    assert all(piece.text in " ".join(contents[index].split()) for piece in evidence if "\n" not in piece.text)


@given(st.text(max_size=80), st.integers(1, 100))
def test_of_a_long_question_the_end_is_asked(text, n_times):
    """And all of one that is not: what the weights were trained on is asked as it was."""
    question = text * n_times
    kept = ending(question)
    assert question.endswith(kept)
    assert QUESTION_BYTES - 4 < len(kept.encode()) <= QUESTION_BYTES or kept == question
    assert evidence_messages(question, "en", ["First."])[1]["content"] == f"[1] First.\nQuestion: {kept}"


@given(TEXTS)
def test_sentences_hold_every_word_once(text):
    assert " ".join(text[start:end] for start, end in sentences(text)).split() == text.split()


def test_words_point_to_the_sentence_that_shares_the_rare_ones():
    first, second = point_by_words("When does it close on Sunday?", [MENU, HOURS])
    assert HOURS[first.start : first.end] == "On Sunday we close at 22:30."
    assert first.passage_index == 1
    assert second != first


@pytest.mark.parametrize("lang", ["en", "fr"])
def test_the_prompt_begins_alike_for_every_question_and_ends_with_it(lang):
    """llama.cpp keeps what it read of a beginning that stays the same."""
    one = evidence_messages("Why?", lang, ["First.", "Second."])
    two = evidence_messages("Who?", lang, ["First.", "Second."])
    assert one[0] == two[0] == {"role": "system", "content": INSTRUCTIONS[lang]}
    assert one[1]["content"].startswith("[1] First.\n[2] Second.\n")
    assert one[1]["content"].endswith(" Why?")


def test_what_is_suggested_stands_in_the_evidence_under_its_mark():
    """Best first, once each; not what was cut away, nor a place without words to say, nor a table to recite."""
    said = [
        replace(place(HOURS, "noon", 1), text="at noon"),
        replace(place(MENU, "£11"), text="£11"),
        place(MENU, "ham"),
        replace(place(MENU, "vegetarian"), text="vegetarian"),
        replace(place(HOURS, "noon", 1), text="at noon"),
        replace(place(MENU, "£11"), text="£11; " * 50),
    ]
    evidence = cut_evidence([MENU, HOURS], said, 8)
    assert suggestions(said, evidence) == ("at noon [2]", "£11 [1]")
    assert suggestions([], evidence) == suggestions(said, ()) == ()
    prompt = evidence_messages("Quand ?", "fr", [piece.text for piece in evidence], suggestions(said, evidence))
    assert prompt[1]["content"].endswith("Question : Quand ?\nPeut-être : at noon [2] | £11 [1]")


def test_a_suggestion_is_bare_words():
    """Neither emphasis nor another mark of a passage, and whole words of the evidence."""
    content = "It closes at **22:30** [4]. Room 230 is free."
    said = [Pointed(0, 13, 26, "**22:30** [4]"), Pointed(0, 13, 26, "23")]
    assert suggestions(said, cut_evidence([content], said, 20)) == ("22:30 [1]",)


def test_items_of_a_list_are_suggested_where_each_stands_in_the_evidence():
    listed = replace(place("- ham\n- olives", "ham"), text="ham; olives")
    assert suggestions([listed], cut_evidence(["- ham\n- olives"], [listed], 9)) == ("ham; olives [1]",)


@pytest.mark.parametrize("text", ["🍕🍷", "営業時間", "часы", "ساعات"])
def test_what_is_not_latin_counts_its_bytes(text):
    assert about_tokens(text) == len(text.encode())


@given(st.text(max_size=80))
def test_tokens_are_guessed_at_no_fewer_than_the_digits_and_words(text):
    assert about_tokens(text) >= len(re.findall(r"\d", text))
    assert about_tokens(text) >= len(re.findall(r"[^\W\d_]+", text))
