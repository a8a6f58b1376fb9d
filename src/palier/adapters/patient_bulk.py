"""Sends many documents to Elasticsearch side by side, and again when it is busy or the connection breaks.

The client's `parallel_bulk` tries nothing twice: an item that was turned away for the moment comes back like one that
is wrong, and a broken connection ends the whole. Here what was turned away waits and goes again, what is wrong is told
with its id and reason, and the rest is kept. Knows no index and no passage. The price: a document may be sent twice,
so each needs an id of its own.
"""

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any

from elastic_transport import ConnectionError as TransportConnectionError
from elastic_transport import ConnectionTimeout
from elasticsearch import Elasticsearch
from elasticsearch.helpers import parallel_bulk

Action = Mapping[str, Any]
"""A document as `elasticsearch.helpers` wants it, with ``_index``, ``_id`` and ``_source``."""

_ACTIONS_PER_BLOCK = 2000
"""Held at once, for as long as they may have to go again; at 384 dimensions about 30 MB."""
_ACTIONS_PER_REQUEST = 200
_BYTES_PER_REQUEST = 10 * 2**20
_THREADS = 2
_BUSY = frozenset({429, 502, 503, 504})
_PAUSES_S = (0.5, 1.0, 2.0, 4.0, 8.0, 8.0)
_Trouble = TransportConnectionError | ConnectionTimeout


def index_all(client: Elasticsearch, actions: Iterable[Action], progress: Callable[[int], None]) -> list[str]:
    """Send all ``actions``; what was refused for good, one text each. ``progress`` is told how many are done.

    Each block of 2,000 is tried for up to 24 seconds. Raises the client's connection error when that was not enough;
    what is still turned away then counts as refused.
    """
    refused: list[str] = []
    n_done = 0
    remaining = iter(actions)
    while block := list(islice(remaining, _ACTIONS_PER_BLOCK)):
        refused += _index_block(client, block)
        n_done += len(block)
        progress(n_done)
    return refused


def _index_block(client: Elasticsearch, block: Sequence[Action]) -> list[str]:
    refused: list[str] = []
    waiting: Sequence[Action] = block
    for pause_s in (*_PAUSES_S, None):
        turned_away, reasons, trouble = _send(client, waiting)
        refused += reasons
        if not turned_away and trouble is None:
            break
        if pause_s is None:
            if trouble is not None:
                raise trouble
            refused += [reason for _, reason in turned_away]
            break
        time.sleep(pause_s)
        waiting = [action for action, _ in turned_away]
    return refused


def _send(
    client: Elasticsearch, actions: Sequence[Action]
) -> tuple[list[tuple[Action, str]], list[str], _Trouble | None]:
    """What to send again and why, what was refused for good, and the error that broke the connection."""
    again: list[tuple[Action, str]] = []
    refused: list[str] = []
    n_told = 0
    try:
        for action, (is_indexed, item) in zip(actions, _results(client, actions), strict=True):
            n_told += 1
            if not is_indexed:
                outcome = next(iter(item.values()))
                is_busy = outcome.get("status") in _BUSY
                again += [(action, _reason(outcome))] if is_busy else []
                refused += [] if is_busy else [_reason(outcome)]
    except (TransportConnectionError, ConnectionTimeout) as error:
        return [*again, *((action, "") for action in actions[n_told:])], refused, error
    return again, refused, None


def _results(client: Elasticsearch, actions: Sequence[Action]) -> Iterator[tuple[bool, Mapping[str, Any]]]:
    """In the order of ``actions``."""
    return iter(
        parallel_bulk(
            client,
            [dict(action) for action in actions],
            thread_count=_THREADS,
            queue_size=_THREADS,
            chunk_size=_ACTIONS_PER_REQUEST,
            max_chunk_bytes=_BYTES_PER_REQUEST,
            raise_on_error=False,
            raise_on_exception=False,
        )
    )


def _reason(outcome: Mapping[str, Any]) -> str:
    error = outcome.get("error", outcome)
    return f"{outcome.get('_id')}: {error.get('reason', error) if isinstance(error, dict) else error}"
