"""What is acknowledged is there, once, whatever was killed; sums are exact; of two deciders one wins.

Runs on SQLite, and on a Postgres of its own where Debian's server and the psycopg driver are installed.
"""

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from importlib.util import find_spec
from pathlib import Path

import pytest

from palier.adapters.records import Records
from palier.adapters.records.tables import open_engine, schema_info
from palier.domain.ledger import LedgerRow
from palier.domain.rollout import Active, Event, ReleaseRef, Rollout
from palier.errors import InputError, IntegrityError, RolloutError, ServiceError
from palier.params import RolloutParams

NOW = datetime(2026, 5, 1, 12, tzinfo=UTC)
ROW = LedgerRow(
    request_id="req-1",
    created_at=NOW,
    key_id="key-1",
    release_id="r-1",
    rollout_id=None,
    arm="champion",
    language="fr",
    question="Une pizza à l'ananas ?",
    answer="Oui, 12,50 €.",
    rung="reader",
    score=0.75,
    abstained=False,
    attempts=[{"rung": "reader", "score": 0.75, "cost_usd": 1e-6}],
    cost_nanousd=1_234,
    reference_cost_nanousd=9_999,
    latency_ms=41.5,
    index="passages-0123-4567",
    citations=[{"passage_id": "fr/menu#1", "quote": "12,50 €"}],
)
RULES = RolloutParams(
    shadow_requests=1,
    canary_shares=(0.5,),
    requests_per_share=1,
    max_requests=10,
    alpha=0.05,
    quality_margin=0.05,
    error_margin=0.02,
    latency_margin=0.15,
    latency_slo_ms=2000,
    cost_margin=0.5,
)


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[str]:
    """A Postgres of our own on a Unix socket; the SQLAlchemy URL of its empty server.

    Its folder is not one of pytest's: those are closed to other users again whenever another pytest starts.
    """
    programs = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    if not programs:
        pytest.skip("Postgres is not installed (apt-get install postgresql)")
    if find_spec("psycopg") is None:
        pytest.skip("the psycopg driver is not installed")
    with tempfile.TemporaryDirectory(prefix="palier-postgres-", dir="/tmp") as name:
        folder, bin_dir = Path(name), programs[-1].parent
        data, as_user = folder / "data", _owner_for(folder)
        run = {"check": True, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, "cwd": "/"}
        subprocess.run([*as_user, bin_dir / "initdb", "-D", data, "-A", "trust", "-U", "palier"], **run)
        options = f"-k {folder} -c listen_addresses='' -c fsync=off"
        start = [bin_dir / "pg_ctl", "-D", data, "-w", "-o", options, "-l", folder / "log"]
        subprocess.run([*as_user, *start, "start"], **run)
        yield f"postgresql+psycopg://palier@/postgres?host={folder}"
        subprocess.run([*as_user, bin_dir / "pg_ctl", "-D", data, "-m", "immediate", "-w", "stop"], **run)


def _owner_for(folder: Path) -> list[str]:
    """Postgres refuses to run as root: as root, the command prefix of its own user, who is given
    ``folder``."""
    if os.geteuid() != 0:
        return []
    if shutil.which("runuser") is None:
        pytest.skip("running as root without runuser, and Postgres refuses root")
    shutil.chown(folder, "postgres")
    return ["runuser", "-u", "postgres", "--"]


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.service)])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'a folder' / 'records.db'}"
    from sqlalchemy import create_engine, text

    server = request.getfixturevalue("postgres_server")
    engine = create_engine(server, isolation_level="AUTOCOMMIT")
    name = "t" + "".join(c for c in tmp_path.name.lower() if c.isalnum())
    with engine.connect() as connection:
        connection.execute(text(f"CREATE DATABASE {name}"))
    engine.dispose()
    return str(server).replace("/postgres?", f"/{name}?")


@pytest.fixture
def records(url: str) -> Iterator[Records]:
    opened = Records(url)
    yield opened
    opened.close()


def test_a_row_comes_back_as_it_was(records):
    records.append_request(ROW)
    assert records.request("req-1") == ROW
    assert records.request("req-2") is None


def test_appending_again_changes_nothing_and_a_shadow_is_a_row_of_its_own(records):
    shadow = replace(ROW, arm="shadow", answer="Non.")
    for row in (ROW, replace(ROW, answer="Autre."), shadow, shadow):
        records.append_request(row)
    assert records.request("req-1") == ROW
    assert [row.arm for row in records.requests(include_shadow=True)] == ["shadow", "champion"]
    assert records.usage()["n_requests"] == 1


def test_two_requests_under_one_id_are_two_rows_and_each_may_be_appended_again(records):
    """Of the same second, of another key, copies too: what was paid for both is in the sums."""
    others = [replace(ROW, created_at=NOW + timedelta(microseconds=1)), replace(ROW, key_id="key-2")]
    assert records.append_request(ROW) == "req-1"
    ids = [records.append_request(row) for row in others]
    assert [records.append_request(row) for row in (*others, ROW)] == [*ids, "req-1"]
    assert [records.request(found).key_id for found in ids] == ["key-1", "key-2"]
    shadows = [records.append_request(replace(row, arm="shadow")) for row in (ROW, others[0])]
    assert shadows == ["req-1", ids[0]], "a copy finds its request"
    usage = records.usage()
    assert (usage["n_requests"], usage["cost_nanousd"]) == (3, 3 * ROW.cost_nanousd)


def test_text_that_databases_refuse_does_not_lose_the_row(records):
    records.append_request(replace(ROW, question="a\x00b \ud83d c"))
    assert records.request("req-1").question == "a\ufffdb ? c"


def test_times_come_back_in_utc_and_a_naive_one_is_refused(records):
    paris = timezone(timedelta(hours=2))
    records.append_request(replace(ROW, created_at=NOW.astimezone(paris)))
    assert records.request("req-1").created_at.tzinfo == UTC
    assert records.request("req-1").created_at == NOW
    with pytest.raises(Exception, match="time zone"):
        records.append_request(replace(ROW, request_id="req-2", created_at=NOW.replace(tzinfo=None)))


def test_requests_are_the_newest_since_and_of_a_release(records):
    for i in range(5):
        at, release = NOW + timedelta(minutes=i), f"r-{i % 2}"
        records.append_request(replace(ROW, request_id=f"req-{i}", created_at=at, release_id=release))
    assert [row.request_id for row in records.requests(limit=2)] == ["req-4", "req-3"]
    since = records.requests(since=NOW + timedelta(minutes=2), release_id="r-0")
    assert [row.request_id for row in since] == ["req-4", "req-2"]


def test_money_adds_up_to_the_last_nano_dollar(records):
    """Sums that a float would round: whole nano-dollars beyond 2**53."""
    costs = [2**53 + 1, 3, 2**53 + 1]
    for i, cost in enumerate(costs):
        reference = 2**55 + i if i < 2 else None
        row = replace(ROW, request_id=f"req-{i}", cost_nanousd=cost, reference_cost_nanousd=reference)
        records.append_request(replace(row, language="en" if i else "fr"))
    records.append_request(replace(ROW, arm="shadow", request_id="req-0", cost_nanousd=7))
    usage = records.usage()
    assert usage["cost_nanousd"] == sum(costs)
    assert usage["reference_cost_nanousd"] == 2 * 2**55 + 1
    assert usage["saved_nanousd"] == 2 * 2**55 + 1 - costs[0] - costs[1]
    assert usage["shadow"]["cost_nanousd"] == 7
    by_language = {group["language"]: group["cost_nanousd"] for group in usage["by_language"]}
    assert by_language == {"fr": costs[0], "en": costs[1] + costs[2]}
    assert all(type(usage[name]) is int for name in ("cost_nanousd", "saved_nanousd", "n_requests"))


def test_nothing_used_yet_is_zero_and_unknown_savings(records):
    usage = records.usage(since=NOW)
    assert (usage["n_requests"], usage["cost_nanousd"], usage["saved_nanousd"]) == (0, 0, None)
    assert usage["by_rung"] == []


def test_a_key_is_found_by_its_text_until_it_is_revoked_and_the_text_is_not_stored(records, url):
    key, text = records.create_key("tour", ["chat", "admin"], NOW)
    assert text.startswith("pk-")
    assert records.find_key(text) == key
    assert records.find_key(text + "x") is None
    records.revoke_key(key.key_id, NOW)
    records.revoke_key(key.key_id, NOW + timedelta(days=1))
    assert records.find_key(text) is None
    assert records.list_keys() == [replace(key, revoked_at=NOW)]
    with pytest.raises(InputError, match="no-such"):
        records.revoke_key("no-such", NOW)
    if url.startswith("sqlite"):
        files = Path(url.removeprefix("sqlite:///")).parent.iterdir()
        assert all(text.encode() not in path.read_bytes() for path in files)


def test_feedback_comes_back_with_what_it_is_about_and_needs_a_served_request(records):
    records.append_request(ROW)
    records.append_request(replace(ROW, request_id="req-2", arm="shadow"))
    records.add_feedback("req-1", "key-1", -1, "13 €", None, NOW)
    (found,) = records.feedback()
    assert (found["rating"], found["correction"], found["question"]) == (-1, "13 €", ROW.question)
    with pytest.raises(InputError, match="req-2"):
        records.add_feedback("req-2", "key-1", 1, None, None, NOW)


def test_judgements_come_with_the_answer_that_was_served(records):
    """Oldest first, in the window, and not for texts that are gone; heavy answers newest first, no "I don't know"."""
    for number, rung in enumerate(("reader", "heavy", "heavy", "heavy")):
        later = NOW + timedelta(days=number)
        row = replace(ROW, request_id=f"req-{number}", rung=rung, created_at=later, abstained=number == 2)
        records.append_request(row)
        records.append_request(replace(row, arm="shadow", answer="Non."))
        records.add_feedback(f"req-{number}", "key-2", 1, "13 €", None, later)
    found = records.judgements(NOW + timedelta(days=1))
    assert [(row.request_id, row.answer, said["correction"]) for row, said in found] == [
        (f"req-{number}", ROW.answer, "13 €") for number in (1, 2, 3)
    ]
    heavy = records.answers_of_rungs(["heavy"], NOW, 10)
    assert [(row.request_id, row.arm) for row in heavy] == [("req-3", "champion"), ("req-1", "champion")]
    assert len(records.answers_of_rungs(["heavy"], NOW, 1)) == 1


def test_an_erased_key_loses_its_texts_and_keeps_its_costs(records, url):
    """Question, answer, quotes, corrections and comments go, also from shadow rows, and from SQLite's files."""
    records.append_request(replace(ROW, question="a secret question", answer="a secret answer"))
    records.append_request(replace(ROW, answer="a secret shadow", arm="shadow"))
    records.append_request(replace(ROW, request_id="req-2", key_id="key-2"))
    records.add_feedback("req-1", "key-2", -1, "a secret correction", "a secret comment", NOW)
    records.add_feedback("req-2", "key-1", 1, "a secret word", None, NOW)
    costs = records.usage()["cost_nanousd"]
    erasure, n_blanked = records.erase("key-1", NOW + timedelta(minutes=1))
    assert (erasure.kind, n_blanked, records.erasures()) == ("key", 2, [erasure])
    texts = [(row.question, row.answer, row.citations) for row in records.requests(include_shadow=True)]
    assert texts == [(ROW.question, ROW.answer, ROW.citations), ("", "", []), ("", "", [])]
    said = [(entry["rating"], entry["correction"], entry["comment"]) for entry in records.feedback()]
    assert said == [(-1, None, None), (None, None, None)]
    assert records.usage()["cost_nanousd"] == costs
    assert [row.request_id for row, _ in records.judgements(NOW - timedelta(days=1))] == ["req-2"]
    if url.startswith("sqlite"):
        files = list(Path(url.removeprefix("sqlite:///")).parent.iterdir())
        assert any(b"key-2" in path.read_bytes() for path in files)
        assert all(b"a secret" not in path.read_bytes() for path in files)


def test_what_arrives_under_a_tombstone_goes_at_the_next_look(records):
    """A request that was under way; what the key asks after its erasure is its own again."""
    records.append_request(ROW)
    records.erase("key-1", NOW + timedelta(minutes=1))
    records.append_request(replace(ROW, request_id="req-late"))
    records.append_request(replace(ROW, request_id="req-new", created_at=NOW + timedelta(days=1)))
    assert records.forget_texts(None) == 1
    assert records.forget_texts(None) == 0
    assert {row.request_id for row in records.requests() if row.question} == {"req-new"}


def test_one_request_is_erased_alone_and_old_texts_are_forgotten(records):
    """By request id; by age; what is neither a key nor a request is an error that changes nothing."""
    for number in range(3):
        records.append_request(replace(ROW, request_id=f"req-{number}", created_at=NOW + timedelta(days=number)))
    erasure, n_blanked = records.erase("req-1", NOW + timedelta(days=9))
    assert (erasure.kind, n_blanked) == ("request", 1)
    assert {row.request_id for row in records.requests() if row.question} == {"req-0", "req-2"}
    assert records.forget_texts(NOW + timedelta(days=1)) == 1
    assert {row.request_id for row in records.requests() if row.question} == {"req-2"}
    with pytest.raises(InputError, match="keys list"):
        records.erase("nobody", NOW)
    assert len(records.erasures()) == 1


def ref(name):
    return ReleaseRef(name, f"/bundles/{name}", "corpus-1", NOW)


def founded(records):
    records.register_release(ref("r-1"), {"f1": {"value": 0.5}})
    records.register_release(ref("r-2"))
    event = Event(NOW, "somebody", "founded", "r-1", "first")
    records.change(Active(), champion_id="r-1", previous_id=None, rollout=None, event=event)
    return records.active()


def rollout_of(records, seen, **changes):
    rollout = Rollout("rollout-1", "r-1", "r-2", "shadow", 0.0, NOW, NOW, RULES)
    rollout = replace(rollout, **changes)
    event = Event(NOW, "somebody", rollout.phase, "r-2", "why", rollout.rollout_id, {"n": 1})
    records.change(seen, champion_id="r-1", previous_id=None, rollout=rollout, event=event)
    return rollout


def test_a_new_database_has_nothing_active(records):
    assert records.active() == Active()
    assert records.history() == []
    assert records.last_rollout() is None


def test_a_running_rollout_is_active_and_an_ended_one_is_kept(records):
    seen = founded(records)
    assert (seen.champion, seen.version) == (ref("r-1"), 1)
    assert records.evaluation("r-1") == {"f1": {"value": 0.5}}
    rollout = rollout_of(records, seen)
    active = records.active()
    assert (active.rollout, active.challenger, active.version) == (rollout, ref("r-2"), 2)
    ended = rollout_of(records, active, phase="inconclusive", ended_at=NOW, verdict={"decision": "undecided"})
    assert records.active().rollout is None
    assert records.active().challenger is None
    assert records.rollout("rollout-1") == records.last_rollout() == ended
    assert [event.action for event in records.history()] == ["inconclusive", "shadow", "founded"]
    assert records.history(rollout_id="rollout-1", limit=1)[0].details == {"n": 1}


def test_a_change_decided_on_an_old_state_changes_nothing(records):
    seen = founded(records)
    rollout_of(records, seen)
    with pytest.raises(RolloutError, match="changed while this was decided"):
        rollout_of(records, seen, rollout_id="rollout-2")
    assert records.active().rollout.rollout_id == "rollout-1"
    assert records.rollout("rollout-2") is None
    assert len(records.history()) == 2


def test_of_many_deciders_at_once_exactly_one_wins(records):
    seen = founded(records)
    barrier = threading.Barrier(6)

    def decide(number: int) -> bool:
        barrier.wait()
        try:
            rollout_of(records, seen, rollout_id=f"rollout-{number}")
        except RolloutError:
            return False
        return True

    with ThreadPoolExecutor(6) as pool:
        won = list(pool.map(decide, range(6)))
    assert won.count(True) == 1
    assert records.active().rollout.rollout_id == f"rollout-{won.index(True)}"


def test_a_rollout_of_an_unknown_release_is_refused_as_a_whole(records):
    seen = founded(records)
    with pytest.raises(Exception, match=r"(?i)foreign key"):
        rollout_of(records, seen, challenger_id="r-unknown")
    assert records.active() == seen


def test_a_registered_release_keeps_its_first_row_but_for_its_folder(records):
    records.register_release(ref("r-1"), {"f1": 0.5})
    records.register_release(replace(ref("r-1"), bundle_path="/moved", corpus_revision="other"), {"f1": 0.9})
    assert records.release("r-1") == replace(ref("r-1"), bundle_path="/moved")
    assert records.evaluation("r-1") == {"f1": 0.5}


def test_appends_from_many_threads_all_arrive(records):
    def append(number: int) -> None:
        for i in range(20):
            records.append_request(replace(ROW, request_id=f"req-{number}-{i}"))

    with ThreadPoolExecutor(6) as pool:
        list(pool.map(append, range(6)))
    assert records.usage()["n_requests"] == 120


OPEN_AND_TELL = """
import sys
from palier.adapters.records import Records
sys.stdin.readline()
print(Records(sys.argv[1]).active().version)
"""


@pytest.mark.service  # starts processes
def test_processes_that_make_the_schema_at_once_all_succeed(url):
    command = [sys.executable, "-c", OPEN_AND_TELL, url]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    processes = [subprocess.Popen(command, **pipes) for _ in range(3)]
    for process in processes:
        process.stdin.write("\n")
        process.stdin.flush()
    answers = [process.communicate(timeout=60) for process in processes]
    assert [out.strip() for out, _ in answers] == ["0"] * 3, [error[-500:] for _, error in answers]


WRITE_UNTIL_KILLED = """
import sys
from dataclasses import replace
sys.path.insert(0, sys.argv[3])
from test_records import ROW, Records
records = Records(sys.argv[1])
for i in range(1_000_000):
    records.append_request(replace(ROW, request_id=f"{sys.argv[2]}-{i}"))
    print(f"{sys.argv[2]}-{i}", flush=True)
"""


@pytest.mark.soak
@pytest.mark.service  # starts processes
def test_a_killed_writer_loses_no_acknowledged_row_and_doubles_none(url):
    acknowledged = []
    for run, n_rows in enumerate((5, 60, 200)):
        command = [sys.executable, "-c", WRITE_UNTIL_KILLED, url, f"run{run}", str(Path(__file__).parent)]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        acknowledged += [process.stdout.readline().strip() for _ in range(n_rows)]
        process.send_signal(signal.SIGKILL)
        acknowledged += process.stdout.read().split()
        process.wait()
    records = Records(url)
    stored = [row.request_id for row in records.requests(limit=10**6)]
    records.close()
    assert len(stored) == len(set(stored))
    assert set(acknowledged) <= set(stored)
    assert len(stored) <= len(acknowledged) + 3, "at most the row in flight of each run is stored unacknowledged"


def test_a_database_of_another_schema_is_refused(url):
    engine = open_engine(url)
    with engine.begin() as connection:
        connection.execute(schema_info.update().values(schema_version=99))
    engine.dispose()
    with pytest.raises(IntegrityError, match="schema version 99"):
        Records(url)


def test_a_database_that_cannot_be_opened_is_named_with_a_remedy_and_without_its_password(tmp_path):
    (tmp_path / "records.db").write_bytes(b"this is no database, it is a text that somebody put here" * 40)
    with pytest.raises(ServiceError, match="PALIER_RECORDS_URL"):
        Records(f"sqlite:///{tmp_path / 'records.db'}")
    assert "secret" not in repr(Records(f"sqlite:///{tmp_path / 'fine.db'}?password=secret".split("?")[0]))


@pytest.mark.parametrize("url", ["records.db", "postgres://palier:geheim@db/palier", "mysql://p:geheim@db/palier"])
def test_what_is_no_address_of_a_database_is_said_with_a_remedy_and_without_its_password(url):
    with pytest.raises(ServiceError, match=r"PALIER_RECORDS_URL.*postgresql\+psycopg://") as caught:
        Records(url)
    assert "geheim" not in str(caught.value)
