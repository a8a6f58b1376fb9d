"""What the supervisor must know of the operating system: processes, their families, and who holds a port.

It refuses to know services. A process is named by its number *and* its start time, because numbers are used
again; its family is everything in its session, everything below it, and everything that carries its token in the
environment (a daemon that left session and parent still does). The price: three ways to say the same thing,
since each of them alone loses processes that Airflow's tasks really start.
"""

import contextlib
import os
import signal
import socket
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from subprocess import DEVNULL, STDOUT, Popen
from typing import TypeVar

import psutil

from palier.errors import ServiceError

TOKEN_VARIABLE = "PALIER_SERVICE_TOKEN"
_POLL_S = 0.2
_KILL_WAIT_S = 10.0

T = TypeVar("T")


@dataclass(frozen=True)
class ProcessMark:
    """One process for ever: ``started`` tells it from a later one with the same number."""

    pid: int
    started: str
    token: str

    def is_alive(self) -> bool:
        return start_stamp(self.pid) == self.started


def start_stamp(pid: int) -> str | None:
    """When the process started, in the system's own unit; None where it is gone or only waits to be reaped.

    Linux counts clock ticks since boot (proc(5), field 22), which a corrected clock does not move.
    """
    try:
        process = psutil.Process(pid)
        if process.status() == psutil.STATUS_ZOMBIE:
            return None
        stat = Path(f"/proc/{pid}/stat")
        if stat.exists():
            return stat.read_text().rpartition(")")[2].split()[19]
        return f"{process.create_time():.2f}"
    except (psutil.Error, OSError):
        return None


def spawn(command: Sequence[str], *, env: Mapping[str, str], cwd: Path, log: Path, token: str) -> Popen[bytes]:
    """Starts the command as leader of a session of its own, with both outputs in ``log``."""
    with log.open("ab") as output:
        return Popen(
            list(command),
            stdin=DEVNULL,
            stdout=output,
            stderr=STDOUT,
            cwd=cwd,
            env={**env, TOKEN_VARIABLE: token},
            start_new_session=True,
        )


def let_go(child: Popen[bytes]) -> None:
    """Marks a child as not ours to wait for: it outlives us on purpose, and Popen would warn of that."""
    if child.returncode is None:
        child.returncode = 0


def family(mark: ProcessMark) -> dict[int, psutil.Process]:
    """The living processes that belong to the marked one, itself included; the caller is never among them."""
    everyone = {process.pid: process for process in psutil.process_iter()}
    leader_stamp = start_stamp(mark.pid)
    number_was_reused = leader_stamp is not None and leader_stamp != mark.started
    members = {
        pid
        for pid, process in everyone.items()
        if (not number_was_reused and _session(pid) == mark.pid) or _token(process) == mark.token
    }
    _add_descendants(members, _parents(everyone))
    members.discard(os.getpid())
    return {pid: everyone[pid] for pid in members if _is_living(everyone[pid])}


def stop_family(mark: ProcessMark, *, grace_s: float) -> int:
    """Ends all of the family: SIGTERM, and SIGKILL after ``grace_s``. Returns how many processes there were.

    Members are remembered from before the first signal: a child whose parent dies first is still found.
    Raises ServiceError where something survives SIGKILL (a process stuck in the kernel, or another user's).
    """
    seen = family(mark)
    terminated: set[int] = set()
    deadline = time.monotonic() + grace_s
    while living := _living_members(seen, mark):
        overdue = time.monotonic() - deadline
        if overdue > _KILL_WAIT_S:
            raise ServiceError(f"processes {sorted(living)} do not end, not even by SIGKILL; stop them by hand")
        for pid, process in living.items():
            if overdue > 0:
                _send(process, signal.SIGKILL)
            elif pid not in terminated:
                _send(process, signal.SIGTERM)
                terminated.add(pid)
        time.sleep(_POLL_S)
    return len(seen)


def is_port_free(port: int) -> bool:
    """Whether a server could listen on the loopback port now."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def describe_listener(port: int) -> str:
    """Who listens on the port, for a message; "an unknown process" where the system does not tell."""
    try:
        listeners = [c for c in psutil.net_connections(kind="tcp") if c.status == psutil.CONN_LISTEN]
        pid = next(c.pid for c in listeners if c.laddr and c.laddr.port == port and c.pid)
        return f"process {pid} ({' '.join(psutil.Process(pid).cmdline())[:120]})"
    except (StopIteration, psutil.Error, OSError):
        return "an unknown process"


def _living_members(seen: dict[int, psutil.Process], mark: ProcessMark) -> dict[int, psutil.Process]:
    """Everyone alive in the family, now or when it was looked at before; adds newcomers to ``seen``."""
    seen.update(family(mark))
    newcomers = [child for process in list(seen.values()) for child in _children(process)]
    seen.update({child.pid: child for child in newcomers if child.pid != os.getpid()})
    return {pid: process for pid, process in seen.items() if _is_living(process)}


def _children(process: psutil.Process) -> list[psutil.Process]:
    try:
        return process.children(recursive=True)
    except psutil.Error:
        return []


def _add_descendants(members: set[int], parents: Mapping[int, int]) -> None:
    found = -1
    while found != len(members):
        found = len(members)
        members.update(pid for pid, parent in parents.items() if parent in members)


def _parents(everyone: Mapping[int, psutil.Process]) -> dict[int, int]:
    return {pid: parent for pid, process in everyone.items() if (parent := _or_none(process.ppid)) is not None}


def _session(pid: int) -> int | None:
    return _or_none(lambda: os.getsid(pid))


def _token(process: psutil.Process) -> str | None:
    environment = _or_none(process.environ)
    return environment.get(TOKEN_VARIABLE) if environment else None


def _or_none(read: Callable[[], T]) -> T | None:
    """A process may vanish, or be another user's, between two looks at it."""
    try:
        return read()
    except (psutil.Error, OSError):
        return None


def _is_living(process: psutil.Process) -> bool:
    """False for a zombie too; one that is our own child is reaped on the way."""
    with contextlib.suppress(ChildProcessError):
        os.waitpid(process.pid, os.WNOHANG)
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.Error:
        return False


def _send(process: psutil.Process, number: signal.Signals) -> None:
    with contextlib.suppress(psutil.Error):  # gone, or not ours: the caller sees what still lives
        process.send_signal(number)
