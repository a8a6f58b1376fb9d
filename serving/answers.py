"""One question through one release.

A rung whose endpoint fails is skipped, as if the cascade did not have it, and named in ``degraded``: a dear
rung that is away must not take the cheap ones with it. Everything here blocks; `serving/desk.py` gives it a
thread. It knows nothing of HTTP.
"""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime

from palier.domain.answering import (
    Cascade,
    Citation,
    Climb,
    Hit,
    Origin,
    Question,
    Rung,
    RungAnswer,
    Scorer,
    Step,
    climb,
    origin_of,
)
from palier.domain.documents import Lang
from palier.domain.guarding import Kind
from palier.domain.ledger import Arm
from palier.domain.prompting import DONT_KNOW
from palier.domain.rollout import Rollout, assign_arm
from palier.errors import ModelEndpointError, NotReadyError
from serving.answer_cache import AnswerCache, cache_key
from serving.guard import Refusal, Watch
from serving.problems import UnknownModelProblem
from serving.releases import Release, Served

log = logging.getLogger(__name__)

MODEL = "palier"


@dataclass(frozen=True, slots=True)
class Asked:
    """A question with what the ledger must know of who asked it."""

    request_id: str
    key_id: str
    sticky_key: str
    question: Question
    asked_at: datetime
    rung: str | None = None
    """One rung alone, as `palier-<rung>` asks for; None for the release's cascade."""


@dataclass(frozen=True, slots=True)
class Seat:
    """Who answers: the release of the assigned arm, beside the champion as the judge of both."""

    release: Release
    champion: Release
    arm: Arm
    rollout: Rollout | None
    degraded: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Given:
    """An answer as it leaves the cascade; ``text`` is "I don't know" in the question's language if it
    abstained.
    """

    seat: Seat
    hits: Sequence[Hit]
    climb: Climb
    language: Lang
    text: str
    degraded: tuple[str, ...]
    blocked: Kind | None = None
    """What the guard refused the question for; no rung was asked then."""

    @property
    def citations(self) -> tuple[Citation, ...]:
        """What the answer rests on; an "I don't know" rests on nothing."""
        return () if self.climb.abstained else self.climb.final.answer.citations

    @property
    def origin(self) -> Origin:
        """The index that the passages came from, and its corpus revision."""
        manifest = self.seat.release.manifest
        return origin_of(self.hits, Origin(manifest.index, manifest.corpus_revision))

    @property
    def rung(self) -> str:
        return self.climb.final.answer.rung

    @property
    def reference_cost_nanousd(self) -> int | None:
        """What the reference rung costs per question on average (an estimate); None where the ladder has
        one rung, and for a refusal, which saves nothing that anybody would have wanted to pay for.
        """
        manifest = self.seat.release.manifest
        compares = len(manifest.ladder.rungs) > 1 and self.blocked is None
        return manifest.reference_cost_nanousd if compares else None

    @property
    def saved_nanousd(self) -> int | None:
        """Reference cost less cost; None where there is nothing to compare with."""
        reference = self.reference_cost_nanousd
        return None if reference is None else reference - self.climb.cost_nanousd


def choose_seat(served: Served, sticky_key: str, rung: str | None) -> Seat:
    """The release that answers this key now.

    One rung alone is always the champion's and takes no part in a rollout: releases are compared as a whole.
    Raises NotReadyError without a release, UnknownModelProblem for a rung that the champion has not.
    """
    champion = served.champion
    if champion is None:
        reasons = " ".join(f"{part}: {reason}" for part, reason in served.findings.items())
        raise NotReadyError(f"No release answers yet. {reasons or 'It is being loaded.'} See /readyz.")
    stand_in = () if served.is_current else ("champion_release",)
    if rung is not None:
        if rung not in champion.rungs:
            raise unknown_model(f"{MODEL}-{rung}", champion)
        return Seat(champion, champion, "champion", None, stand_in)
    if served.rollout is None or assign_arm(sticky_key, served.rollout) == "champion":
        return Seat(champion, champion, "champion", served.rollout, stand_in)
    if served.challenger is None:
        return Seat(champion, champion, "champion", served.rollout, (*stand_in, "challenger_release"))
    return Seat(served.challenger, champion, "challenger", served.rollout)


def unknown_model(name: str, release: Release | None) -> UnknownModelProblem:
    """The error for a model name, with the names that there are."""
    known = ", ".join(model_names(release))
    return UnknownModelProblem(f"There is no model {name!r}. Models of this release: {known}.", param="model")


def model_names(release: Release | None) -> list[str]:
    """`palier` for the cascade, `palier-<rung>` for each rung alone."""
    return [MODEL, *(f"{MODEL}-{rung}" for rung in (release.rungs if release else ()))]


def give_answer(asked: Asked, seat: Seat, cache: AnswerCache | None = None) -> Given:
    """Retrieve and climb, unless the guard refuses. Raises SearchError, and ModelEndpointError when every rung
    of the way failed.
    """
    release = seat.release
    watch = Watch(release)
    if refusal := watch.text(asked.question):
        return _refused(asked, seat, (), refusal)
    hits = release.retriever.search(asked.question, release.manifest.retrieval.k)
    if refusal := watch.topic(asked.question, hits):
        return _refused(asked, seat, hits, refusal)
    climbed, skipped = _climb(asked, seat, hits, cache)
    text = DONT_KNOW[asked.question.lang] if climbed.abstained else climbed.final.answer.text
    return Given(seat, hits, climbed, asked.question.lang, text, (*seat.degraded, *skipped))


def _climb(asked: Asked, seat: Seat, hits: Sequence[Hit], cache: AnswerCache | None) -> tuple[Climb, list[str]]:
    """From memory where the same was asked over the same passages, else up the cascade."""
    release = seat.release
    room = release.manifest.ladder.cached_answers if cache is not None and seat.rollout is None else 0
    key = cache_key(release.manifest.release_id, asked.rung, asked.question, hits)
    known = cache.get(key) if cache is not None and room else None
    if known is not None:
        return known, []
    cascade = release.manifest.cascade
    if asked.rung is not None:
        cascade = Cascade(steps=(Step(rung=asked.rung, threshold=0.0),), abstain_below=cascade.abstain_below)
    climbed, skipped = climb_past_failures(asked.question, hits, cascade, release.rungs, release.scorer)
    if cache is not None and room and not skipped:
        cache.put(key, climbed, room)
    return climbed, skipped


def _refused(asked: Asked, seat: Seat, hits: Sequence[Hit], refusal: Refusal) -> Given:
    return Given(seat, hits, refusal.climb, asked.question.lang, refusal.text, seat.degraded, refusal.kind)


def climb_past_failures(
    question: Question, hits: Sequence[Hit], cascade: Cascade, rungs: Mapping[str, Rung], scorer: Scorer
) -> tuple[Climb, list[str]]:
    """`climb`, with the rungs whose endpoint fails left out, and their names (``<rung>_endpoint``)."""
    failures: dict[str, ModelEndpointError] = {}
    watched = {name: _Skipping(name, rung, failures) for name, rung in rungs.items()}
    whole = climb(question, hits, cascade, watched, _ScoringWhatAnswered(scorer, failures))
    kept = tuple(attempt for attempt in whole.attempts if attempt.answer.rung not in failures)
    if not kept:
        raise next(iter(failures.values()))
    accepted = [attempt for attempt in kept if attempt.accepted]
    final = accepted[0] if accepted else max(kept, key=lambda attempt: attempt.score)
    abstained = not final.answer.text or final.score < cascade.abstain_below
    return Climb(kept, final, abstained), [f"{name}_endpoint" for name in failures]


def whole(text: str) -> str:
    """``text`` with a sign for each half of a surrogate pair: who cuts a text, a client or an endpoint, may cut an
    emoji in two, which JSON can say and UTF-8 cannot.
    """
    return text.encode("utf-8", "replace").decode("utf-8")


@dataclass(frozen=True, slots=True)
class _Skipping:
    """A rung that says nothing, at no cost, when its endpoint fails; else what UTF-8 can say of its text."""

    name: str
    rung: Rung
    failures: dict[str, ModelEndpointError]

    def answer(self, question: Question, hits: Sequence[Hit]) -> RungAnswer:
        try:
            said = self.rung.answer(question, hits)
            return replace(said, text=whole(said.text))
        except ModelEndpointError as error:
            log.warning("rung %s is skipped: %s", self.name, error)
            self.failures[self.name] = error
            return RungAnswer(self.name, "")


@dataclass(frozen=True, slots=True)
class _ScoringWhatAnswered:
    """The scorer, which must neither judge a rung that failed nor compare others with it."""

    scorer: Scorer
    failures: Mapping[str, ModelEndpointError] = field(default_factory=dict)

    def score(
        self, question: Question, hits: Sequence[Hit], answer: RungAnswer, earlier: Sequence[RungAnswer]
    ) -> float:
        if answer.rung in self.failures:
            return 0.0
        heard = [seen for seen in earlier if seen.rung not in self.failures]
        return self.scorer.score(question, hits, answer, heard)

    def believe(self, question: Question, answers: Sequence[RungAnswer]) -> Sequence[float]:
        """-1 for a rung that failed: whatever the reference promises, no threshold is reached by it."""
        heard = [said for said in answers if said.rung not in self.failures]
        told = iter(self.scorer.believe(question, heard)) if heard else iter(())
        return [-1.0 if said.rung in self.failures else next(told) for said in answers]

    def promise(self, question: Question, rung: str) -> float:
        return self.scorer.promise(question, rung)
