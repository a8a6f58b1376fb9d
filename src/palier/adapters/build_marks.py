"""Who is at work on an index: marks that a living run keeps fresh, so that nobody takes its work for a leftover.

Inside one workspace a file lock tells the living from the dead: whoever holds it knows that every other mark of this
workspace was left by a run that was killed, and may clear up at once. Between workspaces and machines there is no such
lock. There a mark is believed for as long as it was renewed within `SILENCE_S`, by the clocks of the two machines,
which must agree to a few minutes. The price: what a machine left that never comes back takes up room that long.
"""

import contextlib
import fcntl
import secrets
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from elasticsearch import ApiError, Elasticsearch, TransportError

from palier.adapters.index_fence import FENCE
from palier.adapters.search_index import asking
from palier.domain.documents import sha256_text

BEAT_S = 10.0
SILENCE_S = 300.0
_MAX_MARKS = 1000
Clock = Callable[[], datetime]


@dataclass(frozen=True, slots=True)
class Builder:
    """A run that builds for ``alias``; ``owner`` is the same for all runs of one workspace on one machine."""

    alias: str
    owner: str
    token: int
    clock: Clock


@contextmanager
def only_builder(lock: Path) -> Iterator[str]:
    """Wait for any other build of this workspace, and say who we are for as long as the block runs.

    A copy of the workspace, or the same one mounted on another machine, is somebody else: its lock may not be ours.
    """
    lock.parent.mkdir(parents=True, exist_ok=True)
    with lock.open("a+", encoding="utf-8") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        handle.seek(0)
        mark = handle.read().strip()
        if not mark:
            mark = secrets.token_hex(8)
            handle.write(mark)
            handle.flush()
        place = lock.stat()
        yield sha256_text(f"{mark} {socket.gethostname()} {place.st_dev} {place.st_ino}")[:16]


@contextmanager
def claimed(client: Elasticsearch, index: str, builder: Builder, beat_s: float = BEAT_S) -> Iterator[str]:
    """A name that is ``builder``'s alone while the block runs: ``index``, or ``<index>-<token>`` where another living
    run works on that.

    The mark is kept fresh meanwhile, and taken away at the end, also when the block fails.
    """
    name = index if _claim(client, index, builder) else f"{index}-{builder.token}"
    if name != index:
        with asking(client, f"claim the index {name}"):
            _beat(client, name, builder)
    done = threading.Event()
    thread = threading.Thread(target=_keep_beating, args=(client, name, builder, beat_s, done), daemon=True)
    thread.start()
    try:
        yield name
    finally:
        done.set()
        thread.join()
        with contextlib.suppress(ApiError, TransportError):  # what failed inside the block is the news
            client.options(ignore_status=404).delete(index=FENCE, id=_key(name))


def is_worked_on(client: Elasticsearch, index: str, builder: Builder) -> bool:
    """Whether a living run works on ``index``, other than ``builder``, which holds its workspace's lock."""
    return _is_alive(_mark(client, index).get("_source"), builder)


def clear_dead_marks(client: Elasticsearch, builder: Builder) -> list[str]:
    """Forget the runs for this alias that are dead; the names of the indexes that they worked on."""
    with asking(client, "list the marks of builds"):
        client.indices.refresh(index=FENCE)
        query = {"term": {"alias": builder.alias}}
        marks = client.search(index=FENCE, query=query, size=_MAX_MARKS)["hits"]["hits"]
        dead = [mark for mark in marks if not _is_alive(mark["_source"], builder)]
        for mark in dead:
            client.options(ignore_status=404).delete(index=FENCE, id=mark["_id"])
    return [mark["_source"]["index"] for mark in dead]


def _claim(client: Elasticsearch, index: str, builder: Builder) -> bool:
    """Whether ``index`` is ours now: two runs that ask at once do not both hear yes."""
    found = _mark(client, index)
    if _is_alive(found.get("_source"), builder):
        return False
    seen: dict[str, Any] = {"op_type": "create"}
    if found.get("found"):
        seen = {"if_seq_no": found["_seq_no"], "if_primary_term": found["_primary_term"]}
    with asking(client, f"claim the index {index}"):
        quiet = client.options(ignore_status=409)
        answer = quiet.index(index=FENCE, id=_key(index), document=_mark_of(index, builder), **seen)
    return answer.meta.status in (200, 201)


def _is_alive(mark: dict[str, Any] | None, builder: Builder) -> bool:
    if mark is None or mark["owner"] == builder.owner:
        return False
    return builder.clock() - datetime.fromisoformat(mark["beat_at"]) < timedelta(seconds=SILENCE_S)


def _mark(client: Elasticsearch, index: str) -> dict[str, Any]:
    with asking(client, f"look who works on {index}"):
        found: dict[str, Any] = client.options(ignore_status=404).get(index=FENCE, id=_key(index)).body
    return found


def _keep_beating(client: Elasticsearch, index: str, builder: Builder, beat_s: float, done: threading.Event) -> None:
    while not done.wait(beat_s):
        # A server that is away fails the build itself; a beat that is lost is made up for by the next.
        with contextlib.suppress(ApiError, TransportError):
            _beat(client, index, builder)


def _beat(client: Elasticsearch, index: str, builder: Builder) -> None:
    client.index(index=FENCE, id=_key(index), document=_mark_of(index, builder))


def _mark_of(index: str, builder: Builder) -> dict[str, Any]:
    return {
        "alias": builder.alias,
        "index": index,
        "owner": builder.owner,
        "token": builder.token,
        "beat_at": builder.clock().isoformat(),
    }


def _key(index: str) -> str:
    return f"build:{index}"
