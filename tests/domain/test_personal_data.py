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
        ("phone", "(020) 7946 0958"),
        ("phone", "(01632) 960123"),
        ("phone", "07700900123"),
        ("phone", "02079460958"),
        ("phone", "06/12/34/56/78"),
        ("phone", "(555) 010-9999"),
        ("phone", "+1 555-010-9999"),
        ("phone", "06\u201112\u201134\u201156\u201178"),
        ("phone", "+33\u20136\u201312\u201334\u201356\u201378"),
        ("phone", "０６１２３４５６７８"),
        ("e-mail", "jean＠example.com"),
        ("iban", "FR76 3000 6000 0112 3456 7890 189"),
        ("iban", "FR76\u00a03000\u00a06000\u00a00112\u00a03456\u00a07890\u00a0189"),
        ("card", "4111\u202f1111\u202f1111\u202f1111"),
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
        ("address", "SW1A1AA"),
        ("address", "M11AE"),
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
        "From 06/12/2024 18:30 to 06.12.2024 19:30, not 06-12-2024 20h00 or 07/12/24; 2024/06/12/07/08",
        "Orders 0712345678901, 071234567890, 06123456789, 071234567 and 07123456; 0.07700900123; 1,06 12 34 56 78",
        "ISBN 0-306-40615-2, 978-0-306-40615-7; sections 0.1.2.3.4.5, 1.02.03 and (020) 7.94",
        "Version 1.2.3.4 of the app, chapter 2.1.1.3",
        "H1N1, C6H12O6, A4, B12CD, QX12AB and RTX4090",
        "::",
    ],
)
def test_what_only_looks_like_it_stays(text: str) -> None:
    """Prices, hours, quantities, numbers with a wrong checksum."""
    assert redact(text).removed == ()
    assert redact(text).text == text


@pytest.mark.parametrize(
    "said", ["06 12 34 56 78", "+33 6 12 34 56 78", "07700900123", "020 7946 0958", "555-010-9999"]
)
def test_a_dot_or_comma_after_a_word_hides_no_telephone(said: str) -> None:
    """An abbreviation ends with a dot; after a digit it would be a decimal point."""
    assert redact(f"tel.{said}").text == "tel.[phone]"
    assert redact(f"Marie,{said}").text == "Marie,[phone]"


def test_neighbours_that_touch_are_all_found() -> None:
    """What hides behind a find (an address behind a telephone) is found too, and nothing is found twice."""
    assert redact("+33612345678SW1A 2AA+33612345678").text == "[phone][address][phone]"
    assert redact("(555) 010-9999(555) 010-9998").text == "[phone][phone]"
    assert redact("::10.2.3.4").text == "::[ip address]"
    two = "GB82 WEST 1234 5698 7654 32 FR76 3000 6000 0112 3456 7890 189"
    assert redact(f"{two} DE89 3704 0044 0532 0130 00").text == "[iban] [iban] [iban]"


@pytest.mark.parametrize("after", ["12/27", "12 27", "0628 123", "et 12"])
def test_a_card_is_found_before_its_expiry_date(after: str) -> None:
    assert redact(f"carte 4970 1000 0000 0154 {after}").text == f"carte [card] {after}"
    assert redact(f"4111111111111111 {after}").text == f"[card] {after}"


@pytest.mark.parametrize(
    ("begin", "again", "n_found"),
    [
        ("12 place ", "de la ", 0),
        ("12 place ", "de l'", 0),
        ("12 place ", "dela", 0),
        ("12 place Bellecour ", "de la ", 1),
        ("12 place A", " A-A", 1),
        ("12 rue a ", "de la ", 1),
        ("12 rue a 75002 A", "-A", 1),
        ("12 rue", " ", 0),
        ("12 ", "A", 0),
        ("12", " A", 0),
        ("", "A", 0),
        ("", "@", 0),
        ("", "a@", 0),
        ("a@", "b", 0),
        ("a@b", ".b", 1),
        ("", "a@b.c+", 3_333),
        ("", "1", 0),
        ("", "1 ", 0),
        ("", ".", 0),
        ("", "1.1.", 0),
        ("10.1.1.1", "a", 1),
        ("", "a:", 0),
        ("", "AA11 ", 0),
        ("", " ", 0),
        ("+1", " ", 0),
        ("+1", "-(", 0),
        ("00 ", "1 ", 1),
        ("1 84 12 76 451 089", " ", 1),
        ("", "+33612345678", 1_666),
        ("", "(555) 010-9999", 1_428),
        ("", "+33612345678SW1A 2AA", 2_000),
    ],
)
def test_no_text_makes_a_pattern_try_for_long(begin: str, again: str, n_found: int) -> None:
    """20,000 characters of what each pattern repeats: one that tries every way to read them would not come back."""
    text = begin + again * (20_000 // len(again)) + "!"
    assert len(find_personal_data(text)) == n_found
    assert find_personal_data(redact(text).text) == []


def test_what_the_documents_say_is_public() -> None:
    """The restaurant's own telephone and street stay, however they are typed; a guest's do not."""
    public = Public(["Call 01 42 68 53 00.", "We are at 12 rue du Canal, 75010 Paris."])
    assert redact("Is it 01.42.68.53.00, at 12 rue du Canal?", public).removed == ()
    mine = redact("Mine is 06 12 34 56 78, I live at 14 rue du Canal.", public)
    assert mine.text == "Mine is [phone], I live at [address]."


def test_a_strangers_address_that_ends_like_the_teams_is_no_public_one() -> None:
    """Documents may say more of an address behind it, not before it: 2 is not 12."""
    public = Public(["We are at 12 rue de Paris, 75010 Paris. London: SE1 7HH."])
    assert redact("I live at 2 rue de Paris.", public).text == "I live at [address]."
    assert redact("My postcode is E1 7HH.", public).text == "My postcode is [address]."
    assert redact("Is it at 12 rue de Paris?", public).removed == ()


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
