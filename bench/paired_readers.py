"""Two readers over the same questions: what each is worth, and the difference question by question.

Knows how an answer is marked and how a difference gets its interval; which readers, and which passages they read, is
the caller's business. A difference is taken within each question before it is averaged, so that what makes questions
hard for both cancels out. The price: questions of one article are taken as independent, which makes intervals a
little too narrow.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from bench.report import QaRow, Report, TitlesAsked, every, metric, on_titles, read_all
from palier.adapters.onnx_reader import OnnxReader
from palier.adapters.qa_rows import passage_of
from palier.adapters.reader_rung import ReaderRung
from palier.domain.answering import Hit, Question, RungAnswer
from palier.domain.text_metrics import best_f1
from palier.errors import InputError


@dataclass(frozen=True, slots=True)
class Exercise:
    """A question, what there is to read for it, and the acceptable answers (none: it has no answer)."""

    question: Question
    hits: tuple[Hit, ...]
    answers: tuple[str, ...]


def read_gold(
    data: Sequence[Path], report: Report, asked_titles: TitlesAsked, n: int | None, rng: np.random.Generator
) -> list[Exercise]:
    """`gold_exercises` of the files ``data``, which ``report`` will name."""
    return gold_exercises(read_all(data, report), asked_titles, n, rng)


def gold_exercises(
    rows: Sequence[QaRow], asked_titles: TitlesAsked, n: int | None, rng: np.random.Generator
) -> list[Exercise]:
    """Up to ``n`` questions of each language on articles of ``asked_titles``, each beside its own passage.

    Raises InputError where there is none.
    """
    asked = [row for row in on_titles(rows, asked_titles) if bool(row.answers) == row.answerable]
    found = []
    for lang in ("en", "fr"):
        own = [row for row in asked if row.lang == lang]
        for place in sorted(rng.permutation(len(own))[:n].tolist()):
            passage = passage_of(own[place])
            question = Question(own[place].question, passage.lang)
            found.append(Exercise(question, (Hit(passage, 1.0),), own[place].answers))
    if not found:
        raise InputError("No row in English or French has answers, or none and says so (`answerable`).")
    return found


def answers_of(
    reader: OnnxReader, exercises: Sequence[Exercise], what: str, *, passages: int = 1, retrieval_weight: float = 0.0
) -> list[RungAnswer]:
    """What the rung says with ``reader`` to each exercise; ``what`` names the work in its progress."""
    rung = ReaderRung("reader", reader, passages, 0.0, retrieval_weight)
    return [rung.answer(item.question, item.hits) for item in every(exercises, len(exercises), what)]


def compared(
    exercises: Sequence[Exercise],
    said: Mapping[str, Sequence[RungAnswer]],
    rng: np.random.Generator,
) -> dict[str, Any]:
    """For all questions and for those of each language: `f1`, `f1_without_threshold`, `share_answered` (answerable
    questions) and `quality` (all; 1 for a right "no answer").

    ``said`` names two readers; each measure holds both of them and `change`, the second less the first.
    """
    langs = sorted({item.question.lang for item in exercises})
    parts = {"all": list(range(len(exercises)))} | {
        lang: [place for place, item in enumerate(exercises) if item.question.lang == lang] for lang in langs
    }
    return {name: _part([exercises[i] for i in places], _picked(said, places), rng) for name, places in parts.items()}


def _picked(said: Mapping[str, Sequence[RungAnswer]], places: Sequence[int]) -> dict[str, list[RungAnswer]]:
    return {name: [answers[i] for i in places] for name, answers in said.items()}


def _part(
    exercises: Sequence[Exercise], said: Mapping[str, Sequence[RungAnswer]], rng: np.random.Generator
) -> dict[str, Any]:
    marks = {name: _marks(exercises, answers) for name, answers in said.items()}
    first, second = marks
    return {
        measure: {
            **{name: metric(values[measure], rng) for name, values in marks.items()},
            "change": metric(np.subtract(marks[second][measure], marks[first][measure]).tolist(), rng),
        }
        for measure in marks[first]
    }


def _marks(exercises: Sequence[Exercise], answers: Sequence[RungAnswer]) -> dict[str, list[float]]:
    pairs = list(zip(exercises, answers, strict=True))
    answerable = [(item, answer) for item, answer in pairs if item.answers]
    return {
        "f1": [_f1(item, answer.text) for item, answer in answerable],
        "f1_without_threshold": [_f1(item, _at_any_margin(answer)) for item, answer in answerable],
        "share_answered": [float(bool(answer.text)) for _, answer in answerable],
        "quality": [quality_of(item, answer) for item, answer in pairs],
    }


def quality_of(item: Exercise, answer: RungAnswer) -> float:
    """Token F1, or 1 for a right "no answer"."""
    return _f1(item, answer.text) if item.answers else float(not answer.text)


def quality_of_claim(item: Exercise, answer: RungAnswer) -> float:
    """Token F1 of what was said or withheld; nothing that is claimed is right where there is no answer."""
    return _f1(item, _at_any_margin(answer)) if item.answers else 0.0


def _at_any_margin(answer: RungAnswer) -> str:
    """What was said, or would have been said without a threshold."""
    return answer.text or (answer.withheld[0] if answer.withheld else "")


def _f1(item: Exercise, text: str) -> float:
    return best_f1(text, item.answers, item.question.lang) if text else 0.0
