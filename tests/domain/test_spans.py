"""Answers are found in texts, and quotes and lists are taken from them word for word."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from palier.domain.spans import block_answer, occurrences, plain_answer, quote_around, span_answer

PROSE = "We open at 9. On **Sunday** we open at 11\nand close at noon. Ask for Mr. Rossi."
TABLE = (
    "| Pizza | small | large |\n|---|---|---|\n| Marinara (tomato) | 7.20 | 12.60 |\n| Regina (ham) | 9.80 | 17.20 |"
)
LIST = "Not counted:\n\n- **fees** (delivery)\n  - zone 1\n- gift cards (all)\n- refunds (any)"


def _span(text: str, first: str, last: str) -> tuple[int, int]:
    return text.index(first), text.index(last) + len(last)


def test_only_whole_words_are_occurrences() -> None:
    """12 is not in 112 or 12.5's neighbour words; emphasis and line ends between words do not matter."""
    assert occurrences("112 and 12 and 123", "12") == ((8, 10),)
    assert occurrences("open **at\n11** today", "open at 11") == ((0, 12),)
    assert occurrences("anything", "  ") == ()


def test_marks_alone_are_no_words() -> None:
    """They are looked for nowhere: over a blank to be filled in they could be laid in countless ways."""
    assert occurrences("Name: " + "_" * 60 + " signed", "_ " * 30 + "x") == ()
    assert occurrences("a * b", "a * b") == ((0, 5),)
    assert occurrences("anything", "** _") == ()


@pytest.mark.parametrize(
    ("text", "first", "last", "quote"),
    [
        (PROSE, "11", "11", "On **Sunday** we open at 11\nand close at noon."),
        (PROSE, "9", "9", "We open at 9."),
        (TABLE, "12.60", "12.60", "| Marinara (tomato) | 7.20 | 12.60 |"),
        (LIST, "gift cards", "gift cards", "- gift cards (all)"),
        (LIST, "gift cards", "refunds", "- gift cards (all)\n- refunds (any)"),
    ],
)
def test_quote_is_the_sentence_or_the_lines(text: str, first: str, last: str, quote: str) -> None:
    """A quote is what one would underline: a sentence of prose, whole lines of a list or table."""
    assert quote_around(text, *_span(text, first, last)) == quote


def test_block_of_a_table_is_its_column() -> None:
    """A span from one row's cell to another's is that column, without what follows the item in its cell."""
    assert block_answer(TABLE, *_span(TABLE, "Marinara", "Regina")) == "Marinara; Regina"
    assert block_answer(TABLE, *_span(TABLE, "12.60", "17.20")) == "12.60; 17.20"


def test_block_of_a_list_is_its_outer_items() -> None:
    """Nested items belong to the item above them; remarks go where the span leaves them out."""
    assert block_answer(LIST, *_span(LIST, "fees", "refunds")) == "fees; gift cards; refunds"


def test_block_within_a_line_is_the_span() -> None:
    """A list in a sentence is answered as it stands."""
    assert block_answer("Sizes: small, large.", 7, 19) == "small, large"


def test_plain_answer_has_no_markup() -> None:
    """Nobody says asterisks."""
    assert plain_answer("- **12.90**  € |") == "12.90 €"


@given(st.text(alphabet="ab. |-\n!#*", min_size=1, max_size=60), st.data())
def test_quotes_stand_in_the_text(text: str, data: st.DataObject) -> None:
    """Whatever the text and the span: the quote is a piece of the text that holds the span's words."""
    start = data.draw(st.integers(0, len(text) - 1))
    end = data.draw(st.integers(start + 1, len(text)))
    quote = quote_around(text, start, end)
    assert quote in text
    assert text[start:end].strip() in quote
    block_answer(text, start, end)


@pytest.mark.parametrize(
    ("text", "span", "said"),
    [
        ("Ice cream is stored at - 18 °C in the basement.", "- 18 °C", "- 18 °C"),
        ("Phone: + 33 1 44 55 66 77", "+ 33 1 44 55 66 77", "+ 33 1 44 55 66 77"),
        ("The cup went to 1. FC Köln", "1. FC Köln", "1. FC Köln"),
        ("Steps\n1. Heat the oven\n2. Wait", "1. Heat the oven", "Heat the oven"),
        ("Sizes\n  - **small** ones", "- **small** ones", "small ones"),
        ("It is called `__init__` in Python", "__init__", "__init__"),
        ("It is called `__init__` in Python", "`__init__`", "__init__"),
        ("All of it is `*.*` in the shell", "*.*", "*.*"),
        ("It returns 3 * 4", "3 * 4", "3 * 4"),
        ("It costs **12.90 €** today", "12.90 €**", "12.90 €"),
        ("It costs **12.90 €** today", "*12.90 €", "12.90 €"),
        ("The *Mona Lisa* and _The Kiss_ hang here", "*Mona Lisa* and _The Kiss_", "Mona Lisa and The Kiss"),
        ("Set snake_case_names here", "snake_case_names", "snake_case_names"),
    ],
)
def test_a_span_is_said_without_markup_and_with_its_signs(text: str, span: str, said: str) -> None:
    start = text.index(span)
    assert span_answer(text, start, start + len(span)) == said
