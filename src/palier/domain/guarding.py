"""The guard: before any rung is asked, is this a question for us?

Two small models in plain numbers. The first reads the text alone (the sentence vector that retrieval needs anyway,
its words and their pieces, and signs on its surface) and knows injection, fraud and abuse; a classifier that reads the
words in their order may stand beside it, and both are believed as far as the weights say. The second model looks at
what was retrieved: a question that no passage is near, in meaning or in words, is off topic; what is on topic is thus
said by the team's documents and not by our samples. Both thresholds come with the weights; nothing here can run code.

The price: it knows kinds of requests by examples. A fraud of a kind that nobody wrote down may pass, and the answer
then still rests on passages; that the passages themselves may hold orders is not its business but the prompt's. Of a
conversation it reads what stands under the user's name, within a bound on the work; assistants' turns it does not.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

from palier.domain.answering import Hit, Question
from palier.domain.documents import Lang
from palier.domain.scoring import TextEncoder
from palier.domain.suspicious_words import LEXICAL, hashed_pieces, hashed_words, lexical_features
from palier.domain.words import content_words, stems
from palier.errors import IntegrityError

Kind = Literal["injection", "fraud", "abuse", "off_topic"]
ATTACKS: tuple[Kind, ...] = ("injection", "fraud", "abuse")
HONEST = "honest"
LANGUAGES: tuple[Lang, ...] = ("en", "fr")

TOPIC = ("top_cosine", "mean_cosine", "top_coverage", "coverage", "n_words", "is_french")
BUCKETS = 16_384
"""For the words of a text; two that share a bucket cannot be told apart."""
PIECE_BUCKETS = 16_384
"""For the runs of characters in a text."""
N_PLAIN = len(LEXICAL) + BUCKETS + PIECE_BUCKETS
"""Numbers of a text before those of its vector."""
N_READ = 5
"""So many of the best passages are looked at for the question's words."""
MOST_WINDOWS = 8
"""Pieces of one text, itself among them."""
MOST_WINDOWS_IN_ALL = 32
"""Of a question and all turns before it: each is a pass of the encoder and one of the classifier."""
MOST_CHARS_BEFORE = 8000
"""Of the user's turns before a question, all together."""
READ_WHOLE = 60
"""Words of a piece, at most, where windows suffice for it: of a longer one a classifier would read the beginning."""
SURE_OF_TOPIC_WORDS = 2
"""A question with fewer content words ("And on Sunday?") is never off topic: there is nothing to judge it by."""

REFUSALS: Mapping[Lang, Mapping[Kind, str]] = {
    "en": {
        "injection": "I can only answer questions from the documents, and cannot change how I work. What would you "
        "like to know?",
        "fraud": "I cannot help with that. I am glad to answer questions about what is in the documents.",
        "abuse": "I would like to help, but not with that. Please ask me a question about what is in the documents.",
        "off_topic": "That is outside what my documents are about, so I cannot answer it.",
    },
    "fr": {
        "injection": "Je réponds seulement à des questions d'après les documents, et je ne peux pas changer ma façon "
        "de travailler. Que souhaitez-vous savoir ?",
        "fraud": "Je ne peux pas vous aider pour cela. Je réponds volontiers aux questions sur le contenu des "
        "documents.",
        "abuse": "Je voudrais vous aider, mais pas pour cela. Posez-moi une question sur le contenu des documents.",
        "off_topic": "Cela sort du sujet de mes documents, je ne peux donc pas y répondre.",
    },
}


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the guard makes of a question: ``kind`` is None where it may pass. ``score`` is the probability, 0 to 1,
    of what was suspected most."""

    kind: Kind | None
    score: float

    @property
    def refuses(self) -> bool:
        return self.kind is not None


class TextClassifier(Protocol):
    """Logits of being an attack, float32 of shape (len(texts),); ``lang`` is the texts' language."""

    def score(self, lang: str, texts: Sequence[str]) -> NDArray[np.float32]: ...


class GuardWeights(BaseModel):
    """`guard.json`: both models. ``weights`` has one row for each of honest and ATTACKS, over LEXICAL (standardised by
    ``mean`` and ``scale``), hashed words, hashed pieces and the encoder's dimensions; ``topic_weights`` one number for
    each of TOPIC. ``classifier``, where one is to be heard, weighs by language the log-odds of the first model, those
    of the classifier, and one.

    Thresholds are by language: a text is refused at that probability or more.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")
    lexical: tuple[str, ...] = LEXICAL
    topic: tuple[str, ...] = TOPIC
    buckets: tuple[int, int] = (BUCKETS, PIECE_BUCKETS)
    mean: tuple[float, ...]
    scale: tuple[float, ...]
    weights: tuple[tuple[float, ...], ...]
    bias: tuple[float, ...]
    topic_mean: tuple[float, ...]
    topic_scale: tuple[float, ...]
    topic_weights: tuple[float, ...]
    topic_bias: float
    classifier: Mapping[Lang, tuple[float, float, float]] | None = None
    attack_threshold: Mapping[Lang, float]
    topic_threshold: Mapping[Lang, float]


class Guard:
    """The runtime of `GuardWeights`. Safe to use from several threads."""

    def __init__(self, weights: GuardWeights, encoder: TextEncoder, classifier: TextClassifier | None = None) -> None:
        """Raises IntegrityError for weights of other features, of an encoder with other dimensions, or that want a
        classifier where there is none.
        """
        made_for = (weights.lexical, weights.topic, weights.buckets, len(weights.mean))
        if made_for != (LEXICAL, TOPIC, (BUCKETS, PIECE_BUCKETS), len(LEXICAL)):
            raise IntegrityError(
                "The guard was trained on other features than this version computes. Make it again: "
                "`palier train-scorer`."
            )
        n_dense = len(weights.weights[0]) - N_PLAIN
        dimensions = encoder.embed(["?"]).shape[1]
        if n_dense != dimensions:
            raise IntegrityError(
                f"The guard reads vectors of {n_dense} dimensions, the encoder gives {dimensions}. Take the encoder "
                "that it was made for, or set guard.enabled to false."
            )
        if weights.classifier is not None and classifier is None:
            raise IntegrityError(
                "The guard's thresholds were chosen with a classifier, and none lies beside its weights. Make the "
                "guard again: `palier train-scorer`."
            )
        self.weights = weights
        self._encoder = encoder
        self._classifier = classifier
        self._numbers = _Numbers(weights)

    def judge(self, question: Question) -> Verdict:
        """Of the text alone, before anything is searched: injection, fraud, abuse, or nothing.

        The user's turns before it are judged too, since heavy rungs are sent all of them; of several sentences each is
        judged beside the whole, so that an order cannot hide behind a question.
        """
        kind, score = self.suspicion(said_by_user(question), question.lang)
        refused = score >= self.weights.attack_threshold.get(question.lang, 1.0)
        return Verdict(kind if refused else None, score)

    def judge_topic(self, question: Question, hits: Sequence[Hit]) -> Verdict:
        """Of what was retrieved for it: off topic, or nothing."""
        score = off_topic_score(self.weights, topic_features(question, hits), question)
        return Verdict("off_topic" if score >= self.weights.topic_threshold.get(question.lang, 1.0) else None, score)

    def suspicion(self, texts: Sequence[str], lang: Lang) -> tuple[Kind, float]:
        """The likeliest attack over all windows of ``texts``, and the probability, 0 to 1, that its window is one.

        Texts are read by their order: where windows run short, the last ones have fewer. Which attack it is says the
        linear model, also where only the classifier suspects one.
        """
        pieces = windows_of_all(texts)
        chances = self._numbers.attack(attack_features(pieces, [lang] * len(pieces), self._encoder))
        suspicions = 1.0 - chances[:, 0]
        if self._classifier is not None and self.weights.classifier is not None:
            marks = np.asarray(self._classifier.score(lang, pieces), dtype=np.float64)
            suspicions = believed(suspicions, marks, self.weights.classifier[lang])
        worst = int(suspicions.argmax())
        return ATTACKS[int(chances[worst, 1:].argmax())], float(suspicions[worst])


def said_by_user(question: Question) -> list[str]:
    """The question, and what the same user said before it, newest first; of long turns the beginning and the end.

    What stands under the assistant's name is left out, although rungs are sent it too: the guard has learnt from
    questions, and takes what answers look like (a row of a table, a rule, its own refusals) for attacks.
    """
    earlier = [turn.content for turn in reversed(question.history) if turn.role == "user" and turn.content]
    earlier = earlier[: MOST_WINDOWS_IN_ALL - MOST_WINDOWS]
    most = _fair_share([len(text) for text in earlier], MOST_CHARS_BEFORE)
    return [question.text, *(_both_ends(text, most) for text in earlier)]


def _fair_share(lengths: Sequence[int], room: int) -> int:
    """How long each may be for all to have ``room``: short ones stay whole, long ones are cut to the same length."""
    share = room
    for n_left, length in zip(range(len(lengths), 0, -1), sorted(lengths), strict=True):
        share = room // n_left
        if length > share:
            break
        room -= length
    return share


def _both_ends(text: str, most: int) -> str:
    half = most // 2
    return text if len(text) <= most else f"{text[:half]}\n{text[-half:]}"


@dataclass(frozen=True)
class _Numbers:
    """Weights as arrays, made once."""

    weights: GuardWeights

    @cached_property
    def _attack(self) -> tuple[NDArray[np.float64], ...]:
        w = self.weights
        return np.array(w.mean), np.array(w.scale), np.array(w.weights), np.array(w.bias)

    def attack(self, rows: NDArray[np.float64]) -> NDArray[np.float64]:
        """Probabilities of honest and ATTACKS, shape (n, 4)."""
        mean, scale, weights, bias = self._attack
        logits = with_standard_signs(rows, mean, scale) @ weights.T + bias
        powers = np.exp(logits - logits.max(axis=1, keepdims=True))
        return np.asarray(powers / powers.sum(axis=1, keepdims=True))


def linear_suspicions(
    weights: GuardWeights, texts: Sequence[str], langs: Sequence[str], encoder: TextEncoder
) -> NDArray[np.float64]:
    """1 - P(honest) of whole texts, (n,), by the linear model alone."""
    return np.asarray(1.0 - _Numbers(weights).attack(attack_features(texts, langs, encoder))[:, 0])


def believed(
    suspicions: NDArray[np.float64], marks: NDArray[np.float64], shares: tuple[float, float, float]
) -> NDArray[np.float64]:
    """Probabilities of an attack, (n,), from the linear model's and from the classifier's logits, as
    `GuardWeights.classifier` weighs them.
    """
    logits = shares[0] * log_odds(suspicions) + shares[1] * marks + shares[2]
    return np.asarray(1.0 / (1.0 + np.exp(-np.clip(logits, -30.0, 30.0))))


def log_odds(chances: NDArray[np.float64]) -> NDArray[np.float64]:
    """Of probabilities, held within 1e-6 of 0 and 1."""
    held = np.clip(chances, 1e-6, 1.0 - 1e-6)
    return np.asarray(np.log(held / (1.0 - held)))


def off_topic_score(weights: GuardWeights, row: NDArray[np.float64], question: Question) -> float:
    """Probability that ``question`` with the TOPIC ``row`` is off topic; 0.0 where there is too little to judge by."""
    if len(content_words(question.standalone)) < SURE_OF_TOPIC_WORDS:
        return 0.0
    standard = standardised(row, np.array(weights.topic_mean), np.array(weights.topic_scale))
    return float(1.0 / (1.0 + np.exp(-(standard @ np.array(weights.topic_weights) + weights.topic_bias))))


def standardised(
    rows: NDArray[np.float64], mean: NDArray[np.float64], scale: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Deviations from the mean in units of scale, at most 4 either way: one absurd value decides nothing alone."""
    return np.clip((rows - mean) / scale, -4.0, 4.0)


def with_standard_signs(
    rows: NDArray[np.float64], mean: NDArray[np.float64], scale: NDArray[np.float64]
) -> NDArray[np.float64]:
    """`attack_features` with LEXICAL standardised; what follows them has about length one as it is."""
    n_signs = len(LEXICAL)
    return np.concatenate([standardised(rows[:, :n_signs], mean, scale), rows[:, n_signs:]], axis=1)


def windows_of_all(texts: Sequence[str]) -> list[str]:
    """`windows` of up to MOST_WINDOWS_IN_ALL texts, and no more than that in all: the first texts have as many
    as they want, and one is kept for each of the others, so that long ones shut nothing out.
    """
    pieces: list[str] = []
    for n_after, text in zip(reversed(range(len(texts))), texts, strict=True):
        pieces += windows(text, min(MOST_WINDOWS, MOST_WINDOWS_IN_ALL - len(pieces) - n_after))
    return pieces


def windows(text: str, most: int = MOST_WINDOWS) -> list[str]:
    """The text, and its sentences or lines where it has several, grouped to at most ``most`` pieces in all.

    Where a group is too long, pieces of like length are cut in place of sentences.
    """
    if most < 3:  # one piece beside the whole would be the whole again
        return [text]
    parts = [part.strip() for part in re.split(r"(?<=[.!?;:])\s+|\n+", text) if len(part.strip()) > 2]
    pieces = _joined(parts, -(-len(parts) // (most - 1))) if parts else []
    words = text.split()
    longest = max(READ_WHOLE, -(-len(words) // (most - 1)))
    if any(len(piece.split()) > longest for piece in pieces):
        pieces = _joined(words, longest)
    return [text, *pieces] if len(pieces) > 1 else [text]


def _joined(parts: Sequence[str], size: int) -> list[str]:
    """``parts``, each ``size`` of them in one."""
    return [" ".join(parts[start : start + size]) for start in range(0, len(parts), size)]


def attack_features(texts: Sequence[str], langs: Sequence[str], encoder: TextEncoder) -> NDArray[np.float64]:
    """LEXICAL, hashed words, hashed pieces and sentence vector of each text, side by side: one row for each."""
    vectors = encoder.embed(list(texts)).astype(np.float64)
    signs = [lexical_features(text, lang) for text, lang in zip(texts, langs, strict=True)]
    words = [hashed_words(text, BUCKETS) for text in texts]
    pieces = [hashed_pieces(text, PIECE_BUCKETS) for text in texts]
    return np.concatenate([np.array(signs), np.array(words), np.array(pieces), vectors], axis=1)


def topic_features(question: Question, hits: Sequence[Hit]) -> NDArray[np.float64]:
    """TOPIC of one question: how near the best passages are, and which of its content words stand in them."""
    cosines = sorted((hit.cosine for hit in hits if hit.cosine is not None), reverse=True)[:3] or [0.0]
    asked = content_words(question.standalone)
    found = [stems(hit.passage.content) for hit in hits[:N_READ]]
    everything = set().union(*found) if found else set()
    values = (
        cosines[0],
        sum(cosines) / len(cosines),
        max((len(asked & words) for words in found), default=0) / max(1, len(asked)),
        len(asked & everything) / max(1, len(asked)),
        np.log1p(len(asked)),
        float(question.lang == "fr"),
    )
    return np.array(values, dtype=np.float64)
