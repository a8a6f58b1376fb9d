"""What is around every request: its id, its limit of size, its time, and an answer even when the code
breaks.

Plain ASGI, outermost, so that every answer carries ``x-request-id``, errors and streams too. It knows
nothing of questions. A caller may bring its own id, which stands in the ledger and in training rows for as long as they
do; one that is no sane token, or that looks like a person's number, is replaced, never echoed.
"""

import logging
import re
import secrets
import time
from typing import Any

from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from palier.domain.personal_data import find_personal_data
from serving.metrics import Metrics
from serving.problems import accident_response

log = logging.getLogger(__name__)

MAX_BODY_BYTES = 1_000_000
REQUEST_ID = b"x-request-id"
METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
_SANE_TOKEN = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{7,63}")
_RANDOM = re.compile(r"(?:[a-z]{1,8}-)?[0-9a-f]{8}(?:-?[0-9a-f]{4}){3}-?[0-9a-f]{12}", re.IGNORECASE)
"""A UUID, ours too, or a trace id: chance, in which one in two hundred times the digits of a card or a telephone."""


def new_request_id() -> str:
    """``req-`` and a UUID of version 7 (RFC 9562, section 5.7): ids sort by time of arrival."""
    stamp = time.time_ns() // 1_000_000
    value = (stamp << 80) | (0x7 << 76) | (secrets.randbits(12) << 64) | (0b10 << 62) | secrets.randbits(62)
    digits = f"{value:032x}"
    return f"req-{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}"


def request_id_from(headers: list[tuple[bytes, bytes]]) -> str:
    """The caller's own id where it is 8 to 64 letters, digits, dots, dashes, and no personal data; else a new one.

    The price: a plain number may look like somebody's telephone or card, and is replaced too.
    """
    given = next((value.decode("latin-1") for name, value in headers if name == REQUEST_ID), "")
    is_taken = _SANE_TOKEN.fullmatch(given) and not find_personal_data(_RANDOM.sub("", given))
    return given if is_taken else new_request_id()


class Envelope:
    """ASGI middleware; see the module."""

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self._app = app
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        state = scope.setdefault("state", {})
        state["request_id"] = request_id_from(scope["headers"])
        exchange = _Exchange(state, receive, send)
        started = time.perf_counter()
        try:
            await self._app(scope, exchange.receive, exchange.send)
        except Exception:  # the last line of defence of an entry point
            log.exception("request %s failed", exchange.request_id)
            if exchange.status is None:
                await accident_response()(scope, receive, exchange.send)
        finally:
            self._observe(scope, exchange, time.perf_counter() - started)

    def _observe(self, scope: Scope, exchange: "_Exchange", seconds: float) -> None:
        route = getattr(scope.get("route"), "path", "unmatched")
        method = scope["method"] if scope["method"] in METHODS else "other"  # a caller may send any word
        self._metrics.requests.labels(route, method, str(exchange.status or 499)).inc()
        self._metrics.request_seconds.labels(route).observe(seconds)


class _Exchange:
    """One request: counts what comes in, marks what goes out."""

    def __init__(self, state: dict[str, Any], receive: Receive, send: Send) -> None:
        self._state = state
        self.status: int | None = None
        self._receive = receive
        self._send = send
        self._n_bytes = 0

    @property
    def request_id(self) -> str:
        """As it is now: a route may have replaced an id that the ledger has already."""
        return str(self._state["request_id"])

    async def receive(self) -> Message:
        message = await self._receive()
        self._n_bytes += len(message.get("body", b""))
        if self._n_bytes > MAX_BODY_BYTES:
            # FastAPI passes on only HTTPException while it reads a body.
            raise HTTPException(413, f"The body is over {MAX_BODY_BYTES} bytes.")
        return message

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            headers: list[tuple[bytes, bytes]] = list(message.get("headers", []))
            message = {**message, "headers": [*headers, (REQUEST_ID, self.request_id.encode("latin-1"))]}
        await self._send(message)
