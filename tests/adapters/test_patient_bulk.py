"""Every document reaches a server that is busy or breaks connections, and what is wrong is named."""

import secrets
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import httpx
import pytest
from elasticsearch import ConnectionError as TransportConnectionError
from elasticsearch import Elasticsearch

from palier.adapters import patient_bulk
from palier.adapters.patient_bulk import index_all
from palier.adapters.search import connect

pytestmark = pytest.mark.service


class MoodyProxy(ThreadingHTTPServer):
    """Passes all on to ``target``, but for the first bulk requests: each mood spoils one of them."""

    daemon_threads = True

    def __init__(self, target: str, moods: list[str]) -> None:
        super().__init__(("127.0.0.1", 0), MoodyHandler)
        self.target = target
        self.moods = moods
        self.lock = threading.Lock()

    def next_mood(self, path: str) -> str:
        with self.lock:
            return self.moods.pop(0) if "_bulk" in path and self.moods else "well"


class MoodyHandler(BaseHTTPRequestHandler):
    """One connection through the proxy."""

    server: MoodyProxy

    def pass_on(self) -> None:
        body = self.rfile.read(int(self.headers.get("content-length") or 0))
        mood = self.server.next_mood(self.path)
        if mood == "hang up":
            self.close_connection = True
            return
        if mood.isdigit():
            self.answer(int(mood), b'{"error": {"type": "busy", "reason": "too many requests"}}')
            return
        headers = {name: value for name, value in self.headers.items() if name.lower() in ("content-type", "accept")}
        reply = httpx.request(
            self.command, f"{self.server.target}{self.path}", content=body, headers=headers, timeout=60
        )
        self.answer(reply.status_code, reply.content, reply.headers.get("content-type"))

    def answer(self, status: int, body: bytes, content_type: str | None = None) -> None:
        self.send_response(status)
        self.send_header("content-type", content_type or "application/vnd.elasticsearch+json;compatible-with=9")
        self.send_header("x-elastic-product", "Elasticsearch")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    do_GET = do_POST = do_PUT = do_DELETE = do_HEAD = pass_on  # noqa: N815 (the names that http.server calls)

    def log_message(self, *_: Any) -> None:
        """Nobody reads it."""


@pytest.fixture
def index(search_url: str) -> Iterator[str]:
    name = f"test-bulk-{secrets.token_hex(4)}"
    with connect(search_url, timeout_s=60) as client:
        client.indices.create(index=name, mappings={"dynamic": "strict", "properties": {"n": {"type": "integer"}}})
        yield name
        client.indices.delete(index=name)


@pytest.fixture
def through(search_url: str) -> Iterator[Any]:
    """A client whose bulk requests meet ``moods`` first; no retries of its own."""
    proxies: list[MoodyProxy] = []

    def make(moods: list[str]) -> Elasticsearch:
        proxies.append(MoodyProxy(search_url, moods))
        threading.Thread(target=proxies[-1].serve_forever, daemon=True).start()
        return connect(f"http://127.0.0.1:{proxies[-1].server_address[1]}", timeout_s=60).options(max_retries=0)

    yield make
    for proxy in proxies:
        proxy.shutdown()
        proxy.server_close()


def actions(index: str, n: int) -> Iterator[dict[str, Any]]:
    for i in range(n):
        yield {"_op_type": "index", "_index": index, "_id": str(i), "_source": {"n": i}}


def stored(client: Elasticsearch, index: str) -> int:
    client.indices.refresh(index=index)
    return int(client.count(index=index)["count"])


def test_a_server_that_is_busy_or_hangs_up_gets_every_document(through: Any, index: str):
    """Two kinds of trouble within one block, a third in the second round; the sixth request is the first good one."""
    client = through(["429", "hang up", "503", "429", "hang up"])
    told: list[int] = []
    assert index_all(client, actions(index, 900), told.append) == []
    assert stored(client, index) == 900
    assert told == [900]


def test_memory_is_bounded_by_blocks(through: Any, index: str, monkeypatch: pytest.MonkeyPatch):
    """No more than one block is taken from the generator before it is stored."""
    monkeypatch.setattr(patient_bulk, "_ACTIONS_PER_BLOCK", 300)
    taken: list[int] = []
    seen: list[tuple[int, int]] = []

    def counted() -> Iterator[dict[str, Any]]:
        for action in actions(index, 700):
            taken.append(1)
            yield action

    assert index_all(through([]), counted(), lambda done: seen.append((done, len(taken)))) == []
    assert seen == [(300, 300), (600, 600), (700, 700)]


def test_what_is_wrong_is_named_and_not_sent_again(through: Any, index: str):
    client = through(["429"])
    wrong = {"_op_type": "index", "_index": index, "_id": "odd", "_source": {"colour": "blue"}}
    refused = index_all(client, [*actions(index, 10), wrong], lambda _: None)
    assert len(refused) == 1
    assert refused[0].startswith("odd: ")
    assert "colour" in refused[0]
    assert stored(client, index) == 10


def test_patience_ends(through: Any, index: str, monkeypatch: pytest.MonkeyPatch):
    """A server that stays busy refuses by name; one that stays away raises."""
    monkeypatch.setattr(patient_bulk, "_PAUSES_S", (0.01, 0.01))
    refused = index_all(through(["429"] * 3), actions(index, 2), lambda _: None)
    assert [reason[:2] for reason in refused] == ["0:", "1:"]
    with pytest.raises(TransportConnectionError):
        index_all(through(["hang up"] * 3), actions(index, 2), lambda _: None)
