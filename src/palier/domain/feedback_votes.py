"""Several people on one question, and one person on many: what is believed, and how much of it.

Claims on the same question, or on nearly the same about one document ("when does the shop in York close?" is near to
one about Leeds), are one vote: each key has one voice, its last; the answer with most voices counts, a tie teaches
nothing. A machine's answers count only where no person spoke. Then no key may teach more than its share. Pure; who is
who comes in as a key's id. The price: one key can keep one honest answer out by contradicting it, which is safer than
learning the wrong one.
"""

import hashlib
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeVar

from palier.domain.documents import Lang
from palier.domain.feedback_corpus import same_answer
from palier.domain.near_questions import NearQuestions

T = TypeVar("T")


class Spoken(Protocol):
    """What somebody says of a question: for an answer (``voice`` above 0) or against it (below 0)."""

    @property
    def claim_id(self) -> str: ...
    @property
    def key_id(self) -> str: ...
    @property
    def question(self) -> str: ...
    @property
    def lang(self) -> Lang: ...
    @property
    def document_id(self) -> str: ...
    @property
    def answer(self) -> str: ...
    @property
    def voice(self) -> int: ...
    @property
    def by_machine(self) -> bool: ...


S = TypeVar("S", bound=Spoken)


@dataclass(frozen=True, slots=True)
class Cap:
    """At most ``share`` of all rows and ``n_rows`` from one key; ``n_free`` always."""

    share: float
    n_rows: int
    n_free: int


def one_question_each(claims: Sequence[S], near: float) -> list[list[S]]:
    """Claims in order, grouped by question; figures of a group's questions are the same."""
    everywhere = NearQuestions((), 1.0)
    within: dict[str, NearQuestions] = {}
    groups: dict[str, list[S]] = {}
    for claim in claims:
        nearby = within.setdefault(claim.document_id, NearQuestions((), near))
        finds = (index.find(claim.question, claim.lang, same_figures=True) for index in (everywhere, nearby))
        group = next((found for found in finds if found is not None), claim.claim_id)
        for index in (everywhere, nearby):
            index.add(group, claim.question, claim.lang)
        groups.setdefault(group, []).append(claim)
    return list(groups.values())


def elected(group: Sequence[S]) -> list[S]:
    """The claims for the answer that has most voices, one a key, in order; empty when nobody wins."""
    voices = _one_a_key([claim for claim in group if not claim.by_machine] or group)
    answers: list[list[S]] = []
    for claim in (claim for claim in voices if claim.voice > 0):
        alike = next((said for said in answers if same_answer(claim.answer, [said[0].answer], claim.lang)), None)
        if alike is None:
            answers.append([claim])
        else:
            alike.append(claim)
    against = [claim for claim in voices if claim.voice < 0]
    ranked = sorted(((_voices(said, against), -place) for place, said in enumerate(answers)), reverse=True)
    if not ranked or ranked[0][0] <= 0 or (len(ranked) > 1 and ranked[1][0] == ranked[0][0]):
        return []
    return answers[-ranked[0][1]]


def _one_a_key(claims: Sequence[S]) -> list[S]:
    """Each key's last word; but what it is for stays, until it is for another answer or against that one."""
    latest: dict[str, S] = {}
    for claim in claims:
        said = latest.get(claim.key_id)
        if said and said.voice > 0 > claim.voice and not same_answer(claim.answer, [said.answer], claim.lang):
            continue
        latest[claim.key_id] = claim
    return list(latest.values())


def _voices(said: Sequence[Spoken], against: Sequence[Spoken]) -> int:
    first = said[0]
    contrary = [claim for claim in against if same_answer(claim.answer, [first.answer], first.lang)]
    return sum(claim.voice for claim in [*said, *contrary])


def capped(rows: Sequence[T], cap: Cap, key_of: Callable[[T], str], id_of: Callable[[T], str]) -> list[T]:
    """The rows that remain, in order, when no key gives more than its cap.

    Which rows of a key remain is decided by a hash of their ids: neither by time nor by whoever sent them.
    """
    limit = key_limit(Counter(key_of(row) for row in rows), cap)
    given: Counter[str] = Counter()
    kept: set[str] = set()
    for row in sorted(rows, key=lambda row: hashlib.sha256(id_of(row).encode()).digest()):
        if given[key_of(row)] < limit:
            given[key_of(row)] += 1
            kept.add(id_of(row))
    return [row for row in rows if id_of(row) in kept]


def key_limit(n_of_key: Mapping[str, int], cap: Cap) -> int:
    """Rows that one key may give: the most that is no more than its share of what then remains."""
    counts = list(n_of_key.values())
    most = min(cap.n_rows, max(counts, default=0))
    by_share = max(n for n in range(most + 1) if n <= _allowed(counts, n, cap.share))
    return min(cap.n_rows, max(cap.n_free, by_share))


def _allowed(counts: Sequence[int], limit: int, share: float) -> float:
    return share * sum(min(count, limit) for count in counts) + 1e-9
