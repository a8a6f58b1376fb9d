"""What an answer says is sought in what was read, however French elides, accents or capitals are typed."""

import pytest

from palier.domain.groundedness import share_of_names, type_match


@pytest.mark.parametrize(
    ("answer", "evidence"),
    [
        ("Orléans", "le siège d'Orléans dura sept mois"),
        ("d'Orléans", "la ville d’Orléans"),
        ("ORLEANS", "la ville d’Orléans"),
        ("Jean Paul", "Jean-Paul naquit à Łódź"),
        ("Œuvre de Łódź", "une œuvre, à Łódź"),
        ("nothing by that", "no name is asked for"),
    ],
)
def test_a_name_stands_in_what_was_read(answer: str, evidence: str) -> None:
    assert share_of_names(answer, evidence) == 1.0


@pytest.mark.parametrize(
    ("answer", "evidence", "share"),
    [("Orléans", "Orly", 0.0), ("Anna", "Annapolis", 0.0), ("Anna and Otto", "Otto came alone", 0.5)],
)
def test_a_name_that_stands_nowhere_is_told(answer: str, evidence: str, share: float) -> None:
    assert share_of_names(answer, evidence) == share


@pytest.mark.parametrize(
    ("question", "right", "wrong"),
    [
        ("Dans quel pays se trouve Łódź ?", "en Pologne", "à midi"),
        ("Which century was it built in?", "the 12th century", "by monks"),
        ("Au cours de quel siècle ?", "au XIIe siècle", "par des moines"),
        ("Quelle superficie a le parc ?", "12 hectares", "la mairie"),
        ("Comment s’appelle le fleuve ?", "la Loire", "il est long"),
    ],
)
def test_the_form_of_an_answer_fits_what_is_asked(question: str, right: str, wrong: str) -> None:
    assert type_match(question, right) == 1.0
    assert type_match(question, wrong) == -1.0
    assert type_match("Why?", right) == 0.0
