"""What a verifier is given to read: the answer, where its passage stands, and the words around its quote."""

from ask_pieces import hit
from hypothesis import given
from hypothesis import strategies as st

from palier.domain.answering import Citation, Hit, RungAnswer
from palier.domain.claims import ANSWER, AROUND, PLACE, QUOTE, claim, claim_of
from palier.domain.documents import Passage

CONTENT = "Menu > Pizzas\nWe bake all day. The Margherita is £9. Children eat free."


def test_a_claim_names_the_answer_its_place_and_what_stands_around():
    made = claim("£9", "The Margherita is £9.", CONTENT, "Menu > Pizzas")
    assert made == "£9 | Menu > Pizzas | We bake all day. The Margherita is £9. Children eat free."


def test_words_far_from_the_quote_are_left_out():
    content = f"Menu\n{'before ' * 100}The Margherita is £9. {'after ' * 100}"
    _, place, around = claim("£9", "The Margherita is £9.", content, "Menu").split(" | ")
    assert place == "Menu"
    assert "The Margherita is £9." in around
    assert len(around) <= len("The Margherita is £9.") + 2 * AROUND


def test_without_a_quote_the_answer_stands_alone():
    assert claim_of(RungAnswer("heavy", "  nine\npounds "), []) == "nine pounds"


def test_the_quote_is_looked_up_in_its_own_passage():
    hits = [hit("We open at noon.", "hours", 0.9), hit("We bake. The Margherita is £9.", "menu", 0.4)]
    passage = hits[1].passage
    cited = Citation(passage.passage_id, passage.document_id, "The Margherita is £9.")
    assert "We bake." in claim_of(RungAnswer("reader", "£9", (cited,)), hits)


def test_a_citation_of_a_passage_that_is_not_there_brings_its_quote_along():
    cited = Citation("gone#1", "gone", "The Margherita is £9.")
    assert "Margherita" in claim_of(RungAnswer("reader", "£9", (cited,)), [])


def test_a_passage_without_title_is_read_around_the_quote():
    text = "Our restaurants serve all day.\nYou may cancel in the app up to 3 minutes after payment."
    found = Hit(Passage("given#0", "given#0", "en", "", "", text, 1, 2), 0.0)
    cited = Citation("given#0", "given#0", "You may cancel in the app up to 3 minutes after payment.")
    made = claim_of(RungAnswer("*", "up to 3 minutes", (cited,)), [found])
    assert made == f"up to 3 minutes |  | {' '.join(text.split())}"


@given(st.text(), st.text(max_size=2000), st.text(max_size=2000), st.booleans())
def test_a_claim_is_never_longer_than_a_verifier_reads(text, quote, content, is_placed):
    place = content.partition("\n")[0] if is_placed else ""
    assert len(claim(text, quote, content, place)) <= ANSWER + PLACE + QUOTE + 2 * AROUND + len(" | ") * 2
