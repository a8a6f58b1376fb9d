"""One question on its way through a thread: answered, counted, and written to the ledger before anybody
hears it.

The row is stored before the answer leaves, so what was acknowledged is in the ledger. Requests that fail on
our side leave a row too, with the error's code; a caller's own mistake (bad body, unknown model) used
nothing and leaves none.
"""

import logging
import threading
import time
from dataclasses import replace

from palier.adapters.records import Records
from palier.domain.ledger import LedgerRow
from serving.answer_cache import AnswerCache
from serving.answers import Asked, Given, Seat, give_answer
from serving.metrics import Metrics
from serving.problems import DeadlineProblem, error_code
from serving.rows import error_row, ledger_row

log = logging.getLogger(__name__)


class Errand:
    """`serving.desk.Work` for one question; used once."""

    def __init__(
        self, asked: Asked, seat: Seat, records: Records, metrics: Metrics, cache: AnswerCache | None = None
    ) -> None:
        self._asked = asked
        self._seat = seat
        self._records = records
        self._metrics = metrics
        self._cache = cache
        self._started = time.perf_counter()
        self._has_expired = threading.Event()

    @property
    def asked(self) -> Asked:
        """What was asked; once its row is stored, under the id of that row: another request may have had its own."""
        return self._asked

    def run(self) -> Given:
        """The answer, when its row is in the ledger. Raises what `give_answer` raises, after a row with its
        code.
        """
        try:
            given = give_answer(self._asked, self._seat, self._cache)
        except Exception as error:
            self._fail(error)
            raise
        row = ledger_row(self._asked, given, self._elapsed_ms())
        self._store(row)
        self._count(given)
        return given

    def expire(self, *, has_started: bool) -> None:
        """What runs already will be written down with its cost when it ends; what never started, now."""
        self._has_expired.set()
        if not has_started:
            self._fail(DeadlineProblem("never started"))

    def _store(self, row: LedgerRow) -> None:
        if self._has_expired.is_set():
            row = replace(row, error=error_code(DeadlineProblem("")))
        self._append(row)

    def _append(self, row: LedgerRow) -> None:
        self._asked = replace(self._asked, request_id=self._records.append_request(row))

    def _fail(self, error: Exception) -> None:
        code = error_code(error)
        self._metrics.failures.labels(self._seat.arm, code).inc()
        self._append(error_row(self._asked, self._seat, code, self._elapsed_ms()))

    def _count(self, given: Given) -> None:
        metrics, arm = self._metrics, given.seat.arm
        language = self._asked.question.lang
        metrics.answers.labels(given.rung, arm, language, str(given.climb.abstained).lower()).inc()
        if given.blocked is not None:
            metrics.blocked.labels(given.blocked, language).inc()
        metrics.cost.labels(arm).inc(given.climb.cost_nanousd)
        if given.reference_cost_nanousd is not None:
            metrics.reference_cost.labels(arm).inc(given.reference_cost_nanousd)
        for part in given.degraded:
            metrics.degraded.labels(part).inc()

    def _elapsed_ms(self) -> float:
        return 1000 * (time.perf_counter() - self._started)
