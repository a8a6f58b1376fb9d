"""The encoder learns from questions of the train split alone, and from what documents say in both languages."""

import numpy as np
import pytest

from palier.adapters.encoder_rows import encoder_rows
from palier.adapters.encoder_training import TrainingPassage
from palier.domain.documents import Passage
from palier.domain.golden import GoldenQuestion

pytestmark = pytest.mark.model  # torch takes seconds to load

ENGLISH = "You have three minutes. After that the oven has your pizza."
FRENCH = "Vous avez trois minutes. Après, le four tient votre pizza."
PASSAGES = [
    Passage("e", "en/cancel", "en", "Cancel", "", ENGLISH, 1, 1),
    Passage("f", "fr/cancel", "fr", "Annuler", "", FRENCH, 1, 1),
]
VECTORS = np.ones((2, 1), dtype=np.float32)


def golden(split: str) -> GoldenQuestion:
    row = {
        "id": f"fr-{split}",
        "lang": "fr",
        "question": f"Jusqu'à quand annuler ({split}) ?",
        "answers": ("3 minutes",),
    }
    place = {"document_id": "fr/cancel", "quote": FRENCH, "answerable": True, "kind": "fact", "passage_ids": ("f",)}
    return GoldenQuestion.model_validate(row | place | {"split": split, "history": ()})


def test_a_passage_is_found_by_its_counterpart_its_sentences_and_the_questions_about_it():
    rows = {row.text: row.questions for row in encoder_rows([golden("train")], PASSAGES, VECTORS)}
    english = rows[PASSAGES[0].content]
    assert english[0] == PASSAGES[1].content
    assert english[1:] == ("Vous avez trois minutes.", "Après, le four tient votre pizza.", golden("train").question)
    assert golden("train").question in rows[PASSAGES[1].content]


def test_no_question_of_another_split_is_read():
    rows = encoder_rows([golden("validation"), golden("test")], PASSAGES, VECTORS)
    assert not any("annuler" in question for row in rows for question in row.questions)


def test_documents_in_one_language_give_their_questions_only():
    rows = encoder_rows([golden("train")], PASSAGES[1:], VECTORS[1:])
    assert rows == [TrainingPassage(PASSAGES[1].content, (golden("train").question,))]


def test_a_passage_fits_its_own_questions_and_words_that_stand_in_it():
    row = TrainingPassage(ENGLISH, ("When can I cancel?",))
    assert row.fits("When can I cancel?")
    assert row.fits("You have three minutes.")
    assert not row.fits("How large is a small one?")
