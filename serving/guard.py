"""Before any rung: a question that is not for us gets a polite refusal, at once and for next to nothing.

The text alone is judged before anything is searched; whether it is off topic shows when passages are there. A refusal
is an answer like any other (a row in the ledger, a cost, the `palier` object), given by the "rung" `guard`, which no
cascade holds. It saves nothing by our counting: nobody would have paid a reference rung for it gladly. Which texts are
refused is decided in `palier.domain.guarding`; what a refusal is worth in a rollout, the champion's guard says.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from palier.domain.answering import Attempt, Climb, Hit, Question, RungAnswer
from palier.domain.guarding import REFUSALS, Kind, Verdict
from palier.domain.ledger import GUARD
from palier.domain.money import cpu_cost_nanousd
from serving.releases import Release


@dataclass(frozen=True, slots=True)
class Refusal:
    """What is said instead of an answer, and why; in ``climb`` it stands as the one attempt, of the rung `guard`."""

    kind: Kind
    text: str
    climb: Climb


class Watch:
    """The guard of one release at work on one question; adds up the processor time that it takes."""

    def __init__(self, release: Release) -> None:
        self._guard = release.guard
        self._judges_topic = _judges_topic(release)
        self._usd_per_hour = release.manifest.ladder.cpu_usd_per_hour
        self._busy_s = 0.0

    def text(self, question: Question) -> Refusal | None:
        """The refusal of what is asked; None where it may be searched for."""
        guard = self._guard
        return None if guard is None else self._timed(question, lambda: guard.judge(question))

    def topic(self, question: Question, hits: Sequence[Hit]) -> Refusal | None:
        """The refusal of what no passage is about; None where it may be answered."""
        guard = self._guard
        if guard is None or not self._judges_topic:
            return None
        return self._timed(question, lambda: guard.judge_topic(question, hits))

    def _timed(self, question: Question, judge: Callable[[], Verdict]) -> Refusal | None:
        started = time.thread_time()
        verdict = judge()
        self._busy_s += time.thread_time() - started
        if verdict.kind is None:
            return None
        text = REFUSALS[question.lang][verdict.kind]
        cost = max(1, cpu_cost_nanousd(self._busy_s, self._usd_per_hour))
        said = RungAnswer(GUARD, text, cost_nanousd=cost, latency_ms=1000 * self._busy_s)
        only = Attempt(said, verdict.score, accepted=True)
        return Refusal(verdict.kind, text, Climb((only,), only, abstained=True))


def worth_of_refusal(champion: Release, kind: Kind, question: Question, hits: Sequence[Hit]) -> float:
    """The probability, 0 to 1, that refusing ``question`` for ``kind`` was right, as ``champion``'s guard sees it.

    Nothing, as an error, where the champion guards against no such thing. To leave refusals out instead would make a
    release look good that refuses whatever is hard. The price: where much is refused rightly, a first guard may have to
    be promoted by hand.
    """
    guard = champion.guard
    if guard is None:
        return 0.0
    if kind != "off_topic":
        return guard.judge(question).score
    return guard.judge_topic(question, hits).score if _judges_topic(champion) else 0.0


def _judges_topic(release: Release) -> bool:
    """Without passages every question is as far from them as a stranger's."""
    manifest = release.manifest
    return manifest.guard is not None and manifest.guard.off_topic and manifest.retrieval.searches
