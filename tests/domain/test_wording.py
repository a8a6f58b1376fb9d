"""Wording: the share of a question's pieces of words and pairs of words that a passage holds, rare ones first."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from palier.domain.wording import wording

TEXTS = {
    "close": "Quand ferme le guichet de la gare ? Le guichet de la gare ferme à dix heures.",
    "twice": "Le guichet, le guichet, le guichet : un guichet est un guichet.",
    "other": "La boulangerie ouvre tôt le matin.",
}


def test_all_words_beat_one_word_many_times() -> None:
    found = wording("À quelle heure ferme le guichet de la gare ?", TEXTS)
    assert found["close"] > found["twice"] > found["other"] >= 0.0


def test_a_word_that_all_hold_tells_nothing() -> None:
    """One that nobody holds is left out as well: the share is of what could be found."""
    found = wording("le guichet introuvable", {"a": "le guichet", "b": "le matin"})
    assert found["a"] == pytest.approx(1.0)
    assert found["b"] == pytest.approx(0.0, abs=0.2)


def test_accents_plurals_and_endings_do_not_matter() -> None:
    texts = {"a": "Les étés et les œuvres municipales", "b": "rien de cela", "c": "ni de ceci"}
    assert wording("ete oeuvre municipal", texts)["a"] > 0.5


def test_a_word_of_the_same_family_or_with_a_typing_error_is_mostly_held() -> None:
    texts = {"family": "Une commande est remboursable.", "typo": "Le rembousrement suit.", "none": "Le chat dort."}
    found = wording("remboursement", texts)
    assert min(found["family"], found["typo"]) > found["none"] == 0.0


def test_order_of_words_counts_a_little() -> None:
    texts = {"together": "the York railway museum", "apart": "museum of York, by the railway", "none": "a cat"}
    found = wording("York railway museum", texts)
    assert found["together"] > found["apart"] > found["none"]


def test_nothing_asked_or_nothing_found() -> None:
    assert wording("", TEXTS) == dict.fromkeys(TEXTS, 0.0)
    assert wording("Привет", TEXTS) == dict.fromkeys(TEXTS, 0.0)
    assert wording("guichet", {}) == {}


@given(st.text(max_size=60), st.dictionaries(st.text("abc", min_size=1), st.text(max_size=80), max_size=6))
def test_shares_stay_in_bounds(question: str, texts: dict[str, str]) -> None:
    found = wording(question, texts)
    assert set(found) == set(texts)
    assert all(0.0 <= value <= 1.0 + 1e-9 for value in found.values())
