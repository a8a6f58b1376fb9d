"""Answers that were given before, for the same question over the same passages of the same release.

Equal means equal: case, accents and spaces aside, and nothing nearer than that ("small" and "large" pizza are near
neighbours for any encoder). The passages belong to the key, so that an edited document is never answered from memory;
retrieval is therefore paid each time, the rungs are not. While a rollout runs nothing is remembered or given again,
since a warm champion would beat a cold challenger by its memory alone. In memory of one gateway, least recently used
goes first; the price is that a restart forgets.
"""

import hashlib
import threading
import unicodedata
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, replace

from palier.domain.answering import Attempt, Climb, Hit, Question
from palier.domain.ledger import CACHE


@dataclass(frozen=True, slots=True)
class AttemptAgain(Attempt):
    """An attempt of the rung `cache`; ``first_rung`` is whose answer it is, for the ledger: thumbs are about that."""

    first_rung: str


def cache_key(release_id: str, rung: str | None, question: Question, hits: Sequence[Hit]) -> bytes:
    """The key of ``question`` over ``hits``, for one rung or (None) the cascade: the sha256 of all that an answer
    follows from, since thousands of keys are kept and a conversation may be long.
    """
    turns = [f"{turn.role}: {_plain(turn.content)}" for turn in question.history]
    read = [(hit.index, hit.passage.passage_id) for hit in hits]
    followed_from = (release_id, rung, question.lang, turns, _plain(question.text), read)
    return hashlib.sha256(repr(followed_from).encode("utf-8")).digest()


class AnswerCache:
    """Climbs by key, the least recently used forgotten first. Safe to share between threads."""

    def __init__(self) -> None:
        self._climbs: OrderedDict[bytes, Climb] = OrderedDict()
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._climbs)

    def get(self, key: bytes) -> Climb | None:
        """The climb as one free attempt of the rung `cache`, or None."""
        with self._lock:
            known = self._climbs.get(key)
            if known is not None:
                self._climbs.move_to_end(key)
        return known

    def put(self, key: bytes, climb: Climb, capacity: int) -> None:
        """Remember ``climb``; at most ``capacity`` climbs stay."""
        with self._lock:
            self._climbs[key] = _given_again(climb)
            self._climbs.move_to_end(key)
            while len(self._climbs) > capacity:
                self._climbs.popitem(last=False)


def _given_again(climb: Climb) -> Climb:
    answer = replace(climb.final.answer, rung=CACHE, cost_nanousd=0, latency_ms=0.0)
    first_rung = climb.final.answer.rung
    final = AttemptAgain(answer, climb.final.score, accepted=climb.final.accepted, first_rung=first_rung)
    return Climb((final,), final, climb.abstained)


def _plain(text: str) -> str:
    """``text`` without accents, case and surplus spaces."""
    bare = "".join(sign for sign in unicodedata.normalize("NFKD", text) if not unicodedata.combining(sign))
    return " ".join(bare.casefold().split())
