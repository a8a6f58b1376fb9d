"""Validity is believed where it is stated plainly, in both languages, and never guessed."""

from datetime import date

import pytest

from palier.domain.validity import iso_date, validity_of


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("This offer is valid until 31 December 2026.", (None, "2026-12-31")),
        ("Offre valable jusqu'au 31 décembre 2026.", (None, "2026-12-31")),
        ("Prices valid from 1 March to 30 April 2026", ("2026-03-01", "2026-04-30")),
        ("Carte valable du 1er mars au 30 avril 2026", ("2026-03-01", "2026-04-30")),
        ("Valid in our seven restaurants from Monday 2 March 2026.", ("2026-03-02", None)),
        ("Règlement en vigueur à compter du lundi 2 mars 2026.", ("2026-03-02", None)),
        ("The tariff is effective March 3rd, 2026.", ("2026-03-03", None)),
        ("Your voucher expires on 2026-05-01.", (None, "2026-05-01")),
        ("Applicable from 2026-01-01 until 2026-06-30", ("2026-01-01", "2026-06-30")),
        ("Tarifs en vigueur au 1er janvier 2026, TVA comprise", ("2026-01-01", None)),
        ("Tarifs applicables au 1er mars 2026", ("2026-03-01", None)),
        ("La charte entre en vigueur le 1er mars 2026.", ("2026-03-01", None)),
        ("Ces règles prennent effet au 1er mars 2026.", ("2026-03-01", None)),
        ("Offre valable du 1er au 31 mars 2026.", (None, "2026-03-31")),
        ("Menu valable du lundi 2 au vendredi 6 mars 2026", (None, "2026-03-06")),
        ("Date d'expiration : 31 mars 2026", (None, "2026-03-31")),
        ("Les bons expirent le 31 mars 2026.", (None, "2026-03-31")),
    ],
)
def test_a_plain_statement_is_believed(text: str, expected: tuple[str | None, str | None]):
    assert validity_of(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        "We are closed from 1 March to 5 March 2026.",
        "The link is valid for 30 minutes.",
        "valid for 60 days from 1 May",
        "The code is valid. We open from 2 March 2026.",
        "valid until 31 February 2026",
        "valid from 1 May 2026 until 1 April 2026",
        "Menu A is valid until 1 May 2026. Menu B is valid until 1 June 2026.",
        "Un billet valable une heure. Fermé du 1er mars au 5 mars 2026.",
        "The old card is no longer valid from 1 March 2026.",
        "L'ancienne carte n'est plus valable à partir du 1er mars 2026.",
        "Le bon n'est pas valable du 1er mai 2026 au 3 mai 2026.",
        "Carte valable au 31 mars 2026",
        "",
    ],
)
def test_an_event_a_duration_an_impossible_date_and_two_answers_say_nothing(text: str):
    assert validity_of(text) == (None, None)


def test_front_matter_tells_dates_as_dates_or_as_words():
    assert iso_date(date(2026, 3, 2)) == "2026-03-02"
    assert iso_date("2 mars 2026") == "2026-03-02"
    assert iso_date("soon") is None
