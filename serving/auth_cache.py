"""Remembers known API keys for a few seconds, so that not every request asks the database.

Held by the sha256 of the key, never by its text. Unknown keys are not remembered. Price: a key that is
revoked works on for up to ``ttl_s``.
"""

import asyncio
import hashlib
import time

from palier.adapters.records import ApiKey, Records

MAX_ENTRIES = 4096


class KeyCache:
    """Finds keys; used from the event loop only."""

    def __init__(self, records: Records, ttl_s: float = 2.0) -> None:
        self._records = records
        self._ttl_s = ttl_s
        self._known: dict[bytes, tuple[ApiKey, float]] = {}

    async def find(self, plaintext: str) -> ApiKey | None:
        """The key with this text, or None when it is unknown or revoked."""
        digest = hashlib.sha256(plaintext.encode("utf-8")).digest()
        key, expires = self._known.get(digest, (None, 0.0))
        if key is not None and time.monotonic() < expires:
            return key
        found = await asyncio.to_thread(self._records.find_key, plaintext)
        self._remember(digest, found)
        return found

    def _remember(self, digest: bytes, key: ApiKey | None) -> None:
        self._known.pop(digest, None)
        if key is None:
            return
        if len(self._known) >= MAX_ENTRIES:
            self._known.pop(next(iter(self._known)))
        self._known[digest] = (key, time.monotonic() + self._ttl_s)
