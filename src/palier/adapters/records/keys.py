"""API keys: only their sha256 is stored. A key is 256 random bits, so a fast hash is enough."""

import hashlib
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Row, insert, select, update

from palier.adapters.records.tables import Connected, api_keys
from palier.errors import InputError


@dataclass(frozen=True, slots=True)
class ApiKey:
    """A key as it is known afterwards: without its text."""

    key_id: str
    name: str
    scopes: tuple[str, ...]
    created_at: datetime
    revoked_at: datetime | None


class KeyRecords(Connected):
    """The API keys of a database."""

    def create_key(self, name: str, scopes: Sequence[str], now: datetime) -> tuple[ApiKey, str]:
        """The new key and its text ("pk-..."), which is shown this once and never stored."""
        plaintext = f"pk-{secrets.token_urlsafe(32)}"
        key = ApiKey(f"key-{secrets.token_hex(6)}", name, tuple(scopes), now, None)
        values = {"key_id": key.key_id, "name": name, "scopes": list(scopes), "created_at": now}
        with self._engine.begin() as connection:
            connection.execute(insert(api_keys).values(sha256=_digest(plaintext), **values))
        return key, plaintext

    def find_key(self, plaintext: str) -> ApiKey | None:
        """The key with this text; None when there is none or it was revoked."""
        statement = select(api_keys).where(api_keys.c.sha256 == _digest(plaintext))
        with self._engine.connect() as connection:
            row = connection.execute(statement).first()
        return None if row is None or row.revoked_at is not None else _key(row)

    def list_keys(self) -> list[ApiKey]:
        """All keys, revoked ones too, oldest first."""
        with self._engine.connect() as connection:
            rows = connection.execute(select(api_keys).order_by(api_keys.c.created_at, api_keys.c.key_id))
            return [_key(row) for row in rows]

    def revoke_key(self, key_id: str, now: datetime) -> None:
        """Refuse this key from now on; revoking twice keeps the first time. Raises InputError for no such
        key."""
        chosen = api_keys.c.key_id == key_id
        with self._engine.begin() as connection:
            changed = connection.execute(
                update(api_keys).where(chosen, api_keys.c.revoked_at.is_(None)).values(revoked_at=now)
            )
            if changed.rowcount == 0 and connection.execute(select(api_keys).where(chosen)).first() is None:
                raise InputError(f"No API key with id {key_id!r}. `palier keys list` shows them.")


def _digest(plaintext: str) -> str:
    return hashlib.sha256(plaintext.encode("utf-8")).hexdigest()


def _key(row: Row[Any]) -> ApiKey:
    return ApiKey(row.key_id, row.name, tuple(row.scopes), row.created_at, row.revoked_at)
