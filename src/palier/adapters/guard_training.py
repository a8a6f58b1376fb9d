"""Fits the guard with scikit-learn from examples; what comes out is plain numbers.

Examples are written by hand in families (one way to attack, one way to ask) and filled with topics. Whatever is
measured here is measured on families and topics that the fitted weights have not seen: a word list that is learnt by
heart would look good otherwise. The threshold is chosen on such unseen families too.
"""

import hashlib
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix, diags, hstack, vstack
from sklearn.linear_model import LogisticRegression

from palier.adapters.workspace import json_lines
from palier.domain.answering import Hit, Question
from palier.domain.documents import Lang
from palier.domain.guarding import (
    ATTACKS,
    HONEST,
    LANGUAGES,
    N_PLAIN,
    TOPIC,
    Guard,
    GuardWeights,
    TextClassifier,
    attack_features,
    standardised,
    topic_features,
)
from palier.domain.scoring import TextEncoder
from palier.domain.suspicious_words import LEXICAL
from palier.errors import InputError

CLASSES = (HONEST, *ATTACKS)
FILES = ("injection", "fraud", "abuse", "off_topic", "honest")
N_FOLDS = 5
_GAP = re.compile(r"(?P<before>\b(?:de|à|que) )?\{(?P<name>org|item|staff|account|topic)\}", re.IGNORECASE)
_CONTRACTED = {
    ("de ", "le "): "du ",
    ("de ", "les "): "des ",
    ("à ", "le "): "au ",
    ("à ", "les "): "aux ",
    ("de ", "un"): "d'un",
    ("que ", "un"): "qu'un",
}
CHUNK = 256
"""Texts whose numbers stand side by side in full while they are counted."""


@dataclass(frozen=True, slots=True)
class Example:
    """One text; ``family`` is its pattern, ``topic`` what fills it (empty where the pattern has no gap)."""

    kind: str
    family: str
    topic: str
    lang: Lang
    text: str


@dataclass(frozen=True, slots=True)
class Recipe:
    """How the attack model is fitted. The threshold may refuse ``refused`` of public questions, ``refused_golden`` of
    what customers ask an assistant, and ``refused_alike`` of honest texts that were written to look like attacks, each
    of a family and a topic that were left out."""

    regularisation: float = 0.5
    lexical_weight: float = 1.0
    vector_weight: float = 0.7
    refused: float = 0.01
    refused_golden: float = 0.04
    refused_alike: float = 0.12


def read_examples(folder: Path, rng: np.random.Generator, n_topics: int = 3) -> list[Example]:
    """All patterns of ``folder``, each that has gaps filled with ``n_topics`` topics drawn from ``rng``."""
    topics = _lines(folder / "topics.jsonl")
    found = []
    for kind in FILES:
        for row in _lines(folder / f"{kind}.jsonl"):
            for text in row["texts"]:
                found += _filled(kind, row["family"], row["lang"], text, topics, rng, n_topics)
    return found


def _filled(
    kind: str, family: str, lang: Lang, text: str, topics: Sequence[dict[str, Any]], rng: np.random.Generator, n: int
) -> list[Example]:
    if not _has_gap(text):
        return [Example(kind, family, "", lang, text)]
    drawn = [topics[i] for i in rng.choice(len(topics), size=min(n, len(topics)), replace=False)]
    filled = []
    for topic in drawn:
        words: dict[str, str] = topic[lang]
        whole = _GAP.sub(partial(_joined, words, lang), text)
        filled.append(Example(kind, family, str(topic["topic"]), lang, whole[0].upper() + whole[1:]))
    return filled


def _joined(words: dict[str, str], lang: Lang, gap: re.Match[str]) -> str:
    """The gap's word behind what stands before it, in French contracted: patterns of attacks name an organisation more
    often, and "de le" would give them away.
    """
    before, word = gap["before"] or "", words[gap["name"]]
    if lang == "fr":
        for (own, first), joined in _CONTRACTED.items():
            if before.casefold() == own and word.startswith(first):
                return (joined[0].upper() if before[0].isupper() else joined[0]) + joined[1:] + word[len(first) :]
    return before + word


def _has_gap(text: str) -> bool:
    return _GAP.search(text) is not None


def _lines(path: Path) -> list[dict[str, Any]]:
    try:
        return [json.loads(line) for line in json_lines(path)]
    except (OSError, ValueError) as error:
        raise InputError(f"{path} is no file of guard examples ({error}). See models/guard_examples.") from error


def with_carriers(examples: Sequence[Example], rng: np.random.Generator, share: float = 0.3) -> list[Example]:
    """``examples``, and a share of the injections once more behind an honest question of the same language."""
    honest = {lang: [e.text for e in examples if e.kind == HONEST and e.lang == lang] for lang in LANGUAGES}
    hidden = [
        replace(example, text=f"{honest[example.lang][int(rng.integers(len(honest[example.lang])))]} {example.text}")
        for example in examples
        if example.kind == "injection" and honest[example.lang] and rng.random() < share
    ]
    return [*examples, *hidden]


def fold_of_name(kind: str, names: Sequence[str], n_folds: int = N_FOLDS) -> dict[str, int]:
    """Folds of families (or topics) of one kind: dealt out in the order of a hash of their names."""
    ordered = sorted(set(names), key=lambda name: hashlib.sha256(f"palier guard {kind}:{name}".encode()).hexdigest())
    return {name: place % n_folds for place, name in enumerate(ordered)}


@dataclass(frozen=True, slots=True)
class Folds:
    """Which families and topics are held out together."""

    families: dict[tuple[str, str], int]
    topics: dict[str, int]

    def splits(self, examples: Sequence[Example], fold: int) -> tuple[list[Example], list[Example]]:
        """(to learn from, to test on): tests have a family of this fold, and no topic that was learnt from."""
        learn, test = [], []
        for example in examples:
            is_tested = self.families[example.kind, example.family] == fold
            is_kept_topic = not example.topic or (self.topics[example.topic] == fold) == is_tested
            if is_tested and is_kept_topic:
                test.append(example)
            elif not is_tested and is_kept_topic:
                learn.append(example)
        return learn, test


def folds_of(examples: Sequence[Example], n_folds: int = N_FOLDS) -> Folds:
    """Folds by family within each kind, and by topic. One more family moves others: what was fitted by folds is fitted
    again when examples change."""
    families: dict[tuple[str, str], int] = {}
    for kind in {example.kind for example in examples}:
        names = [example.family for example in examples if example.kind == kind]
        families |= {(kind, name): fold for name, fold in fold_of_name(kind, names, n_folds).items()}
    topics = fold_of_name("topic", [example.topic for example in examples if example.topic], n_folds)
    return Folds(families, topics)


@dataclass(frozen=True, slots=True)
class AttackModel:
    """The first half of the guard's weights."""

    mean: NDArray[np.float64]
    scale: NDArray[np.float64]
    weights: NDArray[np.float64]
    bias: NDArray[np.float64]


def fit_attack(examples: Sequence[Example], encoder: TextEncoder, recipe: Recipe) -> AttackModel:
    """Multinomial logistic regression on signs, words, pieces and vectors; off-topic examples take no part."""
    used = [example for example in examples if example.kind in CLASSES]
    labels = np.array([CLASSES.index(example.kind) for example in used])
    n_signs = len(LEXICAL)
    rows = _sparse_rows(used, encoder)
    signs = rows[:, :n_signs].toarray()
    mean, scale = signs.mean(axis=0), np.maximum(signs.std(axis=0), 1e-3)
    rows = hstack([csr_matrix(standardised(signs, mean, scale)), rows[:, n_signs:]]).tocsr()
    gain = np.ones(rows.shape[1])
    gain[:n_signs] = recipe.lexical_weight / np.sqrt(n_signs)  # signs, words, pieces weigh alike to begin with
    gain[N_PLAIN:] = recipe.vector_weight
    model = LogisticRegression(C=1.0 / recipe.regularisation, max_iter=300, tol=1e-3)
    weight = np.array([1.0 / max(1, (labels == label).sum()) for label in labels])
    model.fit(rows @ diags(gain), labels, sample_weight=weight * len(labels) / len(CLASSES))
    return AttackModel(mean, scale, model.coef_ * gain, model.intercept_)


def _sparse_rows(examples: Sequence[Example], encoder: TextEncoder) -> csr_matrix:
    """`attack_features` of each example; of tens of thousands of numbers a few hundred are not 0."""
    parts = []
    for first in range(0, len(examples), CHUNK):
        chunk = examples[first : first + CHUNK]
        rows = attack_features([e.text for e in chunk], [e.lang for e in chunk], encoder)
        parts.append(csr_matrix(rows))
    return vstack(parts).tocsr()


def as_weights(attack: AttackModel, topic: "TopicModel | None" = None) -> GuardWeights:
    """Both halves together; without thresholds (1.0 and more is never reached) until they are chosen."""
    width = len(TOPIC)
    return GuardWeights(
        mean=_rounded(attack.mean),
        scale=_rounded(attack.scale),
        weights=tuple(_rounded(row) for row in attack.weights),
        bias=_rounded(attack.bias),
        topic_mean=_rounded(topic.mean) if topic else (0.0,) * width,
        topic_scale=_rounded(topic.scale) if topic else (1.0,) * width,
        topic_weights=_rounded(topic.weights) if topic else (0.0,) * width,
        topic_bias=topic.bias if topic else -30.0,
        attack_threshold=dict.fromkeys(LANGUAGES, 1.1),
        topic_threshold=dict.fromkeys(LANGUAGES, 1.1),
    )


def _rounded(values: NDArray[np.float64]) -> tuple[float, ...]:
    return tuple(round(float(value), 5) for value in values)


def attack_scores(
    weights: GuardWeights, examples: Sequence[Example], encoder: TextEncoder, classifier: TextClassifier | None = None
) -> NDArray[np.float64]:
    """P(attack) of each text, as the gateway would say it (its worst window)."""
    guard = Guard(weights, encoder, classifier)
    return np.array([guard.suspicion([example.text], example.lang)[1] for example in examples])


def threshold_for(scores: NDArray[np.float64], share: float) -> float:
    """The lowest threshold that refuses at most ``share`` of honest ``scores``; a hair above the last one kept."""
    if not len(scores):
        return 1.1
    kept = np.sort(scores)[::-1]
    n_refused = int(np.floor(share * len(kept)))
    return float(np.round(kept[n_refused] + 1e-4, 5))


@dataclass(frozen=True, slots=True)
class TopicModel:
    """The second half of the guard's weights."""

    mean: NDArray[np.float64]
    scale: NDArray[np.float64]
    weights: NDArray[np.float64]
    bias: float


def fit_topic(rows: NDArray[np.float64], off_topic: NDArray[np.bool_]) -> TopicModel:
    """Logistic regression of being off topic on TOPIC, both classes of equal weight."""
    mean, scale = rows.mean(axis=0), np.maximum(rows.std(axis=0), 1e-3)
    model = LogisticRegression(C=1.0, class_weight="balanced", max_iter=500)
    model.fit(standardised(rows, mean, scale), off_topic)
    return TopicModel(mean, scale, model.coef_[0], float(model.intercept_[0]))


def topic_rows(questions: Sequence[Question], hits: Sequence[Sequence[Hit]]) -> NDArray[np.float64]:
    """TOPIC of each question, shape (n, len(TOPIC))."""
    return np.array([topic_features(q, found) for q, found in zip(questions, hits, strict=True)])
