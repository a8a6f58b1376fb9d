"""The ledger in the database: requests appended, read back, added up; feedback to them.

Sums are made of integers by the database. Appending the same request again changes nothing, so that a writer
that does not know whether its row arrived may simply repeat it. Two requests under one id get a row each.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import fields, replace
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Row, case, func, insert, select
from sqlalchemy.exc import IntegrityError

from palier.adapters.records.tables import Connected, feedback, requests
from palier.domain.comparison import Observation
from palier.domain.ledger import LedgerRow
from palier.errors import InputError

_FIELDS = tuple(item.name for item in fields(LedgerRow))
_COLUMNS = [requests.c[name] for name in _FIELDS]
_SAID = ("key_id", "rating", "correction", "created_at")


class LedgerRecords(Connected):
    """The ledger of a database."""

    def append_request(self, row: LedgerRow) -> str:
        """Store ``row``; it is on its way to disk when this returns the id that it stands under.

        The same row (of one key and moment, shadow or not) again is ignored. Another one under an id that is taken gets
        a longer id: callers choose ids, several gateways write at once, and only the database sees what they share.
        """
        is_shadow = row.arm == "shadow"
        values = {name: _storable(getattr(row, name)) for name in _FIELDS} | {"is_shadow": is_shadow}
        try:
            with self._engine.begin() as connection:
                connection.execute(insert(requests).values(values))
        except IntegrityError:
            holder = self._holder(row.request_id, is_shadow=is_shadow)
            if holder is None:
                raise
            if holder != (row.key_id, row.created_at):
                return self.append_request(replace(row, request_id=_longer_id(row)))
        return row.request_id

    def request(self, request_id: str) -> LedgerRow | None:
        """The row that was served under this id; never a shadow row."""
        is_served = requests.c.is_shadow.is_(False)
        statement = select(*_COLUMNS).where(requests.c.request_id == request_id, is_served)
        with self._engine.connect() as connection:
            row = connection.execute(statement).first()
        return None if row is None else _ledger_row(row)

    def requests(
        self,
        since: datetime | None = None,
        release_id: str | None = None,
        limit: int = 1000,
        *,
        include_shadow: bool = False,
    ) -> list[LedgerRow]:
        """The newest ``limit`` rows, newest first; shadow rows only when asked for."""
        statement = select(*_COLUMNS).order_by(requests.c.row_id.desc()).limit(limit)
        if since is not None:
            statement = statement.where(requests.c.created_at >= since)
        if release_id is not None:
            statement = statement.where(requests.c.release_id == release_id)
        if not include_shadow:
            statement = statement.where(requests.c.is_shadow.is_(False))
        with self._engine.connect() as connection:
            return [_ledger_row(row) for row in connection.execute(statement)]

    def observations(self, rollout_id: str) -> list[Observation]:
        """What a rollout is judged by, in order of arrival: served and shadow rows, without their texts."""
        columns = requests.c
        statement = (
            select(
                columns.request_id,
                columns.arm,
                columns.created_at,
                columns.score,
                columns.error.is_not(None).label("is_error"),
                columns.abstained,
                columns.latency_ms,
                columns.cost_nanousd,
            )
            .where(columns.rollout_id == rollout_id)
            .order_by(columns.row_id)
        )
        with self._engine.connect() as connection:
            return [Observation(*row) for row in connection.execute(statement).all()]

    def usage(self, since: datetime | None = None) -> dict[str, Any]:
        """Requests, money (whole nano-dollars) and failures since then, in all and by release, rung,
        language, key.

        ``saved_nanousd`` is what the reference would have cost less what was paid, over the requests that
        have a reference cost, and None when none has. Copies for a challenger stand apart under ``shadow``.
        """
        served = self._sums([], since, is_shadow=False)[0]
        shadow = self._sums([], since, is_shadow=True)[0]
        groups = {
            f"by_{name}": self._sums([requests.c[column]], since, is_shadow=False)
            for name, column in (
                ("release", "release_id"),
                ("rung", "rung"),
                ("language", "language"),
                ("key", "key_id"),
            )
        }
        shadow_part = {name: shadow[name] for name in ("n_requests", "n_errors", "cost_nanousd")}
        return served | groups | {"shadow": shadow_part}

    def add_feedback(
        self,
        request_id: str,
        key_id: str,
        rating: int | None,
        correction: str | None,
        comment: str | None,
        now: datetime,
    ) -> None:
        """Store what somebody thinks of an answer. Raises InputError when no such request was served."""
        if self._holder(request_id, is_shadow=False) is None:
            raise InputError(f"No request with id {request_id!r}: it is the x-request-id of an answer.")
        values = {"request_id": request_id, "key_id": key_id, "rating": rating, "created_at": now}
        with self._engine.begin() as connection:
            texts = {"correction": _storable(correction), "comment": _storable(comment)}
            connection.execute(insert(feedback).values(**values, **texts))

    def feedback(self, since: datetime | None = None) -> list[dict[str, Any]]:
        """Feedback with the question, answer and language that it is about, oldest first."""
        about = (requests.c.question, requests.c.answer, requests.c.language, requests.c.release_id)
        is_served = (requests.c.request_id == feedback.c.request_id) & requests.c.is_shadow.is_(False)
        statement = select(feedback, *about).join(requests, is_served).order_by(feedback.c.feedback_id)
        if since is not None:
            statement = statement.where(feedback.c.created_at >= since)
        with self._engine.connect() as connection:
            return [dict(row._mapping) for row in connection.execute(statement)]

    def judgements(self, since: datetime) -> list[tuple[LedgerRow, dict[str, Any]]]:
        """Served answers since then with what was said about each (key_id, rating, correction, created_at), oldest
        judgement first; none whose texts are gone, nor that ended in an error: nobody was given those.
        """
        said = [feedback.c[name].label(f"said_{name}") for name in _SAID]
        is_served = (requests.c.request_id == feedback.c.request_id) & requests.c.is_shadow.is_(False)
        statement = select(*_COLUMNS, *said).join(feedback, is_served).order_by(feedback.c.feedback_id)
        statement = statement.where(
            requests.c.created_at >= since, requests.c.question != "", requests.c.error.is_(None)
        )
        with self._engine.connect() as connection:
            rows = [row._mapping for row in connection.execute(statement)]
        return [
            (LedgerRow(**{name: row[name] for name in _FIELDS}), {name: row[f"said_{name}"] for name in _SAID})
            for row in rows
        ]

    def answers_of_rungs(self, rungs: Sequence[str], since: datetime, limit: int) -> list[LedgerRow]:
        """The newest ``limit`` answers that these rungs gave and that were served; no "I don't know"."""
        column = requests.c
        statement = (
            select(*_COLUMNS)
            .where(column.rung.in_(rungs), column.created_at >= since, column.is_shadow.is_(False))
            .where(column.error.is_(None), column.abstained.is_(False), column.question != "")
            .order_by(column.row_id.desc())
            .limit(limit)
        )
        with self._engine.connect() as connection:
            return [_ledger_row(row) for row in connection.execute(statement)]

    def _holder(self, request_id: str, *, is_shadow: bool) -> tuple[str, datetime] | None:
        """Key and moment of the request that has this id; None where it is free."""
        statement = select(requests.c.key_id, requests.c.created_at).where(
            requests.c.request_id == request_id, requests.c.is_shadow.is_(is_shadow)
        )
        with self._engine.connect() as connection:
            row = connection.execute(statement).first()
        return None if row is None else (row.key_id, row.created_at)

    def _sums(
        self, group: Sequence[ColumnElement[Any]], since: datetime | None, *, is_shadow: bool
    ) -> list[dict[str, Any]]:
        statement = select(*group, *_totals()).where(requests.c.is_shadow.is_(is_shadow))
        if since is not None:
            statement = statement.where(requests.c.created_at >= since)
        statement = statement.group_by(*group).order_by(*group)
        with self._engine.connect() as connection:
            return [_plain_sums(dict(row._mapping)) for row in connection.execute(statement)]


def _storable(value: Any) -> Any:
    """Text without what a database refuses (NUL, half surrogate pairs): a strange question must not lose its
    row."""
    if not isinstance(value, str):
        return value
    return value.replace("\x00", "\ufffd").encode("utf-8", "replace").decode("utf-8")


def _longer_id(row: LedgerRow) -> str:
    """The same for the same row, so that it may be appended again."""
    digest = hashlib.sha256(f"{row.key_id}\n{row.created_at.timestamp()}".encode()).hexdigest()
    return f"{row.request_id}.{digest[:8]}"


def _totals() -> list[ColumnElement[Any]]:
    columns = requests.c
    paid_where_known = case((columns.reference_cost_nanousd.is_not(None), columns.cost_nanousd))
    return [
        func.count().label("n_requests"),
        func.sum(case((columns.error.is_not(None), 1), else_=0)).label("n_errors"),
        func.sum(case((columns.abstained.is_(True), 1), else_=0)).label("n_abstained"),
        func.sum(columns.cost_nanousd).label("cost_nanousd"),
        func.sum(columns.reference_cost_nanousd).label("reference_cost_nanousd"),
        func.sum(columns.reference_cost_nanousd - paid_where_known).label("saved_nanousd"),
        func.avg(columns.latency_ms).label("latency_ms_mean"),
        func.avg(columns.score).label("score_mean"),
    ]


def _plain_sums(sums: dict[str, Any]) -> dict[str, Any]:
    """Postgres adds bigints up to Decimals: plain ints, exact; an empty sum is 0, but unknown where it may
    be."""
    for name in ("n_requests", "n_errors", "n_abstained", "cost_nanousd"):
        sums[name] = int(sums[name] or 0)
    for name in ("reference_cost_nanousd", "saved_nanousd"):
        sums[name] = None if sums[name] is None else int(sums[name])
    return sums


def _ledger_row(row: Row[Any]) -> LedgerRow:
    return LedgerRow(**row._mapping)
