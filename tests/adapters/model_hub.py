"""A model hub on loopback that speaks the hub's protocol: `/<repo>/resolve/<revision>/<file>`, which redirects large
files to a store, and ranges, so that a download can go on where it was cut. It can be told to misbehave.
"""

import re
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass
class Hub:
    """What it serves by "repo@revision/file", and what it was asked."""

    files: Mapping[str, bytes]
    cut_after: int | None = None
    """Close the connection after this many bytes of a body that was announced whole."""
    knows_ranges: bool = True
    asked: list[tuple[str, str | None]] = field(default_factory=list)
    """Path and Range header of each request to the store."""
    url: str = ""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    hub: Hub

    def do_GET(self) -> None:
        found = re.fullmatch(r"/([^/]+/[^/]+)/resolve/([0-9a-f]{40})/(.+)", self.path)
        if found:
            return self._reply(307, {"Location": f"/store/{found[1]}@{found[2]}/{found[3]}"}, b"")
        name = self.path.removeprefix("/store/")
        self.hub.asked.append((name, self.headers.get("Range")))
        if name not in self.hub.files:
            return self._reply(404, {}, b"Entry not found")
        return self._send(self.hub.files[name])

    def _send(self, whole: bytes) -> None:
        wanted = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range") or "")
        if not wanted or not self.hub.knows_ranges:
            return self._reply(200, {}, whole)
        start = int(wanted[1])
        if start >= len(whole):
            return self._reply(416, {"Content-Range": f"bytes */{len(whole)}"}, b"")
        place = f"bytes {start}-{len(whole) - 1}/{len(whole)}"
        return self._reply(206, {"Content-Range": place}, whole[start:])

    def _reply(self, status: int, headers: Mapping[str, str], body: bytes) -> None:
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(body))}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.hub.cut_after is not None and len(body) > self.hub.cut_after:
            self.wfile.write(body[: self.hub.cut_after])
            self.close_connection = True
            return
        self.wfile.write(body)

    def log_message(self, *arguments: object) -> None:
        pass


@contextmanager
def run_hub(files: Mapping[str, bytes]) -> Iterator[Hub]:
    """The hub on a free port; stopped when the block ends."""
    hub = Hub(files)
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"hub": hub}))
    hub.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
        thread.join(timeout=10)
