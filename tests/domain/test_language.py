"""Questions are told apart by language from one line of text, in the forms that people really type."""

import unicodedata

import pytest

from palier.domain.documents import Lang
from palier.domain.language import detect_language, french_balance, passage_language


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("What time do you close on Sundays?", "en"),
        ("À quelle heure fermez-vous le dimanche ?", "fr"),
        ("a quelle heure vous fermez", "fr"),
        ("how much is the large margherita", "en"),
        ("C'est combien la grande margherita ?", "fr"),
        ("what's on the Valentine's menu", "en"),
        ("livraison lundi", "fr"),
        ("delivery fee Lyon", "en"),
        ("Y a-t-il une pizza sans gluten ?", "fr"),
        ("QUI A ÉCRIT CE MENU ?", "fr"),
        ("Peut-on payer ?", "fr"),
        ("où prend-on le bus", "fr"),
        ("Is crème brûlée vegan?", "en"),
        ("Carry-on luggage size?", "en"),
        ("hands-on training", "en"),
    ],
)
@pytest.mark.parametrize("default", ["en", "fr"])
def test_a_question_is_recognised_whatever_the_default(text: str, expected: Lang, default: Lang) -> None:
    assert detect_language(text, default=default) == expected


def test_an_accent_counts_the_same_in_one_letter_or_in_two() -> None:
    text = "Où êtes-vous ? À côté de l'hôtel"
    assert french_balance(unicodedata.normalize("NFD", text)) == french_balance(text)


@pytest.mark.parametrize("default", ["en", "fr"])
def test_a_text_of_names_only_takes_the_default(default: Lang) -> None:
    assert french_balance("Margherita 33 cm") == 0
    assert detect_language("Margherita 33 cm", default=default) == default


def test_a_text_without_clue_follows_the_latest_turn_that_has_one() -> None:
    earlier = ["What is in the calzone?", "Quels sont vos horaires ?", "Margherita"]
    assert detect_language("Napoli", earlier) == "fr"


@pytest.mark.parametrize("text", ["", "   ", "42", "🍕🍕", "?!"])
def test_text_without_words_gives_the_default(text: str) -> None:
    assert detect_language(text, default="fr") == "fr"


@pytest.mark.parametrize("default", ["en", "fr"])
def test_a_passage_of_names_or_of_few_words_stays_in_its_documents_language(default: Lang) -> None:
    assert passage_language("Fermé le lundi.", default) == default
    names = (
        "Margherita, Napoli, Quattro Stagioni, Crème Brûlée, Pâté Lorrain, Époisses 33 cm, San Pellegrino, Évian, Acqua"
    )
    assert passage_language(names, default) == default


@pytest.mark.parametrize("default", ["en", "fr"])
def test_a_passage_of_plain_sentences_is_recognised_whatever_its_document(default: Lang) -> None:
    english = "You can change your order until two hours before the slot, and after that the kitchen counts on you."
    french = "Vous pouvez modifier votre commande jusqu'à deux heures avant le créneau, puis nous comptons sur vous."
    assert passage_language(english, default) == "en"
    assert passage_language(french, default) == "fr"
