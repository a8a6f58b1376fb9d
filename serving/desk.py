"""Where blocking work waits and runs: a few threads, a bounded queue, a time limit.

Models and retrieval are CPU work, so more threads than cores only make every answer slower; what does not
fit is refused at once, with 503, instead of being late. A thread cannot be stopped: work whose caller has
gone away goes on, keeps its place until it ends, and is told through `Work.expire`.
"""

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

from serving.metrics import Metrics
from serving.problems import DeadlineProblem, OverloadProblem

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)


@dataclass(frozen=True, slots=True)
class Limits:
    """How much one gateway takes on."""

    n_threads: int = 2
    n_waiting: int = 32
    timeout_s: float = 60.0
    shadow_queue: int = 64


class Work(Protocol[T_co]):
    """Something to run in a thread, which wants to know when nobody waits for it any more."""

    def run(self) -> T_co: ...

    def expire(self, *, has_started: bool) -> None:
        """The caller has been told that it took too long. Blocking is allowed; called once, from any
        thread.
        """


class Desk:
    """Runs work in threads from its making to `close`."""

    def __init__(self, limits: Limits, metrics: Metrics) -> None:
        self._limits = limits
        self._metrics = metrics
        self._pool = ThreadPoolExecutor(limits.n_threads, thread_name_prefix="answer")
        self._lock = threading.Lock()
        self._n_open = 0

    @property
    def is_busy(self) -> bool:
        """True when new work would have to wait for a thread."""
        return self._n_open >= self._limits.n_threads

    async def run(self, work: Work[T]) -> T:
        """The result of ``work``. Raises OverloadProblem when the queue is full, DeadlineProblem when it
        took too long.
        """
        future = self._submit(work.run)
        waiting = asyncio.wrap_future(future)
        waiting.add_done_callback(_look_at)
        try:
            return await asyncio.wait_for(asyncio.shield(waiting), self._limits.timeout_s)
        except TimeoutError:
            await asyncio.to_thread(work.expire, has_started=not future.cancel())
            raise DeadlineProblem(
                f"No answer within {self._limits.timeout_s:g} s. Try again, or ask a cheap rung alone."
            ) from None

    def close(self) -> None:
        """Waits for running work; what waits is dropped."""
        self._pool.shutdown(wait=True, cancel_futures=True)

    def _submit(self, call: Callable[[], T]) -> Future[T]:
        with self._lock:
            if self._n_open >= self._limits.n_threads + self._limits.n_waiting:
                raise OverloadProblem(f"{self._n_open} questions are waiting already. Try again in a second.")
            self._n_open += 1
        self._metrics.open_questions.inc()
        future = self._pool.submit(call)
        future.add_done_callback(self._leave)
        return future

    def _leave(self, _: Future[T]) -> None:
        with self._lock:
            self._n_open -= 1
        self._metrics.open_questions.dec()


class SharedCall:
    """One blocking call at a time beside the desk, however many ask for it: they share its result.

    For probes, which anybody may send and which must be answered when the desk is full: a call that hangs holds one
    thread, not as many as there were probes. Used from the event loop only.
    """

    def __init__(self) -> None:
        self._running: asyncio.Future[Any] | None = None

    async def result(self, call: Callable[[], Any], timeout_s: float) -> Any:
        """Of ``call``, or of the one that runs already; raises TimeoutError, and what the call raises."""
        if self._running is None or self._running.done():
            self._running = asyncio.ensure_future(asyncio.to_thread(call))
            self._running.add_done_callback(_look_at)
        return await asyncio.wait_for(asyncio.shield(self._running), timeout_s)


def _look_at(done: "asyncio.Future[Any]") -> None:
    """An error that comes after the caller has gone is in the ledger; asyncio need not complain of it too."""
    if not done.cancelled():
        done.exception()


@dataclass(frozen=True, slots=True)
class Call(Work[T]):
    """Work that leaves no trace when nobody waits for it: a search, a probe."""

    call: Callable[[], T]

    def run(self) -> T:
        return self.call()

    def expire(self, *, has_started: bool) -> None:
        """Nothing to write down."""
