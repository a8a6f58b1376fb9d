"""Questions as exercises for the writer: a little evidence, a question, and the words that it should write.

Pure: passages and questions come in, exercises go out. A target is a short answer with the mark of the evidence that
holds it, or "I don't know" in the question's language. Where the evidence that was cut lost the answer, no exercise is
made: the writer must never learn to say what it has not read. What is pointed to in training is what is pointed to
when answering, and the answer's own place beside it. At times nothing is suggested, or the best suggestion is taken
away: else it would learn to repeat the first one and to read nothing.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from palier.domain.documents import Lang, Passage
from palier.domain.evidence import Evidence, Pointed, cut_evidence, evidence_messages, fitting_evidence, suggestions
from palier.domain.golden import ITEMS, GoldenQuestion, plain
from palier.domain.prompting import DONT_KNOW
from palier.domain.reading_tasks import Lookalikes, answer_spans, distractors
from palier.domain.spans import plain_answer

Point = Callable[[str, Sequence[str]], Sequence[Pointed]]
"""Points to places of passages (their contents) where the answer to a question may stand, best first."""

ANSWER_FIRST = 0.25
"""Share of exercises in which the answer's place comes before what is pointed to; in the others it comes after."""
NOTHING_SUGGESTED = 0.1
BEST_TAKEN_AWAY = 0.2
"""Shares of exercises; without them the writer would learn that the first suggestion is right, as it nearly always is
where the reader was trained on the same questions.
"""
ALSO_SILENT = 0.2
"""Share of answerable questions that are also put beside passages without their answer."""


@dataclass(frozen=True, slots=True)
class WritingTask:
    """What the writer reads and should write; ``answers`` are all acceptable ones, none: it should not know.
    ``suggested`` is what the reader would say, with marks.
    """

    question: str
    lang: Lang
    evidence: tuple[str, ...]
    target: str
    answers: tuple[str, ...] = ()
    suggested: tuple[str, ...] = ()

    def messages(self) -> list[dict[str, str]]:
        """The chat that asks for the target."""
        return evidence_messages(self.question, self.lang, self.evidence, self.suggested)


@dataclass(frozen=True, slots=True)
class Asked:
    """A question with its acceptable answers, the one to be written first."""

    question: str
    lang: Lang
    answers: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Exercises:
    """Makes exercises: evidence of at most ``max_words`` words around what ``point`` points to; ``rng`` decides what
    is suggested, or all of it is where nothing ``hides``.
    """

    point: Point
    max_words: int
    rng: np.random.Generator
    hides: bool = True

    def answered(self, asked: Asked, contents: Sequence[str], places: Sequence[Pointed]) -> WritingTask | None:
        """The exercise of writing the first answer, which stands at ``places``; None where the cut evidence lost it."""
        answer = plain_answer(asked.answers[0])
        pointed = self.point(asked.question, contents)
        both = [*places, *pointed] if self.rng.random() < ANSWER_FIRST else [*pointed, *places]
        evidence = cut_evidence(contents, both, self.max_words)
        right = {place.passage_index for place in places}
        held = [n for n, piece in enumerate(evidence, 1) if piece.passage_index in right and _holds(piece, answer)]
        if not answer or not held:
            return None
        return self._task(asked, evidence, f"{answer} [{held[0]}]", pointed)

    def silent(self, asked: Asked, contents: Sequence[str]) -> WritingTask | None:
        """The exercise of saying "I don't know" beside what looks like an answer in ``contents`` and is none."""
        pointed = self.point(asked.question, contents)
        evidence = cut_evidence(contents, pointed, self.max_words)
        if not evidence:
            return None
        return self._task(Asked(asked.question, asked.lang), evidence, DONT_KNOW[asked.lang], pointed)

    def _task(self, asked: Asked, evidence: Sequence[Evidence], target: str, pointed: Sequence[Pointed]) -> WritingTask:
        suggested, draw = suggestions(pointed, evidence), self.rng.random()
        if self.hides and draw < NOTHING_SUGGESTED:
            suggested = ()
        elif self.hides and draw < NOTHING_SUGGESTED + BEST_TAKEN_AWAY:
            suggested = suggested[1:]
        pieces = tuple(piece.text for piece in evidence)
        return WritingTask(asked.question, asked.lang, pieces, target, asked.answers, suggested)


def exam_task(asked: Asked, contents: Sequence[str], point: Point, max_words: int) -> WritingTask:
    """What is asked when answering: evidence and suggestions as they are pointed to, wherever the answer is."""
    evidence, said = fitting_evidence(contents, point(asked.question, contents), max_words)
    pieces = tuple(piece.text for piece in evidence)
    return WritingTask(asked.question, asked.lang, pieces, DONT_KNOW[asked.lang], asked.answers, said)


def golden_tasks(
    rows: Sequence[GoldenQuestion], passages: Mapping[str, Passage], lookalikes: Lookalikes, exercises: Exercises
) -> list[WritingTask]:
    """Each row beside its gold passages; where it has no answer, or once for every few rows that have one, beside
    passages that only look like it.
    """
    return [task for row in rows for task in _golden(row, passages, lookalikes, exercises)]


def _golden(
    row: GoldenQuestion, passages: Mapping[str, Passage], lookalikes: Lookalikes, exercises: Exercises
) -> Iterator[WritingTask]:
    asked = Asked(row.asked().standalone, row.lang, row.answers)
    others = [passage.content for passage in distractors(row, lookalikes, 2)]
    found: list[WritingTask | None] = []
    if not row.answerable:
        near = [passage.content for passage in lookalikes.find(asked.question, row.lang, (), 2)]
        found.append(exercises.silent(asked, near))
    for passage in (passages[key] for key in row.passage_ids if key in passages):
        places = [Pointed(0, *span) for span in answer_spans(row, passage)[0]]
        if places:
            found.append(exercises.answered(asked, [passage.content, *others[:1]], places))
    if row.answerable and others and exercises.rng.random() < ALSO_SILENT:
        found.append(exercises.silent(asked, others))
    yield from (task for task in found if task is not None)


def _holds(piece: Evidence, answer: str) -> bool:
    """Whether each part of ``answer`` (a list's items are joined by "; ") stands in ``piece``."""
    text = plain(piece.text)
    return all(plain(part) in text for part in answer.split(ITEMS))
