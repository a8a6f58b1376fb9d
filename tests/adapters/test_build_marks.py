"""Marks tell work from leftovers: a killed run's is seen through at once, a living one's is left alone."""

import secrets
import subprocess
import sys
import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from elasticsearch import Elasticsearch

from palier.adapters.build_marks import (
    SILENCE_S,
    Builder,
    claimed,
    clear_dead_marks,
    is_worked_on,
    only_builder,
)
from palier.adapters.index_fence import FENCE, prepare_fence

NOW = datetime(2026, 1, 2, tzinfo=UTC)


@pytest.fixture(autouse=True)
def _fence(client: Elasticsearch) -> None:
    prepare_fence(client)


@pytest.fixture
def index() -> str:
    return f"passages-test-{secrets.token_hex(4)}"


def builder(owner: str, token: int = 1, now: datetime = NOW, alias: str = "test-marks") -> Builder:
    return Builder(alias, owner, token, lambda: now)


def test_builds_of_one_workspace_take_turns_under_one_name(tmp_path: Path) -> None:
    order: list[str] = []
    with only_builder(tmp_path / "lock") as first:
        waiting = threading.Thread(target=lambda: order.append(_enter(tmp_path / "lock")))
        waiting.start()
        waiting.join(0.2)
        assert order == []
    waiting.join()
    assert order == [first]


def _enter(lock: Path) -> str:
    with only_builder(lock) as owner:
        return owner


def test_a_copy_of_a_workspace_is_somebody_else_and_a_killed_run_is_not(tmp_path: Path) -> None:
    """Its lock is another file; the mark that a killed process wrote into the lock stays."""
    (tmp_path / "here").mkdir()
    code = (
        "import os, sys; from pathlib import Path; from palier.adapters.build_marks import only_builder\n"
        "with only_builder(Path(sys.argv[1])) as owner:\n    print(owner, flush=True); os.kill(os.getpid(), 9)"
    )
    lock = tmp_path / "here" / "lock"
    killed = subprocess.run([sys.executable, "-c", code, str(lock)], capture_output=True, text=True, check=False)
    assert killed.returncode == -9
    assert _enter(lock) == killed.stdout.strip()
    (tmp_path / "there").mkdir()
    (tmp_path / "there" / "lock").write_bytes(lock.read_bytes())
    assert _enter(tmp_path / "there" / "lock") != _enter(lock)


@pytest.mark.service
def test_another_workspaces_work_is_left_alone_until_it_is_silent(client: Elasticsearch, index: str) -> None:
    with claimed(client, index, builder("theirs")) as name:
        assert name == index
        assert is_worked_on(client, index, builder("ours"))
        assert not is_worked_on(client, index, builder("theirs")), "our own lock says that it is not at work"
        late = NOW + timedelta(seconds=SILENCE_S + 1)
        assert not is_worked_on(client, index, builder("ours", now=late))
    assert not is_worked_on(client, index, builder("ours"))


@pytest.mark.service
def test_a_name_that_another_run_works_on_is_not_shared(client: Elasticsearch, index: str) -> None:
    with claimed(client, index, builder("theirs", token=4)), claimed(client, index, builder("ours", token=5)) as name:
        assert name == f"{index}-5"
        assert is_worked_on(client, name, builder("theirs"))
    assert not client.exists(index=FENCE, id=f"build:{index}")
    assert not client.exists(index=FENCE, id=f"build:{index}-5")


@pytest.mark.service
def test_a_mark_is_renewed_while_the_work_goes_on(client: Elasticsearch, index: str) -> None:
    times = iter(NOW + timedelta(minutes=minute) for minute in range(10_000))
    seen = threading.Event()

    def clock() -> datetime:
        now = next(times)
        if now > NOW + timedelta(minutes=20):
            seen.set()
        return now

    with claimed(client, index, Builder("test-marks", "theirs", 1, clock), beat_s=0.01):
        assert seen.wait(60)
        assert is_worked_on(client, index, builder("ours", now=NOW + timedelta(minutes=20)))


@pytest.mark.service
def test_marks_of_the_dead_are_cleared_and_those_of_the_living_and_of_other_aliases_stay(
    client: Elasticsearch, index: str
) -> None:
    alias = f"test-{secrets.token_hex(4)}"
    marks = {"dead": (alias, "ours"), "silent": (alias, "gone"), "alive": (alias, "theirs"), "other": ("else", "ours")}
    for name, (its_alias, owner) in marks.items():
        beat = NOW - timedelta(seconds=SILENCE_S + 1) if name == "silent" else NOW
        mark = {"alias": its_alias, "index": f"{index}-{name}", "owner": owner, "token": 1, "beat_at": beat.isoformat()}
        client.index(index=FENCE, id=f"build:{index}-{name}", document=mark)
    cleared = clear_dead_marks(client, builder("ours", alias=alias))
    assert sorted(cleared) == [f"{index}-dead", f"{index}-silent"]
    left = [name for name in marks if client.exists(index=FENCE, id=f"build:{index}-{name}")]
    assert left == ["alive", "other"]
    for name in left:
        client.delete(index=FENCE, id=f"build:{index}-{name}")
