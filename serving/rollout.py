"""A challenger at work: copies of the champion's questions in the shadow phase, and a look at the verdict
each second.

Copies wait in a bounded queue and are answered by one thread while the live threads have time, so a shadow
never makes callers wait; when the queue is full, copies are dropped and counted. Nobody sees their answers:
they leave ledger rows with arm "shadow". Deciding is not done here:
`palier.adapters.rollout_control.advance` does, idempotently, so several gateways may look at once.
"""

import logging
import queue
import time
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from palier.adapters.records import Records
from palier.adapters.rollout_control import advance
from palier.domain.ledger import LedgerRow
from serving.answers import Asked, Seat
from serving.background import BackgroundLoop
from serving.desk import Desk
from serving.errands import Errand
from serving.metrics import Metrics
from serving.releases import ReleaseStore, Served
from serving.rows import error_row

log = logging.getLogger(__name__)

LOOK_EVERY_S = 1.0
GIVE_WAY_AT_MOST_S = 0.5
CHALLENGER_REFUSED = "challenger_refused"


@dataclass(frozen=True, slots=True)
class Copy:
    """One question of a caller, again for the challenger."""

    asked: Asked
    seat: Seat
    refused: str | None = None


def copy_for_challenger(asked: Asked, seat: Seat, served: Served) -> Copy | None:
    """The copy that the shadow phase wants of this question, or None when there is none to make.

    A challenger whose bundle was refused gets its copies too: each becomes an error in the ledger, so that
    the same rule that judges all challengers sends it back.
    """
    rollout = seat.rollout
    if rollout is None or rollout.phase != "shadow":
        return None
    if served.challenger is not None:
        return Copy(asked, replace(seat, release=served.challenger, arm="shadow", degraded=()))
    if served.challenger_refused is not None:
        return Copy(asked, replace(seat, arm="shadow"), refused=served.challenger_refused)
    return None


class ShadowQueue:
    """Answers copies, one at a time, from `start` to `stop`."""

    def __init__(self, records: Records, desk: Desk, metrics: Metrics, size: int) -> None:
        self._records = records
        self._desk = desk
        self._metrics = metrics
        self._copies: queue.Queue[Copy] = queue.Queue(maxsize=size)
        self._loop = BackgroundLoop("shadow", self._answer_next, pause_s=0.0)

    def start(self) -> None:
        self._loop.start()

    def stop(self) -> None:
        """Copies that still wait are forgotten."""
        self._loop.stop()

    def offer(self, copy: Copy | None) -> None:
        """Take ``copy`` if there is room; never waits."""
        if copy is None:
            return
        try:
            self._copies.put_nowait(copy)
        except queue.Full:
            self._metrics.shadow_dropped.inc()

    def _answer_next(self) -> None:
        try:
            copy = self._copies.get(timeout=0.2)
        except queue.Empty:
            return
        self._give_way()
        if copy.refused is None:
            _answer_quietly(Errand(copy.asked, copy.seat, self._records, self._metrics))
        else:
            log.warning("copy of %s: challenger refused (%s)", copy.asked.request_id, copy.refused)
            self._records.append_request(_refusal_row(copy))

    def _give_way(self) -> None:
        """Live questions first, but not for ever: a shadow under steady load must come to its end."""
        until = time.monotonic() + GIVE_WAY_AT_MOST_S
        while self._desk.is_busy and time.monotonic() < until:
            time.sleep(0.02)


def _answer_quietly(errand: Errand) -> None:
    """Whatever a challenger does wrong is a row in the ledger by now, and nobody's answer."""
    try:
        errand.run()
    except Exception as error:  # noqa: BLE001 (a challenger may break in any way)
        log.warning("a copy for the challenger failed: %s: %s", type(error).__name__, error)


def _refusal_row(copy: Copy) -> LedgerRow:
    assert copy.seat.rollout is not None
    row = error_row(copy.asked, copy.seat, CHALLENGER_REFUSED, latency_ms=0.0)
    return replace(row, release_id=copy.seat.rollout.challenger_id, index=None)


class RolloutWatch:
    """Looks at a running rollout once a second and lets it move."""

    def __init__(self, records: Records, releases: ReleaseStore) -> None:
        self._records = records
        self._releases = releases
        self._loop = BackgroundLoop("rollout", self._look, pause_s=LOOK_EVERY_S)

    def start(self) -> None:
        self._loop.start()

    def stop(self) -> None:
        self._loop.stop()

    def _look(self) -> None:
        rollout = self._releases.served.rollout
        if rollout is None:
            return
        verdict = advance(self._records, rollout.params, datetime.now(UTC))
        if verdict is not None:
            log.debug("rollout %s: %s", rollout.rollout_id, verdict)
