"""A model endpoint on loopback with a real small model behind it, in two protocols.

OpenAI: `POST /v1/chat/completions`, `Authorization: Bearer KEY`, the model named in the body. Azure OpenAI: `POST
/openai/deployments/DEPLOYMENT/chat/completions?api-version=…`, `api-key: KEY`, the model named in the path. It can be
told to refuse (all, a field, some questions), to fail, to be late, or to answer with a web page or half an answer, as
endpoints do.
"""

import re
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import anyio
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.routing import Route

from palier.adapters.writer_rung import LlamaCpp

KEY = "sk-right-9f3b"
MODEL = "smollm2"
API_VERSION = "2024-10-21"
FILTERED = {
    "message": "The response was filtered due to the prompt triggering Azure OpenAI's content management policy. "
    "Please modify your prompt and retry.",
    "type": None,
    "param": "prompt",
    "code": "content_filter",
    "status": 400,
    "innererror": {"code": "ResponsibleAIPolicyViolation"},
}


@dataclass
class Endpoint:
    """The endpoint's address, what it was sent, and how it is to misbehave."""

    model: LlamaCpp
    url: str = ""
    statuses: list[int] = field(default_factory=list)
    """Status of each coming request, in order; 200 when there are none left."""
    delay_s: float = 0.0
    web_page: bool = False
    body: bytes | None = None
    """Sent as the JSON of an answer, whatever it is."""
    forbids: str | None = None
    """A field that may not be asked for: 403, as OpenAI says it of log probabilities."""
    filters: str | None = None
    """What a message may not hold (a pattern): 400, as Azure's content filter says it."""
    hides_usage: bool = False
    bodies: list[dict[str, Any]] = field(default_factory=list)
    replies: list[dict[str, Any]] = field(default_factory=list)

    def reset(self) -> None:
        """Well behaved, nothing remembered."""
        self.statuses, self.bodies, self.replies = [], [], []
        self.delay_s, self.web_page, self.hides_usage = 0.0, False, False
        self.body = self.forbids = self.filters = None


@contextmanager
def run_endpoint(model: LlamaCpp) -> Iterator[Endpoint]:
    """The endpoint on a free port; stopped when the block ends."""
    endpoint = Endpoint(model)
    config = uvicorn.Config(_app(endpoint), host="127.0.0.1", port=0, log_level="warning")
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, name="endpoint", daemon=True)
    thread.start()
    deadline = time.monotonic() + 20
    while not server.started:
        assert time.monotonic() < deadline, "uvicorn did not start"
        time.sleep(0.02)
    endpoint.url = f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    try:
        yield endpoint
    finally:
        server.should_exit = True
        thread.join(timeout=20)


def _app(endpoint: Endpoint) -> Starlette:
    async def openai(request: Request) -> Response:
        given = request.headers.get("authorization", "").removeprefix("Bearer ")
        body = await request.json()
        return await _answer(endpoint, given, body.get("model"), body)

    async def azure(request: Request) -> Response:
        if request.query_params.get("api-version") != API_VERSION:
            return _error(404, "Resource not found")
        given = request.headers.get("api-key", "")
        return await _answer(endpoint, given, request.path_params["deployment"], await request.json())

    return Starlette(
        routes=[
            Route("/v1/chat/completions", openai, methods=["POST"]),
            Route("/openai/deployments/{deployment}/chat/completions", azure, methods=["POST"]),
        ]
    )


async def _answer(endpoint: Endpoint, key: str, model: str | None, body: dict[str, Any]) -> Response:
    endpoint.bodies.append(body)
    if endpoint.delay_s:
        await anyio.sleep(endpoint.delay_s)
    if key != KEY:  # some endpoints do quote the key that they refuse
        return _error(401, f"Incorrect API key provided: {key}.")
    if endpoint.statuses and (status := endpoint.statuses.pop(0)) != 200:
        return _error(status, "The endpoint is not well.")
    if endpoint.web_page:
        return HTMLResponse("<html>Welcome</html>")
    if endpoint.body is not None:
        return Response(endpoint.body, media_type="application/json")
    if endpoint.forbids is not None and endpoint.forbids in body:
        return _error(403, f"You are not allowed to request {endpoint.forbids} from this model")
    if model != MODEL:
        return _error(404, f"The model {model!r} does not exist.")
    if endpoint.filters is not None and re.search(endpoint.filters, str(body["messages"])):
        return JSONResponse({"error": FILTERED}, 400)
    reply = await anyio.to_thread.run_sync(endpoint.model.chat, body["messages"], body["max_tokens"])
    if endpoint.hides_usage:
        reply = {name: value for name, value in reply.items() if name != "usage"}
    endpoint.replies.append(reply)
    return JSONResponse(reply)


def _error(status: int, message: str) -> JSONResponse:
    headers = {"retry-after-ms": "10"} if status in (429, 500, 503) else {}
    return JSONResponse({"error": {"message": message, "type": "error"}}, status, headers=headers)
