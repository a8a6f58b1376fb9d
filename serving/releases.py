"""Which releases are in memory, and what to do when one of them is broken.

A background thread reads the records twice a second and loads what they name: the champion, and the
challenger while a rollout runs. A bundle that fails its checks is refused, with the reason in `/readyz`,
and what answered before goes on answering; a gateway that starts beside a broken champion takes the
previous release. Readers get one immutable snapshot, so a request never sees half a switch.

Price: two releases in memory during a rollout, and up to half a second until a change is seen.
"""

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Protocol

from palier.adapters.records import Records
from palier.domain.answering import Hit, Question, Retriever, Rung, RungAnswer, Scorer
from palier.domain.bundle import Manifest
from palier.domain.guarding import Guard
from palier.domain.rollout import Active, ReleaseRef, Rollout
from palier.domain.scoring import TextEncoder
from palier.settings import Settings
from serving.background import BackgroundLoop
from serving.circuit_breaker import CircuitBreaker
from serving.metrics import Metrics

log = logging.getLogger(__name__)

POLL_S = 0.5
RECORDS_AWAY = "The records cannot be read now; the gateway's log has the cause."
RETRY_REFUSED_S = 30.0


class ReleaseScorer(Scorer, Protocol):
    """A scorer that can say what its score rests on."""

    def explain(
        self, question: Question, hits: Sequence[Hit], answer: RungAnswer, earlier: Sequence[RungAnswer]
    ) -> tuple[float, dict[str, float]]: ...


class Release(Protocol):
    """What the gateway needs of a release in memory: `palier.adapters.runtime.LoadedRelease` is one."""

    @property
    def manifest(self) -> Manifest: ...
    @property
    def retriever(self) -> Retriever: ...
    @property
    def rungs(self) -> Mapping[str, Rung]: ...
    @property
    def scorer(self) -> ReleaseScorer: ...
    @property
    def encoder(self) -> TextEncoder: ...
    @property
    def guard(self) -> Guard | None: ...


@dataclass(frozen=True, slots=True)
class ReleaseInMemory:
    """A release whose rungs have circuit breakers."""

    manifest: Manifest
    retriever: Retriever
    rungs: Mapping[str, Rung]
    scorer: ReleaseScorer
    encoder: TextEncoder
    guard: Guard | None


Load = Callable[[Path, Settings], Release]
"""Blocking; raises when the bundle is broken. `palier.adapters.runtime.load_release` is one."""


@dataclass(frozen=True, slots=True)
class Served:
    """One consistent view: what answers now, and why something else does not."""

    champion: Release | None = None
    challenger: Release | None = None
    rollout: Rollout | None = None
    is_current: bool = True
    """False when another release answers because the champion that the records name was refused."""
    challenger_refused: str | None = None
    findings: Mapping[str, str] = field(default_factory=dict)
    """Reasons by release id, or "records": shown by /readyz."""


class ReleaseStore:
    """Keeps the snapshot `served` up to date from `start` to `stop`."""

    def __init__(self, records: Records, load: Load, settings: Settings, metrics: Metrics) -> None:
        self.served = Served(findings={"records": "not read yet."})
        self._records = records
        self._load = load
        self._settings = settings
        self._metrics = metrics
        self._loaded: dict[str, Release] = {}
        self._refused: dict[str, tuple[str, float]] = {}
        self._loop = BackgroundLoop("releases", self._poll, pause_s=POLL_S)

    def start(self) -> None:
        self._loop.start()

    def stop(self) -> None:
        """Returns when the thread has ended; a load in progress is waited for up to ten seconds."""
        self._loop.stop()

    def refresh(self) -> None:
        """Read the records once and load what they name; blocking."""
        active = self._records.active()
        champion = self._find_champion(active)
        if champion is not None and self.served.champion is None:
            self._show(self._view(active, champion, challenger=None))  # answer first, then load the challenger
        challenger = self._get(active.challenger) if active.rollout else None
        self._show(self._view(active, champion, challenger))
        self._forget([release for release in (champion, challenger) if release])

    def _poll(self) -> None:
        try:
            self.refresh()
        except Exception as error:  # noqa: BLE001 (whatever breaks here, what answers goes on answering)
            log.warning("releases could not be read, the last known good go on: %s", error)
            findings = {**self.served.findings, "records": RECORDS_AWAY}
            self.served = replace(self.served, findings=findings)

    def _find_champion(self, active: Active) -> Release | None:
        """The champion, or what answered before, or the previous release: the first that is there and
        whole.
        """
        if active.champion is None:
            return None
        return self._get(active.champion) or self.served.champion or self._get(active.previous)

    def _get(self, ref: ReleaseRef | None) -> Release | None:
        if ref is None:
            return None
        if ref.release_id in self._loaded:
            return self._loaded[ref.release_id]
        _, refused_at = self._refused.get(ref.release_id, ("", float("-inf")))
        if time.monotonic() - refused_at < RETRY_REFUSED_S:
            return None
        return self._try_load(ref)

    def _try_load(self, ref: ReleaseRef) -> Release | None:
        try:
            release = _with_breakers(self._load(Path(ref.bundle_path), self._settings))
        except Exception as error:  # noqa: BLE001 (whatever is wrong with a bundle, the other one goes on)
            log.error("release %s is refused: %s", ref.release_id, error)
            self._refused[ref.release_id] = (f"{type(error).__name__}: {error}", time.monotonic())
            return None
        log.info("release %s is loaded", ref.release_id)
        self._refused.pop(ref.release_id, None)
        self._loaded[ref.release_id] = release
        return release

    def _view(self, active: Active, champion: Release | None, challenger: Release | None) -> Served:
        named = {ref.release_id for ref in (active.champion, active.challenger, active.previous) if ref}
        findings = {name: reason for name, (reason, _) in self._refused.items() if name in named}
        if active.champion is None:
            findings["release"] = "No release yet. Make one: `palier package-release`, then `palier release start`."
        wanted = active.champion.release_id if active.champion else None
        return Served(
            champion=champion,
            challenger=challenger,
            rollout=active.rollout,
            is_current=champion is None or champion.manifest.release_id == wanted,
            challenger_refused=findings.get(active.challenger.release_id) if active.challenger else None,
            findings=findings,
        )

    def _show(self, served: Served) -> None:
        self.served = served
        pairs: Sequence[tuple[Release | None, str]] = (
            (served.champion, "champion" if served.is_current else "stand-in"),
            (served.challenger, "challenger"),
        )
        self._metrics.show_releases((release.manifest.release_id, role) for release, role in pairs if release)
        self._metrics.canary_share.set(served.rollout.share if served.rollout else 0.0)

    def _forget(self, kept: Sequence[Release]) -> None:
        """Releases that nothing names any more leave memory when their last request ends."""
        ids = {release.manifest.release_id for release in kept}
        self._loaded = {name: release for name, release in self._loaded.items() if name in ids}


def _with_breakers(loaded: Release) -> Release:
    rungs = {name: CircuitBreaker(name, rung) for name, rung in loaded.rungs.items()}
    return ReleaseInMemory(loaded.manifest, loaded.retriever, rungs, loaded.scorer, loaded.encoder, loaded.guard)
