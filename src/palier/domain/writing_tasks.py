"""Questions as exercises for the writer: a little evidence, a question, and the words that it should write.

Pure: passages and questions come in, exercises go out. A target is a short answer with the mark of the evidence that
holds it, or "I don't know" in the question's language. Where the evidence that was cut lost the answer, no exercise is
made: the writer must never learn to say what it has not read. What is pointed to in training is a guess at what the
reader will point to: the answer's place, often beside the sentence that looks most like the question.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from palier.domain.documents import Lang, Passage
from palier.domain.evidence import Evidence, Pointed, cut_evidence, evidence_messages, point_by_words
from palier.domain.golden import ITEMS, GoldenQuestion, plain
from palier.domain.prompting import DONT_KNOW
from palier.domain.reading_tasks import Lookalikes, answer_spans, distractors
from palier.domain.spans import plain_answer

ANSWER_ALONE = 0.4
"""Share of exercises in which only the answer's place is pointed to; in the others the sentence nearest to the question
is too, and comes first in half of them.
"""
ALSO_SILENT = 0.2
"""Share of answerable questions that are also put beside passages without their answer."""


@dataclass(frozen=True, slots=True)
class WritingTask:
    """What the writer reads and should write; ``answers`` are all acceptable ones, none: it should not know."""

    question: str
    lang: Lang
    evidence: tuple[str, ...]
    target: str
    answers: tuple[str, ...] = ()

    def messages(self) -> list[dict[str, str]]:
        """The chat that asks for the target."""
        return evidence_messages(self.question, self.lang, self.evidence)


@dataclass(frozen=True, slots=True)
class Asked:
    """A question with its acceptable answers, the one to be written first."""

    question: str
    lang: Lang
    answers: tuple[str, ...] = ()


def answered_task(
    asked: Asked, contents: Sequence[str], places: Sequence[Pointed], max_words: int, rng: np.random.Generator
) -> WritingTask | None:
    """The exercise of writing the first answer, which stands at ``places``; None where the cut evidence lost it."""
    answer = plain_answer(asked.answers[0])
    evidence = cut_evidence(contents, _guessed(asked.question, contents, places, rng), max_words)
    right = {place.passage_index for place in places}
    held = [n for n, piece in enumerate(evidence, 1) if piece.passage_index in right and _holds(piece, answer)]
    if not answer or not held:
        return None
    return _task(asked, evidence, f"{answer} [{held[0]}]")


def silent_task(asked: Asked, contents: Sequence[str], max_words: int) -> WritingTask | None:
    """The exercise of saying "I don't know" beside what looks like an answer in ``contents`` and is none."""
    evidence = cut_evidence(contents, point_by_words(asked.question, contents), max_words)
    if not evidence:
        return None
    return _task(Asked(asked.question, asked.lang), evidence, DONT_KNOW[asked.lang])


def golden_tasks(
    rows: Sequence[GoldenQuestion],
    passages: Mapping[str, Passage],
    lookalikes: Lookalikes,
    max_words: int,
    rng: np.random.Generator,
) -> list[WritingTask]:
    """Each row beside its gold passages; where it has no answer, or once for every few rows that have one, beside
    passages that only look like it.
    """
    return [task for row in rows for task in _golden(row, passages, lookalikes, max_words, rng)]


def _golden(
    row: GoldenQuestion,
    passages: Mapping[str, Passage],
    lookalikes: Lookalikes,
    max_words: int,
    rng: np.random.Generator,
) -> Iterator[WritingTask]:
    asked = Asked(row.asked().standalone, row.lang, row.answers)
    others = [passage.content for passage in distractors(row, lookalikes, 2)]
    found: list[WritingTask | None] = []
    if not row.answerable:
        near = [passage.content for passage in lookalikes.find(asked.question, row.lang, (), 2)]
        found.append(silent_task(asked, near, max_words))
    for passage in (passages[key] for key in row.passage_ids if key in passages):
        places = [Pointed(0, *span) for span in answer_spans(row, passage)[0]]
        if places:
            found.append(answered_task(asked, [passage.content, *others[:1]], places, max_words, rng))
    if row.answerable and others and rng.random() < ALSO_SILENT:
        found.append(silent_task(asked, others, max_words))
    yield from (task for task in found if task is not None)


def _guessed(
    question: str, contents: Sequence[str], places: Sequence[Pointed], rng: np.random.Generator
) -> list[Pointed]:
    draw = rng.random()
    if draw < ANSWER_ALONE:
        return list(places)
    looked_at = point_by_words(question, contents, 1)
    return [*places, *looked_at] if draw < (1 + ANSWER_ALONE) / 2 else [*looked_at, *places]


def _task(asked: Asked, evidence: Sequence[Evidence], target: str) -> WritingTask:
    return WritingTask(asked.question, asked.lang, tuple(piece.text for piece in evidence), target, asked.answers)


def _holds(piece: Evidence, answer: str) -> bool:
    """Whether each part of ``answer`` (a list's items are joined by "; ") stands in ``piece``."""
    text = plain(piece.text)
    return all(plain(part) in text for part in answer.split(ITEMS))
