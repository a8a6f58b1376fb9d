"""How a question is answered: rungs are climbed until the scorer is content.

This room knows nothing of Elasticsearch, torch or HTTP: retrieval, rungs and the scorer come in through
three one-method protocols, and the same `climb` runs in the gateway, in `record-outcomes` and in tests.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from typing import Any, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from palier.domain.documents import Lang, Passage
from palier.domain.fusion import SearchMode

Number = TypeVar("Number", float, NDArray[np.float64])
MOST_EARLIER_CHARS = 500
"""Of the turn before a question, where both are read as one."""


@dataclass(frozen=True, slots=True)
class Turn:
    """One earlier message of a conversation; ``role`` is "user" or "assistant"."""

    role: str
    content: str


@dataclass(frozen=True, slots=True)
class Question:
    """A question in its language, with the conversation before it.

    ``as_of`` is the day that what is found must hold on; None, for questions of no day (golden ones): all that stands
    in the documents counts.
    """

    text: str
    lang: Lang
    history: tuple[Turn, ...] = ()
    as_of: date | None = None

    @property
    def standalone(self) -> str:
        """The question with the last thing that the user said before it (its end: encoders read some 250 tokens from
        the front, and a pasted letter would leave the question out), for retrieval and reading.
        """
        earlier = [turn.content for turn in self.history if turn.role == "user"]
        return f"{earlier[-1][-MOST_EARLIER_CHARS:]} {self.text}" if earlier else self.text


@dataclass(frozen=True, slots=True)
class Hit:
    """A retrieved passage; ``score`` is fused and in 0..1, ``bm25`` and ``cosine`` are None where absent.

    ``index`` is the physical index that it came from, also where the search went through an alias. ``rerank`` is the
    reranker's logit, None where it was not asked. ``near_duplicates`` are the ids of passages that were found too and
    say nearly the same, less well placed.
    """

    passage: Passage
    score: float
    bm25: float | None = None
    cosine: float | None = None
    index: str = ""
    rerank: float | None = None
    near_duplicates: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class AskedQuestion:
    """A question whose outcomes are recorded: its row (id, split, answers, …), and what was retrieved for it."""

    row: Mapping[str, Any]
    question: Question
    hits: Sequence[Hit]


@dataclass(frozen=True, slots=True)
class Citation:
    """What an answer rests on: ``quote`` stands word for word in the passage."""

    passage_id: str
    document_id: str
    quote: str


@dataclass(frozen=True, slots=True)
class RungAnswer:
    """What one rung said. An empty ``text`` means "nothing here supports an answer".

    ``signals`` are numbers that the rung knows of itself (reader margin, expected F1, token log-probability, ...);
    ``withheld`` is what a rung that says nothing would have said, and where it stands: for the scorer, to nobody else.
    """

    rung: str
    text: str
    citations: tuple[Citation, ...] = ()
    signals: Mapping[str, float] = field(default_factory=dict)
    cost_nanousd: int = 0
    latency_ms: float = 0.0
    withheld: tuple[str, Citation] | None = None


@dataclass(frozen=True, slots=True)
class Origin:
    """Where an answer's passages came from: the physical index, and the corpus revision that it holds (the first
    12 digits of it, as the index's name tells, where it is not the release's own)."""

    index: str
    revision: str


def origin_of(hits: Sequence[Hit], released: Origin) -> Origin:
    """The origin of ``hits``: the release's own index, or a newer one that the alias led to."""
    index = next((hit.index for hit in hits if hit.index), released.index)
    if index == released.index:
        return released
    parts = index.split("-")
    return Origin(index, parts[1] if len(parts) > 1 else "")


class Retriever(Protocol):
    """Finds passages, best first; without a ``mode``, in the way that its release answers in."""

    def search(self, question: Question, k: int, mode: SearchMode | None = None) -> Sequence[Hit]: ...


class NoPassages:
    """The retriever of `retrieval: none`: rungs answer from what they know."""

    def search(
        self,
        question: Question,  # noqa: ARG002 (part of the protocol)
        k: int,  # noqa: ARG002
        mode: SearchMode | None = None,  # noqa: ARG002
    ) -> Sequence[Hit]:
        """Nothing, at once."""
        return ()


class Rung(Protocol):
    """Anything that can answer, with a price."""

    @property
    def name(self) -> str: ...

    def answer(self, question: Question, hits: Sequence[Hit]) -> RungAnswer: ...


class Scorer(Protocol):
    """Estimates the probability that an answer is acceptable, from 0 to 1.

    What climbs by beliefs asks for the second and third: the probability for each of several answers, all of them
    seen, and that of a rung before it is asked.
    """

    def score(
        self, question: Question, hits: Sequence[Hit], answer: RungAnswer, earlier: Sequence[RungAnswer]
    ) -> float: ...

    def believe(self, question: Question, answers: Sequence[RungAnswer]) -> Sequence[float]: ...

    def promise(self, question: Question, rung: str) -> float: ...


class Step(BaseModel):
    """One rung of a cascade: the climb ends here at a score, or a `lead`, of ``threshold`` or more."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    rung: str
    threshold: float = Field(ge=0.0, le=1.0)
    languages: tuple[Lang, ...] = ("en", "fr")


class Cascade(BaseModel):
    """An ordered choice of rungs. Where no step accepts, the best-scored answer is taken whatever its score.

    An answer whose final score is below ``abstain_below`` is replaced by "I don't know".

    ``by_beliefs``: thresholds are held against the `lead` of the answer believed most over what the last step promises
    for the question, and that answer is final. With ``direct_from``, a question for which the last step promises so
    much more than the first goes there at once.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    steps: tuple[Step, ...] = Field(min_length=1)
    abstain_below: float = Field(default=0.0, ge=0.0, le=1.0)
    by_beliefs: bool = False
    direct_from: float | None = Field(default=None, ge=0.0, le=1.0)


@dataclass(frozen=True, slots=True)
class Attempt:
    """One rung tried on the way up."""

    answer: RungAnswer
    score: float
    accepted: bool


@dataclass(frozen=True, slots=True)
class Climb:
    """All attempts of one question, cheapest first, and the one that is given to the caller."""

    attempts: tuple[Attempt, ...]
    final: Attempt
    abstained: bool

    @property
    def cost_nanousd(self) -> int:
        """Sum over all attempts: a rung that was climbed over was paid too."""
        return sum(attempt.answer.cost_nanousd for attempt in self.attempts)


def lead(belief: Number, promise: Number) -> Number:
    """How far a belief is ahead of a promise, from 0 (behind by all) to 1 (ahead by all)."""
    return (1.0 + belief - promise) / 2.0


def climb(
    question: Question,
    hits: Sequence[Hit],
    cascade: Cascade,
    rungs: Mapping[str, Rung],
    scorer: Scorer,
) -> Climb:
    """Ask the cascade's rungs in order until one answer reaches its threshold.

    When none does, the best-scored answer seen is final, not only the last. Rungs that do not serve the
    question's language are passed over. Raises KeyError when the cascade names a rung that is not there.
    """
    steps = [step for step in cascade.steps if question.lang in step.languages] or [cascade.steps[-1]]
    if cascade.by_beliefs:
        return _climb_by_beliefs(question, hits, cascade, steps, rungs, scorer)
    attempts: list[Attempt] = []
    for step in steps:
        answer = rungs[step.rung].answer(question, hits)
        score = scorer.score(question, hits, answer, [seen.answer for seen in attempts])
        attempts.append(Attempt(answer, score, accepted=score >= step.threshold))
        if attempts[-1].accepted:
            break
    final = attempts[-1] if attempts[-1].accepted else max(attempts, key=lambda seen: seen.score)
    abstained = not final.answer.text or final.score < cascade.abstain_below
    return Climb(tuple(attempts), final, abstained)


def _climb_by_beliefs(
    question: Question,
    hits: Sequence[Hit],
    cascade: Cascade,
    steps: Sequence[Step],
    rungs: Mapping[str, Rung],
    scorer: Scorer,
) -> Climb:
    """Ask until the answer believed most is far enough ahead of what the last step promises.

    Where the last one would fail as well, climbing buys nothing.
    """
    last = scorer.promise(question, steps[-1].rung)
    if cascade.direct_from is not None and lead(last, scorer.promise(question, steps[0].rung)) >= cascade.direct_from:
        steps = steps[-1:]
    answers: list[RungAnswer] = []
    for step in steps:
        answers.append(rungs[step.rung].answer(question, hits))
        beliefs = scorer.believe(question, answers)
        best = max(range(len(answers)), key=beliefs.__getitem__)
        contentment = beliefs[best] if step is steps[-1] else lead(beliefs[best], last)
        accepted = contentment >= step.threshold
        if accepted:
            break
    told = zip(answers, beliefs, strict=True)
    attempts = tuple(Attempt(said, belief, accepted and at == best) for at, (said, belief) in enumerate(told))
    final = attempts[best]
    return Climb(attempts, final, abstained=not final.answer.text or final.score < cascade.abstain_below)
