"""The scorer: how likely is it that an answer is acceptable, judged after it was given.

Numbers that question, passages and answer yield (`features`; one of them is the mark of a verifier, a cross-encoder
that reads the answer with the question), and how far the answer agrees with those that cheaper
rungs gave before (`agreement_features`), go through one small logistic model per rung, apart for answers and for "I
don't know". Weights are plain JSON, so that the gateway loads nothing that could run. A score is an estimate of the
answer's expected quality (token F1, or 1 for a right "I don't know"), from 0 to 1. Without passages the same numbers
are made, those of passages being 0; where what is believed of plain answers was learnt (`palier.domain.beliefs`), that
is the score.

Price paid: recorded scores presume that all cheaper rungs were heard. In a cascade that leaves one out, a later answer
is scored on less; heads learn both cases, so scores stay calibrated, but they are not the recorded ones to the digit.
"""

import math
import re
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

from palier.domain import groundedness
from palier.domain.answering import Hit, Question, RungAnswer
from palier.domain.beliefs.believer import Believer
from palier.domain.claims import claim_of
from palier.domain.documents import Lang
from palier.domain.words import content_words, stems
from palier.errors import IntegrityError, NotReadyError

RUNG_SIGNALS = ("margin", "null", "second", "expected_f1", "mean_logprob")
"""What a rung of ours tells with its answer."""
FEATURES = (
    *RUNG_SIGNALS,
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
    "score_gap",
    "numbers_grounded",
    "names_grounded",
    "quote_grounded",
    "coverage",
    "support",
    "type_match",
    "echo",
    "hedges",
    "n_question_words",
    "verified",
)
"""What one answer yields by itself; recorded with each outcome."""
AGREEMENT = ("agreement", "mean_agreement", "silent_before", "n_heard")
"""What it yields beside the answers before it."""
ALL_FEATURES = FEATURES + AGREEMENT
RECENT_PROMISES = 256
"""Questions whose promises stay in memory: a climb asks for them at each step."""
ANY_RUNG = "*"
"""The head for answers that none of our rungs gave: it has seen no signal that only our own rungs have."""
OWN_SIGNALS = (
    *RUNG_SIGNALS, "top_score", "top_cosine", "top_bm25", "cited_score", "score_gap", *AGREEMENT,
)  # fmt: skip
_ASKS_NUMBER = re.compile(
    r"\b(how (much|many|long|far|old)|when|what time|price|cost|combien|quand|quelle heure|prix|co[uû]te|tarif)",
    re.IGNORECASE,
)


class TextEncoder(Protocol):
    """Unit vectors of texts, shape (n, d), float32."""

    def embed(self, texts: Sequence[str]) -> NDArray[np.float32]: ...


class Verifier(Protocol):
    """Marks of claims as answers to a question, logits of shape (n,), float32."""

    def score(self, question: str, texts: Sequence[str]) -> NDArray[np.float32]: ...


class LogisticHead(BaseModel):
    """Logistic regression on standardised features; ``weights`` has one number per feature of ALL_FEATURES.

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
    features: tuple[str, ...] = ALL_FEATURES
    hears_earlier: bool = True
    """Whether answers of rungs that were asked before count; else those features are zeros, as in training."""
    answered: Mapping[str, LogisticHead]
    abstained: Mapping[str, LogisticHead]


class LearnedScorer:
    """The runtime of `ScorerWeights`: implements `palier.domain.answering.Scorer`."""

    def __init__(
        self,
        weights: ScorerWeights,
        encoder: TextEncoder,
        verifier: Verifier | None = None,
        believer: Believer | None = None,
    ) -> None:
        """``verifier`` is there or not, as it was in training; a ``believer`` judges its rungs' answers without
        passages in place of the heads.

        Raises IntegrityError for weights of other features: they would be applied to the wrong numbers.
        """
        if weights.features != ALL_FEATURES:
            raise IntegrityError(
                f"The scorer was trained on the features {', '.join(weights.features)}; this version computes "
                f"{', '.join(ALL_FEATURES)}. Train it again: `palier train-scorer`."
            )
        self._weights = weights
        self._encoder = encoder
        self._verifier = verifier
        self._believer = believer
        self._promised = lru_cache(maxsize=RECENT_PROMISES)(self._promise)

    def score(
        self,
        question: Question,
        hits: Sequence[Hit],
        answer: RungAnswer,
        earlier: Sequence[RungAnswer],
    ) -> float:
        """Expected quality of ``answer``; KeyError for a rung the scorer was not trained on."""
        return self.explain(question, hits, answer, earlier)[0]

    def explain(
        self, question: Question, hits: Sequence[Hit], answer: RungAnswer, earlier: Sequence[RungAnswer]
    ) -> tuple[float, dict[str, float]]:
        """The score, and the numbers that it rests on by name; KeyError as `score`."""
        if self._believer is not None and not hits and answer.rung in self._believer.rungs:
            return self.believe(question, [answer])[0], {"promise": self.promise(question, answer.rung)}
        head = (self._weights.answered if answer.text else self._weights.abstained)[answer.rung]
        alone = features(question, hits, answer, self._encoder, self._verifier)
        heard = [seen.text for seen in earlier] if self._weights.hears_earlier else []
        beside = agreement_features(answer.text, heard, question.lang)
        vector = np.concatenate([alone, beside])
        return head.predict(vector), dict(zip(ALL_FEATURES, vector.tolist(), strict=True))

    def believe(self, question: Question, answers: Sequence[RungAnswer]) -> Sequence[float]:
        """P(right) of each of ``answers`` (one a rung) when all were seen; raises NotReadyError without a believer."""
        said = {answer.rung: answer.text for answer in answers}
        believed = self._its_believer().believe(question.standalone, self._promised(question.standalone), said)
        return [believed[answer.rung] for answer in answers]

    def promise(self, question: Question, rung: str) -> float:
        """P(right) of a rung that was not asked yet; raises NotReadyError without a believer."""
        return self._promised(question.standalone)[rung]

    def _promise(self, query: str) -> Mapping[str, float]:
        return self._its_believer().promise(query, self._encoder.embed([query])[0])

    def _its_believer(self) -> Believer:
        if self._believer is None:
            raise NotReadyError("This scorer was trained without beliefs; train it again: `palier train-scorer`.")
        return self._believer


def features(
    question: Question,
    hits: Sequence[Hit],
    answer: RungAnswer,
    encoder: TextEncoder,
    verifier: Verifier | None = None,
) -> NDArray[np.float64]:
    """The (len(FEATURES),) vector of one answer; signals that a rung does not give are 0, as is `verified` without a
    ``verifier`` or a claim (of an abstention: what was withheld)."""
    top = hits[0] if hits else None
    cited = {citation.passage_id for citation in answer.citations}
    quote = " ".join(citation.quote for citation in answer.citations)
    words = _words(answer.text)
    read = _words(" ".join(hit.passage.text for hit in hits))
    source = " ".join(hit.passage.content for hit in hits if hit.passage.passage_id in cited) or quote
    values = {
        **{name: answer.signals.get(name, 0.0) for name in RUNG_SIGNALS},
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
        "score_gap": hits[0].score - hits[1].score if len(hits) > 1 else 0.0,
        "numbers_grounded": groundedness.share_of_numbers(answer.text, source),
        "names_grounded": groundedness.share_of_names(answer.text, source),
        "quote_grounded": _share(words, _words(quote)),
        "coverage": _share(content_words(question.standalone), stems(source)),
        "support": math.log1p(
            groundedness.n_supporting(answer.text, [hit.passage.text for hit in hits], question.lang)
        ),
        "type_match": groundedness.type_match(question.text, answer.text) if answer.text else 0.0,
        "echo": groundedness.echo(question.standalone, answer.text, question.lang) if answer.text else 0.0,
        "hedges": groundedness.hedges(answer.text),
        "n_question_words": math.log1p(len(_words(question.text))),
        "verified": _verified(question, hits, answer, verifier),
    }
    return np.array([values[name] for name in FEATURES], dtype=np.float64)


def agreement_features(answer: str, earlier: Sequence[str], lang: Lang) -> NDArray[np.float64]:
    """The (len(AGREEMENT),) vector of an answer beside the texts of those before it; zeros where there are none."""
    return np.array([*groundedness.agreement(answer, earlier, lang), math.log1p(len(earlier))], dtype=np.float64)


def as_outsider(vectors: NDArray[np.float64]) -> NDArray[np.float64]:
    """(n, len(ALL_FEATURES)) with the signals gone that only our rungs and our retrieval have: what ANY_RUNG sees."""
    kept = np.array([name not in OWN_SIGNALS for name in ALL_FEATURES])
    return np.where(kept, vectors, 0.0)


def _words(text: str) -> set[str]:
    return set(re.findall(r"\w+", text.casefold()))


def _share(part: set[str], whole: set[str]) -> float:
    return len(part & whole) / len(part) if part else 0.0


def _similarity(question: str, quote: str, encoder: TextEncoder) -> float:
    if not quote:
        return 0.0
    vectors = encoder.embed([question, quote])
    return float(vectors[0] @ vectors[1])


def _verified(question: Question, hits: Sequence[Hit], answer: RungAnswer, verifier: Verifier | None) -> float:
    claimed = claim_of(answer, hits)
    if verifier is None or not claimed:
        return 0.0
    return float(verifier.score(question.standalone, [claimed])[0])


def _sigmoid(value: float) -> float:
    return 1.0 / (1.0 + math.exp(-max(-30.0, min(30.0, value))))
