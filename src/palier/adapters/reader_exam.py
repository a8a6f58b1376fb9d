"""An exam for a reader: questions with passages, what it says, and how good that is.

One number is learnt here: the margin below which "no answer here" is the better thing to say. It is chosen on
questions that train nothing, for the highest mean quality (token F1, or 1 for a right "no answer"). Two curves are
fitted and asked, since the best margin of a few dozen questions is the chance of one of them
(`docs/decisions/0019-threshold-of-few.md`).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression

from palier.adapters.onnx_reader import OnnxReader
from palier.domain.documents import Lang
from palier.domain.text_metrics import best_exact_match, best_f1, no_answer_f1

FloatArray = NDArray[np.float64]

GRID = 2001  # margins at which both curves are compared: a hundredth apart or less, where the margins seen span twenty


@dataclass(frozen=True, slots=True)
class ExamQuestion:
    """A question, the passages to read for it, and the acceptable answers (none: it has no answer)."""

    question: str
    lang: Lang
    answers: tuple[str, ...]
    contents: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class ExamAnswer:
    """The best reading over all passages, before any threshold."""

    text: str
    margin: float


def sit_exam(reader: OnnxReader, questions: Sequence[ExamQuestion]) -> list[ExamAnswer]:
    """One answer per question; a question without passages gets an empty one at the lowest margin."""
    return [_answer(reader, question) for question in questions]


def _answer(reader: OnnxReader, question: ExamQuestion) -> ExamAnswer:
    readings = reader.read(question.question, question.contents)
    if not readings:
        return ExamAnswer("", -float("inf"))
    return ExamAnswer(readings[0].text, readings[0].margin)


def fitted_threshold(questions: Sequence[ExamQuestion], answers: Sequence[ExamAnswer]) -> float:
    """The margin above which answering is expected to be worth more than "no answer"; 0.0 where nothing was read.

    One logistic curve tells how likely a question with this margin has no answer, another the token F1 that a question
    with an answer gets. Never further than one beyond the margins seen.
    """
    margins = np.array([answer.margin for answer in answers])
    read = np.isfinite(margins)
    if not read.any():
        return 0.0
    unanswerable = np.array([not question.answers for question in questions])[read]
    f1 = np.array([_f1(question, answer.text) for question, answer in zip(questions, answers, strict=True)])[read]
    margins = margins[read]
    grid = np.linspace(margins.min() - 1.0, margins.max() + 1.0, GRID)
    no_answer = _curve(margins, unanswerable.astype(float), grid)
    worth = _curve(margins[~unanswerable], f1[~unanswerable], grid)
    losing = np.flatnonzero((1 - no_answer) * worth < no_answer)
    return float(grid[losing[-1] if len(losing) else 0])


def _curve(margins: FloatArray, shares: FloatArray, grid: FloatArray) -> FloatArray:
    """A logistic curve through ``shares`` (each 0..1) at ``margins``, read at ``grid``; flat where all are 0 or 1."""
    if not shares.any() or shares.min() == 1.0:
        return np.full(len(grid), float(shares.any()))
    # A row is one part "yes" and one part "no"; a part of nothing is left out.
    parts = np.concatenate([shares, 1 - shares])
    kept = parts > 0
    sides = np.repeat([1, 0], len(shares))[kept]
    places, centre, spread = np.tile(margins, 2)[kept, None], margins.mean(), margins.std() or 1.0
    fitted = LogisticRegression().fit((places - centre) / spread, sides, sample_weight=parts[kept])
    curve: FloatArray = fitted.predict_proba((grid[:, None] - centre) / spread)[:, 1]
    return curve


def exam_metrics(
    questions: Sequence[ExamQuestion], answers: Sequence[ExamAnswer], threshold: float
) -> dict[str, float]:
    """`f1` and `em` over answerable questions, per language too; `no_answer_f1`; `share_answered`; `quality` of all."""
    said = [answer.text if answer.margin >= threshold else "" for answer in answers]
    rows = list(zip(questions, said, strict=True))
    metrics = {
        "quality": _mean([_quality(question, text) for question, text in rows]),
        "share_answered": _mean([float(bool(text)) for _, text in rows]),
        "no_answer_f1": no_answer_f1([not text for _, text in rows], [not q.answers for q, _ in rows]),
    }
    answerable = [(question, text) for question, text in rows if question.answers]
    metrics["f1"] = _mean([_f1(question, text) for question, text in answerable])
    metrics["em"] = _mean([best_exact_match(text, q.answers, q.lang) if text else 0.0 for q, text in answerable])
    for lang in sorted({question.lang for question, _ in answerable}):
        metrics[f"f1.{lang}"] = _mean([_f1(q, text) for q, text in answerable if q.lang == lang])
    return metrics


def _quality(question: ExamQuestion, text: str) -> float:
    return _f1(question, text) if question.answers else float(not text)


def _f1(question: ExamQuestion, text: str) -> float:
    return best_f1(text, question.answers, question.lang) if text and question.answers else 0.0


def _mean(values: Sequence[float]) -> float:
    return float(np.mean(values)) if values else 0.0
