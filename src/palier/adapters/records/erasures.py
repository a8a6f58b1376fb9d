"""Texts that leave the ledger: on request (of a key's owner, or for one answer), or because they are old.

The row stays, since money was spent and rollouts were judged by it; question, answer, quotes, corrections and comments
go. An erasure is also a tombstone: whatever is written late, by a request that was under way, goes at the next look. On
SQLite the bytes are overwritten in the file; the price on Postgres: old bytes stay until its next VACUUM, and nowhere
does this reach into backups.
"""

from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from sqlalchemy import ColumnElement, Connection, and_, insert, or_, select, update

from palier.adapters.records.tables import Connected, api_keys, erasures, feedback, requests
from palier.errors import InputError

Kind = Literal["key", "request"]


@dataclass(frozen=True, slots=True)
class Erasure:
    """A tombstone: all that this key asked and said until then, or all about this request."""

    kind: Kind
    subject: str
    erased_at: datetime


class ErasureRecords(Connected):
    """What is blanked in the ledger of a database."""

    def erase(self, subject: str, now: datetime) -> tuple[Erasure, int]:
        """Blank the texts of a key (by its id) or of a request, and remember that; how many requests lost theirs.

        Raises InputError for what is neither. Erasing again is safe.
        """
        with self._engine.connect() as connection:
            kind = _kind_of(connection, subject)
        erasure = Erasure(kind, subject, now)
        with self._engine.begin() as connection:
            _overwrite_bytes(connection)
            connection.execute(insert(erasures).values(kind=kind, subject=subject, erased_at=now))
            n_blanked = _blank(connection, erasure)
        self._empty_log()
        return erasure, n_blanked

    def erasures(self) -> list[Erasure]:
        """All tombstones, oldest first."""
        columns = (erasures.c.kind, erasures.c.subject, erasures.c.erased_at)
        with self._engine.connect() as connection:
            rows = connection.execute(select(*columns).order_by(erasures.c.erasure_id))
            return [Erasure(*row) for row in rows]

    def words_of(self, subject: str) -> set[tuple[str, str]]:
        """(request id, key id) of all that this key asked or said, or that was asked and said in this request; known
        after an erasure too, since the rows stay.
        """
        asked = select(requests.c.request_id, requests.c.key_id)
        said = select(feedback.c.request_id, feedback.c.key_id)
        about = select(requests.c.request_id).where(or_(requests.c.key_id == subject, requests.c.request_id == subject))
        statements = (
            asked.where(requests.c.request_id.in_(about)),
            said.where(or_(feedback.c.key_id == subject, feedback.c.request_id.in_(about))),
        )
        with self._engine.connect() as connection:
            return {(row[0], row[1]) for statement in statements for row in connection.execute(statement)}

    def forget_texts(self, older_than: datetime | None) -> int:
        """Blank what arrived under a tombstone since, and all texts older than that; how many requests lost theirs."""
        tombstones = self.erasures()
        with self._engine.begin() as connection:
            _overwrite_bytes(connection)
            n_blanked = sum(_blank(connection, erasure) for erasure in tombstones)
            if older_than is not None:
                n_blanked += _blank_where(connection, requests.c.created_at < older_than)
        if n_blanked:
            self._empty_log()
        return n_blanked

    def _empty_log(self) -> None:
        """SQLite's write-ahead log holds the texts too, until it is copied back and cut; a busy reader delays that."""
        if self._engine.dialect.name == "sqlite":
            with self._engine.connect() as connection:
                connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)")


def _kind_of(connection: Connection, subject: str) -> Kind:
    def has(condition: ColumnElement[bool]) -> bool:
        return connection.execute(select(1).where(condition).limit(1)).first() is not None

    if has(api_keys.c.key_id == subject) or has(requests.c.key_id == subject):
        return "key"
    if has(requests.c.request_id == subject):
        return "request"
    raise InputError(
        f"No key and no request {subject!r}. `palier keys list` shows the ids of keys (key-...); a request's is its "
        "x-request-id."
    )


def _blank(connection: Connection, erasure: Erasure) -> int:
    if erasure.kind == "request":
        return _blank_where(connection, requests.c.request_id == erasure.subject)
    of_key = and_(requests.c.key_id == erasure.subject, requests.c.created_at <= erasure.erased_at)
    said = and_(feedback.c.key_id == erasure.subject, feedback.c.created_at <= erasure.erased_at)
    connection.execute(update(feedback).where(said).values(correction=None, comment=None, rating=None))
    return _blank_where(connection, of_key)


def _blank_where(connection: Connection, condition: ColumnElement[bool]) -> int:
    """Shadow rows too, and what others said about these requests."""
    about = select(requests.c.request_id).where(condition)
    has_text = or_(feedback.c.correction.is_not(None), feedback.c.comment.is_not(None))
    connection.execute(
        update(feedback).where(feedback.c.request_id.in_(about), has_text).values(correction=None, comment=None)
    )
    with_text = or_(requests.c.question != "", requests.c.answer != "")
    done = connection.execute(update(requests).where(condition, with_text).values(question="", answer="", citations=[]))
    return int(done.rowcount)


def _overwrite_bytes(connection: Connection) -> None:
    """SQLite leaves deleted text in free pages unless it is told to write zeros there."""
    if connection.dialect.name == "sqlite":
        connection.exec_driver_sql("PRAGMA secure_delete=ON")
