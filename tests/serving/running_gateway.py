"""The gateway under uvicorn on a free port, with real records, in a folder of the test's own."""

import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import httpx
import openai
import uvicorn
from lexical_release import Character, load_lexical, write_bundle

from palier.adapters import release_commands
from palier.adapters.records import Records
from palier.adapters.release_commands import Candidate, Order, Started
from palier.domain.ledger import LedgerRow
from palier.domain.rollout import ReleaseRef
from palier.params import EvaluateReleaseParams, RolloutParams
from palier.settings import Settings
from serving.app import create_app
from serving.desk import Limits

GATE = EvaluateReleaseParams(bootstrap_samples=100, min_f1=0.2, max_f1_drop=0.5)
PATIENT = {
    "shadow_requests": 1000,
    "canary_shares": (0.5,),
    "requests_per_share": 1000,
    "max_requests": 10_000,
    "alpha": 0.05,
    "quality_margin": 0.05,
    "error_margin": 0.02,
    "latency_margin": 0.15,
    "latency_slo_ms": 2000,
    "cost_margin": 0.5,
}


@dataclass(frozen=True)
class Running:
    """One gateway that answers at ``url``, and the database behind it."""

    url: str
    folder: Path
    records: Records
    key: str
    admin_key: str

    def client(self, key: str | None = None) -> openai.OpenAI:
        """The official client, without retries, so that each error is seen."""
        return openai.OpenAI(base_url=f"{self.url}/v1", api_key=key or self.key, max_retries=0, timeout=20)

    def http(self, key: str | None = None) -> httpx.Client:
        headers = {"authorization": f"Bearer {key or self.key}"}
        return httpx.Client(base_url=self.url, headers=headers, timeout=20)

    def package(self, release_id: str, character: Character | None = None) -> Path:
        """A bundle on disk."""
        return write_bundle(self.folder / "bundles" / release_id, release_id, character)

    def start_release(self, release_id: str, character: Character | None = None, **rules: object) -> Started:
        """Package and start a release: the first is founded, a later one begins its rollout under ``rules``."""
        return self.start_bundle(release_id, self.package(release_id, character), **rules)

    def start_bundle(self, release_id: str, path: Path, **rules: object) -> Started:
        """Start what lies in ``path``, as it is."""
        now = datetime.now(UTC)
        candidate = Candidate(ReleaseRef(release_id, str(path), "c" * 64, now), {"f1": 0.5})
        params = RolloutParams.model_validate({**PATIENT, **rules})
        return release_commands.start(self.records, candidate, GATE, params, Order("test", "", now))

    def rows(self) -> Mapping[str, LedgerRow]:
        """Served rows of the ledger by request id."""
        return {row.request_id: row for row in self.records.requests(limit=10_000)}

    def wait_ready(self, champion: str, challenger: str | None = None, seconds: float = 10.0) -> None:
        """Return when this gateway serves these releases."""
        wait_until(lambda: self._serves() == (champion, challenger), f"{champion}, {challenger}", seconds)

    def _serves(self) -> tuple[object, object]:
        part = httpx.get(f"{self.url}/readyz").json()["parts"]["release"]
        return part.get("champion"), part.get("challenger")


def wait_until(condition: object, what: str, seconds: float = 10.0) -> None:
    """Poll ``condition`` until it is true; AssertionError naming ``what`` when time runs out."""
    assert callable(condition)
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"not within {seconds} s: {what}"
        time.sleep(0.05)


@contextmanager
def run_gateway(folder: Path, limits: Limits | None = None) -> Iterator[Running]:
    """A gateway without a release yet; stopped, with its threads, when the block ends."""
    settings = Settings(state_dir=folder, records_url=f"sqlite:///{folder / 'records.db'}")
    config = uvicorn.Config(
        create_app(settings, load=load_lexical, limits=limits), host="127.0.0.1", port=0, log_level="warning"
    )
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, name="gateway", daemon=True)
    thread.start()
    wait_until(lambda: server.started, "uvicorn is up")
    records = Records(settings.database_url)
    now = datetime.now(UTC)
    try:
        yield Running(
            url=f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}",
            folder=folder,
            records=records,
            key=records.create_key("caller", ["ask"], now)[1],
            admin_key=records.create_key("operator", ["ask", "admin"], now)[1],
        )
    finally:
        server.should_exit = True
        thread.join(timeout=20)
        records.close()
        assert not thread.is_alive(), "the gateway did not stop"
