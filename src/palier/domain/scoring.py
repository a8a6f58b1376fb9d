"""The scorer: how likely is it that an answer is acceptable, judged after it was given.

Numbers that question, passages and answer yield (`features`) go through one small logistic model per rung, apart for
answers and for "I don't know". Weights are plain JSON, so that the gateway loads nothing that could run. A score is
an estimate of the answer's expected quality (token F1, or 1 for a right "I don't know"), from 0 to 1.

Price paid: a score looks at one answer alone; agreement between rungs is not used yet.
"""

import math
import re
from collections.abc import Mapping, Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

from palier.domain.answering import Hit, Question, RungAnswer
from palier.errors import IntegrityError

FEATURES = (
    "margin",
    "null",
    "second",
    "mean_logprob",
    "top_score",
    "top_cosine",
    "top_bm25",
    "cited_score",
    "n_words",
    "has_digit",
    "asks_number",
    "overlap",
    "grounded",
    "similarity",
    "is_french",
)
_ASKS_NUMBER = re.compile(
    r"\b(how (much|many|long|far|old)|when|what time|price|cost|combien|quand|quelle heure|prix|co[uû]te|tarif)",
    re.IGNORECASE,
)


class TextEncoder(Protocol):
    """Unit vectors of texts, shape (n, d), float32."""

    def embed(self, texts: Sequence[str]) -> NDArray[np.float32]: ...


class LogisticHead(BaseModel):
    """Logistic regression on standardised features; ``weights`` has one number per feature of FEATURES.

    An empty ``weights`` means "too few rows to learn from": the base rate is the score.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")
    mean: tuple[float, ...]
    scale: tuple[float, ...]
    weights: tuple[float, ...]
    bias: float
    n_rows: int

    def predict(self, features: NDArray[np.float64]) -> float:
        """Expected quality of one answer from its (n_features,) vector."""
        if not self.weights:
            return _sigmoid(self.bias)
        standard = (features - np.asarray(self.mean)) / np.asarray(self.scale)
        return _sigmoid(float(np.clip(standard, -4, 4) @ np.asarray(self.weights)) + self.bias)


class ScorerWeights(BaseModel):
    """`scorer.json`: heads by rung, for answers and for abstentions."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    features: tuple[str, ...] = FEATURES
    answered: Mapping[str, LogisticHead]
    abstained: Mapping[str, LogisticHead]


class LearnedScorer:
    """The runtime of `ScorerWeights`: implements `palier.domain.answering.Scorer`."""

    def __init__(self, weights: ScorerWeights, encoder: TextEncoder) -> None:
        """Raises IntegrityError for weights of other features: they would be applied to the wrong numbers."""
        if weights.features != FEATURES:
            raise IntegrityError(
                f"The scorer was trained on the features {', '.join(weights.features)}; this version computes "
                f"{', '.join(FEATURES)}. Train it again: `palier train-scorer`."
            )
        self._weights = weights
        self._encoder = encoder

    def score(
        self,
        question: Question,
        hits: Sequence[Hit],
        answer: RungAnswer,
        earlier: Sequence[RungAnswer],  # noqa: ARG002 (part of the protocol; see the module's price)
    ) -> float:
        """Expected quality of ``answer``; KeyError for a rung the scorer was not trained on."""
        heads = self._weights.answered if answer.text else self._weights.abstained
        return heads[answer.rung].predict(features(question, hits, answer, self._encoder))


def features(question: Question, hits: Sequence[Hit], answer: RungAnswer, encoder: TextEncoder) -> NDArray[np.float64]:
    """The (len(FEATURES),) vector of one answer; signals that a rung does not give are 0."""
    top = hits[0] if hits else None
    cited = {citation.passage_id for citation in answer.citations}
    quote = " ".join(citation.quote for citation in answer.citations)
    words = _words(answer.text)
    read = _words(" ".join(hit.passage.text for hit in hits))
    values = {
        **{name: answer.signals.get(name, 0.0) for name in ("margin", "null", "second", "mean_logprob")},
        "top_score": top.score if top else 0.0,
        "top_cosine": (top.cosine or 0.0) if top else 0.0,
        "top_bm25": math.log1p((top.bm25 or 0.0) if top else 0.0),
        "cited_score": max((hit.score for hit in hits if hit.passage.passage_id in cited), default=0.0),
        "n_words": math.log1p(len(words)),
        "has_digit": float(any(char.isdigit() for char in answer.text)),
        "asks_number": float(bool(_ASKS_NUMBER.search(question.text))),
        "overlap": _share(_words(question.standalone), _words(quote)),
        "grounded": _share(words, read),
        "similarity": _similarity(question.standalone, quote, encoder),
        "is_french": float(question.lang == "fr"),
    }
    return np.array([values[name] for name in FEATURES], dtype=np.float64)


def _words(text: str) -> set[str]:
    return set(re.findall(r"\w+", text.casefold()))


def _share(part: set[str], whole: set[str]) -> float:
    return len(part & whole) / len(part) if part else 0.0


def _similarity(question: str, quote: str, encoder: TextEncoder) -> float:
    if not quote:
        return 0.0
    vectors = encoder.embed([question, quote])
    return float(vectors[0] @ vectors[1])


def _sigmoid(value: float) -> float:
    return 1.0 / (1.0 + math.exp(-max(-30.0, min(30.0, value))))
