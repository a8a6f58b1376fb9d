"""The tables of ledger, keys and releases, and the engine that they live in: SQLite or Postgres, the same
SQL.

Money is BigInteger nano-dollars, times are UTC, everything nested is JSON. The schema is made on first use;
several processes may do that at once. The price: there are no migrations yet, so a database of another schema
version is refused instead of being changed.
"""

import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from sqlalchemy import (
    JSON,
    URL,
    BigInteger,
    Boolean,
    Column,
    DateTime,
    Dialect,
    Engine,
    Float,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    TypeDecorator,
    UniqueConstraint,
    create_engine,
    event,
    insert,
    select,
)
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError, DBAPIError, IntegrityError

from palier.errors import IntegrityError as WrongSchemaError
from palier.errors import ServiceError

SCHEMA_VERSION = 1
_CREATE_ATTEMPTS = 8


class UtcDateTime(TypeDecorator[datetime]):
    """Aware datetimes only, in UTC; SQLite forgets the zone, so it is put back."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:  # noqa: ARG002
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError(f"{value!r} has no time zone; pass an aware datetime.")
        return value.astimezone(UTC)

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:  # noqa: ARG002
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


metadata = MetaData()
_RowId = BigInteger().with_variant(Integer, "sqlite")  # SQLite numbers rows by itself only for INTEGER

schema_info = Table(
    "schema_info",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=False),
    Column("schema_version", Integer, nullable=False),
)

requests = Table(
    "requests",
    metadata,
    Column("row_id", _RowId, primary_key=True, autoincrement=True),
    Column("request_id", String(80), nullable=False),
    Column("is_shadow", Boolean, nullable=False),
    Column("created_at", UtcDateTime, nullable=False, index=True),
    Column("key_id", String(80), nullable=False, index=True),
    Column("release_id", String(80), nullable=False, index=True),
    Column("rollout_id", String(80)),
    Column("arm", String(16), nullable=False),
    Column("language", String(16), nullable=False),
    Column("question", Text, nullable=False),
    Column("answer", Text, nullable=False),
    Column("rung", String(80)),
    Column("score", Float),
    Column("abstained", Boolean, nullable=False),
    Column("attempts", JSON, nullable=False),
    Column("cost_nanousd", BigInteger, nullable=False),
    Column("reference_cost_nanousd", BigInteger),
    Column("latency_ms", Float, nullable=False),
    Column("error", Text),
    Column("index", String(200)),
    Column("citations", JSON, nullable=False),
    UniqueConstraint("request_id", "is_shadow"),
    Index("ix_requests_rollout", "rollout_id", "row_id"),
)

api_keys = Table(
    "api_keys",
    metadata,
    Column("key_id", String(80), primary_key=True),
    Column("sha256", String(64), nullable=False, unique=True),
    Column("name", String(200), nullable=False),
    Column("scopes", JSON, nullable=False),
    Column("created_at", UtcDateTime, nullable=False),
    Column("revoked_at", UtcDateTime),
)

feedback = Table(
    "feedback",
    metadata,
    Column("feedback_id", _RowId, primary_key=True, autoincrement=True),
    Column("request_id", String(80), nullable=False, index=True),
    Column("key_id", String(80), nullable=False),
    Column("rating", Integer),
    Column("correction", Text),
    Column("comment", Text),
    Column("created_at", UtcDateTime, nullable=False),
)

erasures = Table(
    "erasures",
    metadata,
    Column("erasure_id", _RowId, primary_key=True, autoincrement=True),
    Column("kind", String(16), nullable=False),
    Column("subject", String(80), nullable=False),
    Column("erased_at", UtcDateTime, nullable=False),
)

releases = Table(
    "releases",
    metadata,
    Column("release_id", String(80), primary_key=True),
    Column("bundle_path", Text, nullable=False),
    Column("corpus_revision", String(80), nullable=False),
    Column("created_at", UtcDateTime, nullable=False),
    Column("evaluation", JSON, nullable=False),
)

rollouts = Table(
    "rollouts",
    metadata,
    Column("rollout_id", String(80), primary_key=True),
    Column("champion_id", ForeignKey("releases.release_id"), nullable=False),
    Column("challenger_id", ForeignKey("releases.release_id"), nullable=False),
    Column("phase", String(16), nullable=False),
    Column("share", Float, nullable=False),
    Column("share_step", Integer, nullable=False),
    Column("started_at", UtcDateTime, nullable=False),
    Column("phase_started_at", UtcDateTime, nullable=False),
    Column("canary_started_at", UtcDateTime),
    Column("ended_at", UtcDateTime),
    Column("params", JSON, nullable=False),
    Column("verdict", JSON(none_as_null=True)),
)

active_state = Table(
    "active_state",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=False),
    Column("champion_id", ForeignKey("releases.release_id")),
    Column("previous_id", ForeignKey("releases.release_id")),
    Column("rollout_id", ForeignKey("rollouts.rollout_id")),
    Column("version", Integer, nullable=False),
)

history = Table(
    "history",
    metadata,
    Column("event_id", _RowId, primary_key=True, autoincrement=True),
    Column("at", UtcDateTime, nullable=False),
    Column("actor", String(200), nullable=False),
    Column("action", String(40), nullable=False),
    Column("release_id", ForeignKey("releases.release_id"), nullable=False),
    Column("rollout_id", ForeignKey("rollouts.rollout_id")),
    Column("reason", Text, nullable=False),
    Column("details", JSON, nullable=False),
)


class Connected:
    """Holds the engine; the rooms of ``Records`` build on it."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine


def open_engine(url: str) -> Engine:
    """An engine whose schema is there. Raises ServiceError when the database is away, names no password."""
    parsed = _parsed(url)
    is_sqlite = parsed.get_backend_name() == "sqlite"
    if is_sqlite and parsed.database and parsed.database != ":memory:":
        Path(parsed.database).parent.mkdir(parents=True, exist_ok=True)
    engine = create_engine(parsed, pool_pre_ping=not is_sqlite)
    if is_sqlite:
        event.listen(engine, "connect", _set_up_sqlite)
    try:
        _create_schema(engine)
    except DBAPIError as error:
        engine.dispose()
        raise ServiceError(
            f"The records database {parsed.render_as_string(hide_password=True)} cannot be used: "
            f"{error.orig}. Start it, or set PALIER_RECORDS_URL."
        ) from error
    _check_version(engine)
    return engine


def _parsed(url: str) -> URL:
    """The URL, of a database whose driver is here; what is wrong with another is not quoted, it may be a password."""
    try:
        parsed = make_url(url)
        parsed.get_dialect().import_dbapi()
    except (ArgumentError, ImportError, ValueError) as error:
        raise ServiceError(
            "PALIER_RECORDS_URL names no database that this program can open: it takes sqlite:///FILE or "
            "postgresql+psycopg://USER:PASSWORD@HOST/NAME, with signs such as @ and / in a password percent-encoded."
        ) from error
    return parsed


def _set_up_sqlite(connection: Any, _record: Any) -> None:
    """WAL: readers never wait for the writer. NORMAL: a killed process loses nothing; a power cut may lose
    the last moments, which is the price of not waiting for the disk on each request."""
    cursor = connection.cursor()
    cursor.execute("PRAGMA busy_timeout=10000")  # first: the next line may have to wait for another process
    cursor.execute("PRAGMA journal_mode=WAL")
    cursor.execute("PRAGMA synchronous=NORMAL")
    cursor.execute("PRAGMA foreign_keys=ON")
    cursor.close()


def _create_schema(engine: Engine) -> None:
    """Make what is missing. Another process may make the same table between our look and our act: look
    again."""
    for attempt in range(_CREATE_ATTEMPTS):
        try:
            metadata.create_all(engine)
            break
        except DBAPIError:
            if attempt == _CREATE_ATTEMPTS - 1:
                raise
            time.sleep(0.05 * (attempt + 1))
    _insert_once(engine, schema_info, schema_version=SCHEMA_VERSION)
    _insert_once(engine, active_state, version=0)


def _insert_once(engine: Engine, table: Table, **values: Any) -> None:
    """Insert the one row with id 1, unless it is there."""
    with engine.connect() as connection:
        if connection.execute(select(table.c.id)).first():
            return
    try:
        with engine.begin() as connection:
            connection.execute(insert(table).values(id=1, **values))
    except IntegrityError:
        return  # another process was first, with the same row


def _check_version(engine: Engine) -> None:
    with engine.connect() as connection:
        found = connection.execute(select(schema_info.c.schema_version)).scalar_one()
    if found != SCHEMA_VERSION:
        engine.dispose()
        raise WrongSchemaError(
            f"The records database has schema version {found}; this program knows {SCHEMA_VERSION}. "
            "Use the program that wrote it, or point PALIER_RECORDS_URL at a new database."
        )
