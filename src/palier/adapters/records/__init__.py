"""Records: ledger, feedback, erasures, keys, releases and rollouts in one database, behind plain dataclasses.

SQLite in WAL mode by default, Postgres by URL, the same code. Every method is one short transaction, safe to
call from several threads and processes. Knows nothing of HTTP or of statistics.
"""

from palier.adapters.records.erasures import ErasureRecords
from palier.adapters.records.keys import ApiKey, KeyRecords
from palier.adapters.records.ledger import LedgerRecords
from palier.adapters.records.releases import ReleaseRecords
from palier.adapters.records.tables import open_engine


class Records(LedgerRecords, ErasureRecords, KeyRecords, ReleaseRecords):
    """All records of one database; ``url`` is SQLAlchemy's. Raises ServiceError when it cannot be opened."""

    def __init__(self, url: str) -> None:
        super().__init__(open_engine(url))

    def __repr__(self) -> str:
        return f"Records({self._engine.url.render_as_string(hide_password=True)!r})"

    def close(self) -> None:
        """Give the connections back; the object must not be used afterwards."""
        self._engine.dispose()


__all__ = ["ApiKey", "Records"]
