"""Starts, stops and reports services that outlive the command that started them.

It knows a service only by its `ServiceSpec`, and what it started by one small file per service: process number,
start time and token. There is no daemon watching: a service that dies stays dead until the next `up`, and
`status` says so. That is the price of simplicity; production has a real orchestrator for it.
"""

import contextlib
import fcntl
import http.client
import json
import secrets
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from subprocess import Popen

from palier.adapters.services.processes import (
    ProcessMark,
    describe_listener,
    is_port_free,
    let_go,
    spawn,
    start_stamp,
    stop_family,
)
from palier.adapters.services.specs import ServiceSpec
from palier.errors import PortTakenError, ServiceError

Progress = Callable[[str, float, str], None]
"""Takes the service's name, the seconds since `up` began, and what it is doing."""

_LOG_LINES = 20
_HEALTH_TIMEOUT_S = 5.0
_POLL_S = 0.25
_REPORT_EVERY_S = 1.0


@dataclass(frozen=True)
class Running:
    """A healthy service; ``was_running`` where `up` found it so."""

    name: str
    pid: int
    url: str
    seconds: float
    was_running: bool


@dataclass(frozen=True)
class ServiceStatus:
    """``is_healthy`` without ``is_running``: somebody else's server answers there."""

    name: str
    is_running: bool
    is_healthy: bool
    pid: int | None
    port: int
    url: str


@dataclass(frozen=True)
class _Record:
    """What is written down of a service that was started."""

    pid: int
    started: str
    token: str
    port: int

    @property
    def mark(self) -> ProcessMark:
        return ProcessMark(self.pid, self.started, self.token)


class Supervisor:
    """Keeps ``<name>.json`` and ``<name>.log`` in the folder ``state``; the log before is ``<name>.log.1``."""

    def __init__(self, state: Path) -> None:
        self._state = state.resolve()

    def log_path(self, name: str) -> Path:
        return self._state / f"{name}.log"

    def up(self, spec: ServiceSpec, on_progress: Progress = lambda *_: None) -> Running:
        """The service, healthy: found running, or started and waited for.

        Raises PortTakenError where another program listens on its port, and ServiceError where it dies while
        starting (with its last log lines) or is not healthy in time; a start that fails leaves no process.
        """
        began = time.monotonic()

        def report(message: str) -> None:
            on_progress(spec.name, time.monotonic() - began, message)

        with self._lock(spec.name):
            record = self._living(spec.name)
            was_running = record is not None
            if record is None:
                record = self._start(spec, report)
            else:
                self._wait_for_running(spec, record, report)
        return Running(spec.name, record.pid, spec.url, time.monotonic() - began, was_running)

    def require_ports(self, specs: Sequence[ServiceSpec]) -> None:
        """Raises PortTakenError where another program listens on a port that one of ``specs`` would start on.

        Asked before several are started: else the one that cannot start would be told of when the others are up.
        """
        for spec in specs:
            with self._lock(spec.name):
                if self._living(spec.name) is None:
                    self._require_port(spec)

    def down(self, name: str, *, grace_s: float = 15.0) -> int:
        """Stops the service and all that it started; returns how many processes there were (0: none ran)."""
        with self._lock(name):
            record = self._recorded(name)
            if record is None:
                return 0
            n_stopped = stop_family(record.mark, grace_s=grace_s)
            self._record_path(name).unlink(missing_ok=True)
            return n_stopped

    def status(self, specs: Sequence[ServiceSpec]) -> list[ServiceStatus]:
        """One row per spec, in their order; asks each health page once."""
        return [self._status(spec) for spec in specs]

    def _status(self, spec: ServiceSpec) -> ServiceStatus:
        record = self._living(spec.name)
        return ServiceStatus(
            name=spec.name,
            is_running=record is not None,
            is_healthy=is_healthy(spec),
            pid=record.pid if record else None,
            port=spec.port,
            url=spec.url,
        )

    def _start(self, spec: ServiceSpec, report: Callable[[str], None]) -> _Record:
        self._require_port(spec)
        command = spec.command(report) if callable(spec.command) else spec.command
        log = self.log_path(spec.name)
        if log.exists():
            log.replace(log.with_suffix(".log.1"))
        token = f"{spec.name}-{secrets.token_hex(8)}"
        report("starting")
        child = self._spawn(spec, command, token)
        record = _Record(child.pid, start_stamp(child.pid) or "", token, spec.port)
        self._write(spec.name, record)
        try:
            self._wait_for_started(spec, child, report)
        except BaseException:  # also when the person gives up: a half-started service helps nobody
            self._abandon(spec, record)
            raise
        finally:
            let_go(child)
        return record

    def _require_port(self, spec: ServiceSpec) -> None:
        """The port is free, once what an interrupted start has left there is gone."""
        self._sweep(spec)
        if not is_port_free(spec.port):
            raise PortTakenError(
                f"port {spec.port}, which {spec.name} needs, is taken by {describe_listener(spec.port)}; "
                f"stop it, or choose another port with {spec.port_variable}"
            )

    def _spawn(self, spec: ServiceSpec, command: Sequence[str], token: str) -> Popen[bytes]:
        try:
            return spawn(command, env=spec.env, cwd=spec.cwd, log=self.log_path(spec.name), token=token)
        except OSError as error:
            raise ServiceError(f"{spec.name} cannot be started with {command[0]!r} in {spec.cwd}: {error}") from error

    def _wait_for_started(self, spec: ServiceSpec, child: Popen[bytes], report: Callable[[str], None]) -> None:
        def check() -> None:
            if child.poll() is not None:
                last_words = self._last_words(spec)
                raise ServiceError(f"{spec.name} ended with status {child.returncode} while starting; {last_words}")

        self._wait(spec, check, report)

    def _wait_for_running(self, spec: ServiceSpec, record: _Record, report: Callable[[str], None]) -> None:
        if record.port != spec.port:
            raise ServiceError(
                f"{spec.name} runs on port {record.port}, and {spec.port} is asked for; "
                f"stop it first with `palier services down {spec.name}`, or unset {spec.port_variable}"
            )

        def check() -> None:
            if not record.mark.is_alive():
                raise ServiceError(f"{spec.name} (process {record.pid}) ended; {self._last_words(spec)}")

        self._wait(spec, check, report)

    def _wait(self, spec: ServiceSpec, check: Callable[[], None], report: Callable[[str], None]) -> None:
        """Returns when the service is healthy; ``check`` raises when there is nothing left to wait for."""
        began = reported = time.monotonic()
        while True:
            healthy = is_healthy(spec)
            check()
            if healthy:
                report("healthy")
                return
            now = time.monotonic()
            if now - began > spec.start_timeout_s:
                raise ServiceError(
                    f"{spec.name} is not healthy after {spec.start_timeout_s:.0f} s at {spec.health_url}; "
                    f"stop it with `palier services down` and look: {self._last_words(spec)}"
                )
            if now - reported >= _REPORT_EVERY_S:
                report(f"waiting for {spec.url}")
                reported = now
            time.sleep(_POLL_S)

    def _abandon(self, spec: ServiceSpec, record: _Record) -> None:
        stop_family(record.mark, grace_s=spec.stop_grace_s)
        self._record_path(spec.name).unlink(missing_ok=True)

    def _sweep(self, spec: ServiceSpec) -> None:
        """Ends what a dead leader left behind: an orphan would hold the port or the data."""
        record = self._recorded(spec.name)
        if record is not None:
            self._abandon(spec, record)

    def _last_words(self, spec: ServiceSpec) -> str:
        log = self.log_path(spec.name)
        lines = log.read_text(errors="replace").splitlines()[-_LOG_LINES:] if log.exists() else []
        return f"the end of {log}:\n" + "\n".join(f"  {line}" for line in lines)

    def _living(self, name: str) -> _Record | None:
        record = self._recorded(name)
        return record if record is not None and record.mark.is_alive() else None

    def _recorded(self, name: str) -> _Record | None:
        try:
            return _Record(**json.loads(self._record_path(name).read_text()))
        except FileNotFoundError:
            return None
        except OSError as error:
            raise self._no_access(error) from error
        except (ValueError, TypeError) as error:
            path = self._record_path(name)
            raise ServiceError(f"{path} is not a record of a process ({error}); delete it") from error

    def _write(self, name: str, record: _Record) -> None:
        path = self._record_path(name)
        beside = path.with_suffix(".json.new")
        beside.write_text(json.dumps(asdict(record)))
        beside.replace(path)

    def _record_path(self, name: str) -> Path:
        return self._state / f"{name}.json"

    def _no_access(self, error: OSError) -> ServiceError:
        return ServiceError(
            f"{error.filename} cannot be used ({error.strerror}), and services keep their state there. "
            "Set PALIER_STATE_DIR to a folder of your own."
        )

    @contextlib.contextmanager
    def _lock(self, name: str) -> Iterator[None]:
        """One start or stop of a service at a time; the second waits."""
        try:
            self._state.mkdir(parents=True, exist_ok=True)
            handle = (self._state / f"{name}.lock").open("w")
        except OSError as error:
            raise self._no_access(error) from error
        with handle:
            fcntl.flock(handle, fcntl.LOCK_EX)
            yield


def is_healthy(spec: ServiceSpec) -> bool:
    """Whether the health page answers 200 with a body that the spec accepts; never through a proxy."""
    direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with direct.open(spec.health_url, timeout=_HEALTH_TIMEOUT_S) as response:
            return response.status == 200 and spec.is_healthy(response.read())
    except (urllib.error.URLError, OSError, ValueError, http.client.HTTPException):
        return False
