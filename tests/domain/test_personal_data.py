"""Personal data is taken out by its form, checksums included; prices, hours and the team's own telephone stay."""

from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from palier.domain.personal_data import (
    Public,
    find_personal_data,
    holds_placeholder,
    is_card_number,
    is_iban,
    is_social_security_number,
    redact,
)


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        ("e-mail", "marie.curie+pizza@example.co.uk"),
        ("phone", "06 12 34 56 78"),
        ("phone", "0612345678"),
        ("phone", "01.42.68.53.00"),
        ("phone", "+33 6 12 34 56 78"),
        ("phone", "+33 (0)6 12 34 56 78"),
        ("phone", "0033 6 12 34 56 78"),
        ("phone", "+44 20 7946 0958"),
        ("phone", "020 7946 0958"),
        ("phone", "(555) 010-9999"),
        ("phone", "+1 555-010-9999"),
        ("iban", "FR76 3000 6000 0112 3456 7890 189"),
        ("iban", "DE89370400440532013000"),
        ("card", "4111 1111 1111 1111"),
        ("card", "5500-0000-0000-0004"),
        ("card", "378282246310005"),
        ("social security number", "1 84 12 76 451 089 46"),
        ("social security number", "255081416802538"),
        ("social security number", "1 84 12 76 451 089"),
        ("ip address", "192.168.10.4"),
        ("ip address", "2001:db8::ff00:42:8329"),
        ("address", "12 bis rue de la Paix, 75002 Paris"),
        ("address", "3 avenue du Général Leclerc"),
        ("address", "7 rue victor"),
        ("address", "14 place Bellecour 69002 Lyon"),
        ("address", "221B Baker Street"),
        ("address", "10 main street"),
        ("address", "SW1A 2AA"),
    ],
)
def test_each_kind_is_found_in_its_usual_spellings(kind: str, said: str) -> None:
    """Alone, in a sentence, and before a full stop; nothing of it is left."""
    for text in (said, f"Please note {said} for the order", f"It is {said}."):
        redacted = redact(text)
        assert redacted.removed == (kind,), (text, find_personal_data(text))
        assert redacted.text == text.replace(said, f"[{kind}]")
        assert holds_placeholder(redacted.text)


@pytest.mark.parametrize(
    "text",
    [
        "The large margherita costs 11.50 euros, 2 for 20.00, and 1,000 points give 10 %.",
        "Ouvert le dimanche de 12h00 à 22h30, le lundi de 9:00 à 14:30:00.",
        "3 cours de cuisine, 2 passages par jour et 4 places assises.",
        "12 minutes by the main road; 15 ways to fold a pizza",
        "Order 4111 1111 1111 1112 and GB82WEST12345698765433 fail their checksums.",
        "Version 999.1.2.3 of 2024-07-18, allergens 1 to 14: 01 02 03",
        "ISBN 978-2-07-036822-8, room 101, 75 cl, 10 000 personnes, see [1] and [2]",
        "::",
    ],
)
def test_what_only_looks_like_it_stays(text: str) -> None:
    """Prices, hours, quantities, numbers with a wrong checksum."""
    assert redact(text).removed == ()
    assert redact(text).text == text


def test_what_the_documents_say_is_public() -> None:
    """The restaurant's own telephone and street stay, however they are typed; a guest's do not."""
    public = Public(["Call 01 42 68 53 00.", "We are at 12 rue du Canal, 75010 Paris."])
    assert redact("Is it 01.42.68.53.00, at 12 rue du Canal?", public).removed == ()
    mine = redact("Mine is 06 12 34 56 78, I live at 14 rue du Canal.", public)
    assert mine.text == "Mine is [phone], I live at [address]."


def test_names_are_not_found() -> None:
    """A limit that the module states: a name has no form."""
    assert redact("I am Marie Curie").removed == ()


def test_checksums() -> None:
    """Right ones pass; one digit changed fails."""
    assert is_iban("GB82 WEST 1234 5698 7654 32")
    assert not is_iban("GB82 WEST 1234 5698 7654 33")
    assert is_card_number("4242424242424242")
    assert not is_card_number("4242424242424241")
    assert not is_card_number("0000000000000000")
    assert is_social_security_number("2 69 05 49 588 157 80")
    assert not is_social_security_number("2 69 05 49 588 157 81")


@settings(deadline=None)
@given(st.text(max_size=200))
def test_any_text_is_survived_and_redacting_twice_changes_nothing(text: str) -> None:
    """No input breaks it; what was taken out leaves nothing to take out; all else stays in order."""
    once = redact(text)
    assert find_personal_data(once.text) == []
    found = find_personal_data(text)
    assert all(first.end <= second.start for first, second in pairwise(found))
