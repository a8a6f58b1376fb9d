"""An exam for a reader: questions with passages, what it says, and how good that is.

One number is learnt here: the margin below which "no answer here" is the better thing to say. It is chosen on
questions that train nothing, for the highest mean quality (token F1, or 1 for a right "no answer"): `fitted_threshold`
for the few hundred at most that a workspace has, `best_threshold` for a thousand or more
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


def best_threshold(questions: Sequence[ExamQuestion], answers: Sequence[ExamAnswer]) -> float:
    """The margin at which answering starts to be worth more than "no answer", by mean quality; 0.0 without rows."""
    if not questions:
        return 0.0
    margins, gains = _margins_and_gains(questions, answers)
    order = np.argsort(-margins, kind="stable")
    gain = np.concatenate([[0.0], np.cumsum(gains[order])])  # of answering the n surest questions
    n_answered = int(gain.argmax())
    if n_answered == 0:
        return float(margins.max() + 1.0)
    last = float(margins[order[n_answered - 1]])
    after = float(margins[order[n_answered]]) if n_answered < len(order) else last - 1.0
    return (last + after) / 2 if np.isfinite(after) else last


def fitted_threshold(questions: Sequence[ExamQuestion], answers: Sequence[ExamAnswer]) -> float:
    """The margin at which a logistic curve through all rows says that answering is worth as much as "no answer".

    The best margin of a few dozen rows is one row's chance; a curve moves half as much from sample to sample. Never
    further than one beyond the margins seen; 0.0 where no passage was read at all.
    """
    margins, gains = _margins_and_gains(questions, answers)
    margins, gains = margins[np.isfinite(margins)], gains[np.isfinite(margins)]
    if not len(margins):
        return 0.0
    lowest, highest = float(margins.min()) - 1.0, float(margins.max()) + 1.0
    # A row is one part "answer" and one part "keep silent", the larger the more its answer gains or loses.
    parts = np.concatenate([(1 + gains) / 2, (1 - gains) / 2])
    centre, spread = float(margins.mean()), float(margins.std())
    places = np.tile((margins - centre) / (spread or 1.0), 2)[:, None]
    sides = np.repeat([1, 0], len(margins))
    if len(set(sides[parts > 0])) > 1:
        curve = LogisticRegression().fit(places[parts > 0], sides[parts > 0], sample_weight=parts[parts > 0])
        if (slope := float(curve.coef_[0, 0])) > 0:
            return float(np.clip(centre - (spread or 1.0) * float(curve.intercept_[0]) / slope, lowest, highest))
    return lowest if gains.sum() > 0 else highest


def _margins_and_gains(
    questions: Sequence[ExamQuestion], answers: Sequence[ExamAnswer]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Of each question its margin, and what answering gains over silence: -1 (wrongly said) to 1 (wholly right)."""
    worth = np.array([_f1(question, answer.text) for question, answer in zip(questions, answers, strict=True)])
    silent = np.array([float(not question.answers) for question in questions])
    return np.array([answer.margin for answer in answers]), worth - silent


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
