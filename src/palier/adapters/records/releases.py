"""Releases, what is active, rollouts and their history in the database.

Every change of what serves goes through `change`: compare-and-set on the version that the decision was made
on, together with the rollout's row and the history's line, in one transaction. The first statement of that
transaction is the write, so two processes queue for it instead of failing half-way.
"""

import json
from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from sqlalchemy import Connection, Row, insert, select, update
from sqlalchemy.exc import IntegrityError

from palier.adapters.records.tables import Connected, active_state, history, releases, rollouts
from palier.domain.rollout import Active, Event, ReleaseRef, Rollout
from palier.errors import RolloutError
from palier.params import RolloutParams

_REF_FIELDS = tuple(item.name for item in fields(ReleaseRef))
_ROLLOUT_FIELDS = tuple(item.name for item in fields(Rollout))
_EVENT_FIELDS = tuple(item.name for item in fields(Event))


class ReleaseRecords(Connected):
    """The releases of a database."""

    def register_release(self, ref: ReleaseRef, evaluation: Mapping[str, Any] | None = None) -> None:
        """Store a release with the metrics of its evaluation; one that is known already keeps its first row,
        but for the place of its bundle, which may have moved."""
        values = {name: getattr(ref, name) for name in _REF_FIELDS} | {"evaluation": dict(evaluation or {})}
        known = update(releases).where(releases.c.release_id == ref.release_id)
        with self._engine.begin() as connection:
            if connection.execute(known.values(bundle_path=ref.bundle_path)).rowcount:
                return
        try:
            with self._engine.begin() as connection:
                connection.execute(insert(releases).values(values))
        except IntegrityError:
            if self.release(ref.release_id) is None:
                raise

    def release(self, release_id: str) -> ReleaseRef | None:
        """A registered release, or None."""
        columns = [releases.c[name] for name in _REF_FIELDS]
        with self._engine.connect() as connection:
            row = connection.execute(select(*columns).where(releases.c.release_id == release_id)).first()
        return None if row is None else ReleaseRef(*row)

    def evaluation(self, release_id: str) -> dict[str, Any]:
        """The evaluation that a release was registered with; empty when there was none."""
        statement = select(releases.c.evaluation).where(releases.c.release_id == release_id)
        with self._engine.connect() as connection:
            return dict(connection.execute(statement).scalar() or {})

    def active(self) -> Active:
        """What serves now, in one statement, so that no half-made change is ever seen."""
        with self._engine.connect() as connection:
            row = connection.execute(_ACTIVE).one()
        return Active(
            champion=_ref(row, "champion"),
            previous=_ref(row, "previous"),
            rollout=None if row.rollout_rollout_id is None else _rollout(row, "rollout_"),
            challenger=_ref(row, "challenger"),
            version=row.version,
        )

    def rollout(self, rollout_id: str) -> Rollout | None:
        """A rollout, running or ended."""
        with self._engine.connect() as connection:
            row = connection.execute(select(rollouts).where(rollouts.c.rollout_id == rollout_id)).first()
        return None if row is None else _rollout(row)

    def last_rollout(self) -> Rollout | None:
        """The rollout that was started last, running or ended."""
        statement = select(rollouts).order_by(rollouts.c.started_at.desc(), rollouts.c.rollout_id).limit(1)
        with self._engine.connect() as connection:
            row = connection.execute(statement).first()
        return None if row is None else _rollout(row)

    def history(self, limit: int = 100, *, rollout_id: str | None = None) -> list[Event]:
        """What happened to releases, newest first; in one rollout only when it is named."""
        columns = [history.c[name] for name in _EVENT_FIELDS]
        statement = select(*columns).order_by(history.c.event_id.desc()).limit(limit)
        if rollout_id is not None:
            statement = statement.where(history.c.rollout_id == rollout_id)
        with self._engine.connect() as connection:
            return [Event(*row) for row in connection.execute(statement)]

    def change(
        self,
        seen: Active,
        *,
        champion_id: str | None,
        previous_id: str | None,
        rollout: Rollout | None,
        event: Event,
    ) -> None:
        """Make this the active state if ``seen`` still is, store the rollout's row and the history's line.

        A rollout that has ended is stored as ended and is no longer active. Raises RolloutError, with nothing
        changed, when the state has moved since ``seen`` was read.
        """
        with self._engine.begin() as connection:
            _claim(connection, seen)
            if rollout is not None:
                _store_rollout(connection, rollout)
            running_id = rollout.rollout_id if rollout is not None and rollout.is_running else None
            state = {"champion_id": champion_id, "previous_id": previous_id, "rollout_id": running_id}
            connection.execute(update(active_state).values(state))
            values = {name: getattr(event, name) for name in _EVENT_FIELDS} | {"details": dict(event.details)}
            connection.execute(insert(history).values(values))


def _claim(connection: Connection, seen: Active) -> None:
    """Take the state's row for this transaction, or refuse."""
    claimed = connection.execute(
        update(active_state)
        .where(active_state.c.id == 1, active_state.c.version == seen.version)
        .values(version=seen.version + 1)
    )
    if claimed.rowcount != 1:
        raise RolloutError(
            f"The active release changed while this was decided (it was at change {seen.version}). "
            "Look at `palier release status` and try again."
        )


def _store_rollout(connection: Connection, rollout: Rollout) -> None:
    values = {name: getattr(rollout, name) for name in _ROLLOUT_FIELDS}
    values["params"] = json.loads(rollout.params.model_dump_json())
    known = update(rollouts).where(rollouts.c.rollout_id == rollout.rollout_id)
    if connection.execute(known.values(values)).rowcount == 0:
        connection.execute(insert(rollouts).values(values))


def _rollout(row: Row[Any], prefix: str = "") -> Rollout:
    values = {name: row._mapping[prefix + name] for name in _ROLLOUT_FIELDS}
    return Rollout(**values | {"params": RolloutParams.model_validate(values["params"])})


def _ref(row: Row[Any], prefix: str) -> ReleaseRef | None:
    values = [row._mapping[f"{prefix}_{name}"] for name in _REF_FIELDS]
    return None if values[0] is None else ReleaseRef(*values)


def _active_statement() -> Any:
    champion, previous, challenger = (releases.alias(name) for name in ("champion", "previous", "challenger"))
    refs = [
        table.c[name].label(f"{table.name}_{name}")
        for table in (champion, previous, challenger)
        for name in _REF_FIELDS
    ]
    rollout = [rollouts.c[name].label(f"rollout_{name}") for name in _ROLLOUT_FIELDS]
    state = active_state.c
    return select(state.version, *refs, *rollout).select_from(
        active_state.outerjoin(champion, champion.c.release_id == state.champion_id)
        .outerjoin(previous, previous.c.release_id == state.previous_id)
        .outerjoin(rollouts, rollouts.c.rollout_id == state.rollout_id)
        .outerjoin(challenger, challenger.c.release_id == rollouts.c.challenger_id)
    )


_ACTIVE = _active_statement()
