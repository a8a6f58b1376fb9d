"""A rung that fails slowly is left alone for a while: questions must not wait in turn for an endpoint that hangs.

A thread that waits for an endpoint answers nobody else, so a few questions for a heavy rung that hangs would hold all
threads, and the cheap rungs with them. Only slow failures open the breaker: a refusal that comes at once holds no
thread, and may be about that one question. The price: for REST_S seconds an endpoint that is well again is not asked;
then one question tries it while the others still go past.
"""

import threading
import time
from collections.abc import Sequence

from palier.adapters.heavy_rung import RefusedQuestionError
from palier.domain.answering import Hit, Question, Rung, RungAnswer
from palier.errors import ModelEndpointError

SLOW_S = 1.0
REST_S = 30.0


class CircuitBreaker:
    """A rung with its breaker; lives as long as its release. Safe to share between threads."""

    def __init__(self, name: str, rung: Rung, slow_s: float = SLOW_S, rest_s: float = REST_S) -> None:
        self.name = name
        self._rung = rung
        self._slow_s = slow_s
        self._rest_s = rest_s
        self._open_until: float | None = None
        self._lock = threading.Lock()

    def answer(self, question: Question, hits: Sequence[Hit]) -> RungAnswer:
        """What the rung answers; raises ModelEndpointError at once while the breaker is open."""
        self._pass()
        started = time.monotonic()
        open_until = None
        try:
            return self._rung.answer(question, hits)
        except RefusedQuestionError:  # however long that took, it is about this question
            raise
        except ModelEndpointError:
            ended = time.monotonic()
            open_until = ended + self._rest_s if ended - started >= self._slow_s else None
            raise
        finally:
            with self._lock:
                self._open_until = open_until

    def _pass(self) -> None:
        with self._lock:
            if self._open_until is not None and time.monotonic() < self._open_until:
                raise ModelEndpointError(
                    f"Rung {self.name!r} is left alone: its endpoint kept a question waiting in vain a moment ago. "
                    f"Try again in {self._rest_s:g} s; the gateway's log has the cause."
                )
            if self._open_until is not None:
                self._open_until = float("inf")  # this question tries it, the others go past until it knows
