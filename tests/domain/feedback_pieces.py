"""A small corpus and judged answers for the tests of the flywheel: shops, their hours and prices."""

from collections.abc import Sequence
from typing import Any

from palier.domain.documents import Lang, Passage
from palier.domain.feedback import JudgedAnswer
from palier.domain.feedback_corpus import FeedbackCorpus
from palier.domain.golden import GoldenQuestion, Split
from palier.params import CollectFeedbackParams

TOWNS = ("York", "Leeds", "Bath", "Dublin", "Bristol", "Sheffield", "Derby", "Luton", "Poole", "Truro")
SPLITS: dict[str, Split] = {"York": "train", "Leeds": "validation", "Bath": "test"}
"""Towns with a golden question; feedback is about the others."""
RULES = CollectFeedbackParams(
    window_days=365,
    keep_text_days=None,
    heavy_rows=100,
    heavy_min_score=0.7,
    near=0.8,
    min_support=0.75,
    corrections_need_passage=True,
    max_key_share=0.1,
    max_key_rows=200,
    free_key_rows=20,
    validation_percent=10,
    thumb_trust=0.8,
)


def rules(**changes: Any) -> CollectFeedbackParams:
    return RULES.model_copy(update=changes)


def hours(town: str) -> str:
    """When the shop of ``town`` closes; another time in each."""
    return f"{10 + TOWNS.index(town)}:30"


def shop(town: str, lang: Lang = "en", duplicate_of: str | None = None) -> Passage:
    text = f"The shop in {town} opens at 9:00 and closes at {hours(town)} on Mondays. Delivery is free above 25 euros."
    return Passage(f"p-{town}", f"en/{town}", lang, town, "", text, 1, 1, duplicate_of=duplicate_of)


def golden(town: str, split: Split | None = None) -> GoldenQuestion:
    return GoldenQuestion(
        id=f"q-{town}",
        lang="en",
        question=f"When does the shop in {town} close?",
        answers=(hours(town),),
        document_id=f"en/{town}",
        quote=shop(town).text,
        answerable=True,
        kind="fact",
        split=split or SPLITS[town],
        passage_ids=(f"p-{town}",),
    )


def corpus(passages: Sequence[Passage] | None = None, validation_percent: int = 10) -> FeedbackCorpus:
    """Ten shops, of which three have a golden question, one in each split."""
    found = [shop(town) for town in TOWNS] if passages is None else passages
    asked = [golden(town) for town in SPLITS]
    return FeedbackCorpus(found, asked, near=RULES.near, validation_percent=validation_percent)


def judged(town: str, number: int = 0, **changes: Any) -> JudgedAnswer:
    """Somebody asked when the shop of ``town`` closes, and was told rightly; ``changes`` say what they think of it."""
    row: dict[str, Any] = {
        "request_id": f"req-{town}-{number}",
        "key_id": "key-1",
        "at": f"2026-05-01T12:00:{number:02}",
        "lang": "en",
        "question": f"At what hour do the {town} staff lock up on Mondays?",
        "answer": hours(town),
        "rung": "reader",
        "is_heavy": False,
        "score": 0.6,
        "cited": ((f"en/{town}", f"p-{town}"),),
    }
    return JudgedAnswer.model_validate(row | changes)
