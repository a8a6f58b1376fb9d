"""The service supervisor against real processes, and the embedded search node against the official client."""

import dataclasses
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest
from elasticsearch import Elasticsearch

from palier.adapters import search_node
from palier.adapters.services import AirflowFolders, ServiceSpec, Supervisor, airflow_spec, search_spec
from palier.errors import MissingToolError, PortTakenError, ServiceError

ROOT = Path(__file__).resolve().parents[2]

SERVER = """
import http.server, json, os, signal, subprocess, sys, time

class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        body = json.dumps({"ready": "never" not in sys.argv}).encode()
        self.send_response(200)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *arguments):
        pass

SLEEP = [sys.executable, "-c", "import time; time.sleep(300)"]
IGNORE = [sys.executable, "-c", "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(300)"]
if "family" in sys.argv:
    subprocess.Popen(SLEEP)
    subprocess.Popen(SLEEP, process_group=0)
    subprocess.Popen(SLEEP, start_new_session=True, env={})
if "deaf" in sys.argv:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
if "orphan" in sys.argv:  # its parent is gone and its session is its own: only the environment tells
    subprocess.run([sys.executable, "-c", f"import subprocess; subprocess.Popen({SLEEP!r}, start_new_session=True)"])
if "die" in sys.argv:
    print("\\n".join(f"line {i}" for i in range(40)), flush=True)
    sys.exit(7)
http.server.ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A path with a space and an accent, as people have them."""
    path = tmp_path / "mes données"
    path.mkdir()
    return path


@pytest.fixture
def supervisor(folder: Path) -> Iterator[Supervisor]:
    made = Supervisor(folder / "state")
    yield made
    made.down("echo", grace_s=2)


@pytest.fixture
def make_spec(folder: Path, free_port: int) -> Callable[..., ServiceSpec]:
    script = folder / "a server.py"
    script.write_text(textwrap.dedent(SERVER))

    def make(*behaviour: str, timeout_s: float = 20) -> ServiceSpec:
        return ServiceSpec(
            name="echo",
            command=[sys.executable, str(script), str(free_port), *behaviour],
            port=free_port,
            health_url=f"http://127.0.0.1:{free_port}/",
            env=dict(os.environ),
            cwd=folder,
            start_timeout_s=timeout_s,
            port_variable="PALIER_ECHO_PORT",
            is_healthy=lambda body: bool(json.loads(body)["ready"]),
            stop_grace_s=2,
        )

    return make


@pytest.fixture
def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def test_a_state_that_cannot_be_used_is_said_with_the_remedy(
    folder: Path, make_spec: Callable[..., ServiceSpec]
) -> None:
    (folder / "file").touch()
    supervisor = Supervisor(folder / "file" / "services")
    for act in (
        lambda: supervisor.up(make_spec()),
        lambda: supervisor.down("echo"),
        lambda: supervisor.status([make_spec()]),
    ):
        with pytest.raises(ServiceError, match=r"file/services.* cannot be used .*PALIER_STATE_DIR"):
            act()


def processes_of(folder: Path) -> list[psutil.Process]:
    """Everything alive that works in the folder: how the tests see what a `down` left behind."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.status() != psutil.STATUS_ZOMBIE and process.cwd() == str(folder):
                found.append(process)
        except psutil.Error:
            continue
    return found


def test_a_started_service_is_healthy_and_reported(
    supervisor: Supervisor, make_spec: Callable[..., ServiceSpec]
) -> None:
    """`up` returns only when the health page accepts, and `status` tells the same."""
    messages: list[str] = []
    running = supervisor.up(make_spec(), lambda name, seconds, message: messages.append(message))
    (status,) = supervisor.status([make_spec()])
    assert not running.was_running
    assert (status.is_running, status.is_healthy, status.pid) == (True, True, running.pid)
    assert os.getsid(running.pid) == running.pid
    assert messages[0] == "starting"
    assert messages[-1] == "healthy"


def test_a_running_service_is_used_again(supervisor: Supervisor, make_spec: Callable[..., ServiceSpec]) -> None:
    """A second `up` starts nothing."""
    first = supervisor.up(make_spec())
    second = supervisor.up(make_spec())
    assert second.was_running
    assert second.pid == first.pid


def test_down_leaves_no_process(supervisor: Supervisor, make_spec: Callable[..., ServiceSpec], folder: Path) -> None:
    """Children in other groups, in other sessions without our environment, and orphans all end with the service."""
    supervisor.up(make_spec("family", "orphan"))
    assert len(processes_of(folder)) == 5
    assert supervisor.down("echo") == 5
    assert processes_of(folder) == []
    assert supervisor.down("echo") == 0


def test_a_service_deaf_to_sigterm_is_killed(
    supervisor: Supervisor, make_spec: Callable[..., ServiceSpec], folder: Path
) -> None:
    """After the grace comes SIGKILL."""
    supervisor.up(make_spec("deaf"))
    assert supervisor.down("echo", grace_s=0.5) == 1
    assert processes_of(folder) == []


def test_a_taken_port_is_named_with_its_holder(
    supervisor: Supervisor, make_spec: Callable[..., ServiceSpec], free_port: int
) -> None:
    """The message holds the port, the service, who listens, and the variable that moves us elsewhere."""
    with socket.socket() as other:
        other.bind(("127.0.0.1", free_port))
        other.listen()
        with pytest.raises(PortTakenError) as caught:
            supervisor.up(make_spec())
    message = str(caught.value)
    assert f"port {free_port}" in message
    assert f"process {os.getpid()} " in message
    assert "PALIER_ECHO_PORT" in message


def test_ports_can_be_asked_for_before_anything_starts(
    supervisor: Supervisor, make_spec: Callable[..., ServiceSpec], free_port: int, folder: Path
) -> None:
    """A port of somebody else's is refused; a free one and that of our own running service are not."""
    with socket.socket() as other:
        other.bind(("127.0.0.1", free_port))
        other.listen()
        with pytest.raises(PortTakenError, match=f"port {free_port}"):
            supervisor.require_ports([make_spec()])
    assert processes_of(folder) == []
    supervisor.require_ports([make_spec()])
    supervisor.up(make_spec())
    supervisor.require_ports([make_spec()])


def test_a_service_that_dies_while_starting_shows_its_last_lines(
    supervisor: Supervisor, make_spec: Callable[..., ServiceSpec]
) -> None:
    """Twenty lines of the log, and the exit status."""
    with pytest.raises(ServiceError, match="status 7") as caught:
        supervisor.up(make_spec("die"))
    assert "line 39" in str(caught.value)
    assert "line 19" not in str(caught.value)
    assert supervisor.status([make_spec()])[0].is_running is False


def test_a_service_that_is_never_healthy_is_stopped_again(
    supervisor: Supervisor, make_spec: Callable[..., ServiceSpec], folder: Path
) -> None:
    """A failed start leaves no process and no record."""
    with pytest.raises(ServiceError, match="not healthy after 2 s"):
        supervisor.up(make_spec("never", "family", timeout_s=2))
    assert processes_of(folder) == []
    assert not (folder / "state" / "echo.json").exists()


def test_a_missing_program_is_an_error_with_its_name(
    supervisor: Supervisor, make_spec: Callable[..., ServiceSpec]
) -> None:
    """The person reads which program, not a traceback."""
    spec = dataclasses.replace(make_spec(), command=["/nowhere/at all"])
    with pytest.raises(ServiceError, match="/nowhere/at all"):
        supervisor.up(spec)


def test_what_a_killed_service_left_is_swept_before_the_next_start(
    supervisor: Supervisor, make_spec: Callable[..., ServiceSpec], folder: Path
) -> None:
    """Orphans of a service that was killed hold no port or data when it starts again."""
    first = supervisor.up(make_spec("orphan"))
    os.kill(first.pid, signal.SIGKILL)
    os.waitpid(first.pid, 0)
    assert len(processes_of(folder)) == 1
    second = supervisor.up(make_spec())
    assert [process.pid for process in processes_of(folder)] == [second.pid]


def test_a_reused_process_number_is_nobody_of_ours(
    supervisor: Supervisor, make_spec: Callable[..., ServiceSpec], folder: Path
) -> None:
    """A record whose start time differs names a stranger: it is not reported, and not killed."""
    stranger = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"], start_new_session=True)
    try:
        record = {"pid": stranger.pid, "started": "1", "token": "echo-gone", "port": 1}
        (folder / "state").mkdir()
        (folder / "state" / "echo.json").write_text(json.dumps(record))
        assert supervisor.status([make_spec()])[0].is_running is False
        assert supervisor.down("echo") == 0
        time.sleep(0.3)
        assert stranger.poll() is None
    finally:
        stranger.kill()
        stranger.wait()


def test_another_port_for_a_running_service_is_refused(
    supervisor: Supervisor, make_spec: Callable[..., ServiceSpec]
) -> None:
    """Waiting for a port on which our service will never listen would only end in a time-out."""
    supervisor.up(make_spec())
    with pytest.raises(ServiceError, match="services down echo"):
        supervisor.up(dataclasses.replace(make_spec(), port=1))


def test_java_too_old_or_broken_is_passed_over(folder: Path) -> None:
    """A JAVA_HOME that does not run, or says it is 17, does not hide a good one."""
    for name, script in {"broken": "exit 1", "old": "echo java.base@17.0.15"}.items():
        program = folder / name / "bin" / "java"
        program.parent.mkdir(parents=True)
        program.write_text(f"#!/bin/sh\n{script}\n")
        program.chmod(0o755)
        java = search_node.find_java({"JAVA_HOME": str(folder / name), "PATH": ""})
        assert java.major >= search_node.MIN_JAVA
        assert folder not in java.program.parents


def test_a_missing_maven_names_the_ways_out(folder: Path) -> None:
    """Without `mvn` and `apt-get`: install it, use the official image, or name a running Elasticsearch."""
    with pytest.raises(MissingToolError, match="ELASTICSEARCH_URL"):
        search_node.find_maven({"PATH": str(folder)}, print)


def test_the_build_is_told_by_its_sources(folder: Path) -> None:
    """One changed byte or one renamed file is another build; a rebuilt target is not."""
    project = folder / "search_node"
    shutil.copytree(ROOT / "search_node", project, ignore=shutil.ignore_patterns("target"))
    before = search_node.fingerprint(project)
    (project / "target").mkdir()
    (project / "target" / "x.jar").write_bytes(b"x")
    assert search_node.fingerprint(project) == before
    config = project / "src/main/home/config/elasticsearch.yml"
    config.write_text(config.read_text() + "#")
    assert search_node.fingerprint(project) != before


def test_airflow_starts_no_log_server(folder: Path) -> None:
    """`standalone` finds our `airflow` first, which keeps the servers that listen everywhere from starting."""
    real = folder / "venv" / "bin" / "airflow"
    real.parent.mkdir(parents=True)
    real.write_text('#!/bin/sh\necho "$@"\n')
    real.chmod(0o755)
    folders = AirflowFolders(folder / "air flow", folder / "dags", folder / "workspace")
    spec = airflow_spec(real.parent, folder, 18080, folders, {"PATH": "/usr/bin:/bin"})
    assert callable(spec.command)
    assert spec.command(print) == [str(real), "standalone"]

    def started(*arguments: str) -> str:
        found = shutil.which("airflow", path=spec.env["PATH"])
        assert found is not None
        return subprocess.run([found, *arguments], capture_output=True, text=True, check=True).stdout.strip()

    assert started("scheduler") == "scheduler --skip-serve-logs"
    assert started("triggerer") == "triggerer --skip-serve-logs"
    assert started("api-server") == "api-server"


@pytest.mark.service
def test_the_node_is_elasticsearch_for_the_official_client(folder: Path, free_port: int) -> None:
    """Built and run in a folder with spaces: stemming in two languages, vectors, alias swap, and a clean end."""
    project = folder / "search node"
    shutil.copytree(ROOT / "search_node", project, ignore=shutil.ignore_patterns("target"))
    supervisor = Supervisor(folder / "state")
    spec = search_spec(project, folder / "node data", free_port, dict(os.environ), heap_mb=256)
    try:
        running = supervisor.up(spec)
        listening = [c.laddr.ip for c in psutil.Process(running.pid).net_connections() if c.status == "LISTEN"]
        assert {ip.removeprefix("::ffff:") for ip in listening} == {"127.0.0.1"}
        with Elasticsearch(spec.url) as client:
            assert client.info()["version"]["number"].startswith("9.")
            _index_two_languages(client)
            assert _ids(client, query={"match": {"text_en": "opening"}}) == ["en"]
            assert _ids(client, query={"match": {"text_fr": "horaire d'ouvertures"}}) == ["fr"]
            near_fr = [0.0] * 383 + [1.0]
            assert _ids(client, knn={"field": "vector", "query_vector": near_fr, "k": 1}) == ["fr"]
            _swap_alias(client)
        supervisor.down("search")
        supervisor.up(spec)
        with Elasticsearch(spec.url) as client:
            assert client.count(index="passages")["count"] == 2
    finally:
        supervisor.down("search")
    assert processes_of(project) == []
    assert " stopped" in supervisor.log_path("search").read_text()


def _index_two_languages(client: Elasticsearch) -> None:
    vector = {"type": "dense_vector", "dims": 384, "similarity": "cosine", "index_options": {"type": "int8_hnsw"}}
    properties = {
        "text_en": {"type": "text", "analyzer": "english"},
        "text_fr": {"type": "text", "analyzer": "french"},
        "vector": vector,
    }
    client.indices.create(index="one", mappings={"dynamic": "strict", "properties": properties})
    documents = [
        {"index": {"_id": "en"}},
        {"text_en": "The shop opens at nine", "vector": [1.0] + [0.0] * 383},
        {"index": {"_id": "fr"}},
        {"text_fr": "Les horaires de l'ouverture", "vector": [0.0] * 383 + [1.0]},
    ]
    answer = client.bulk(index="one", operations=documents, refresh=True)
    assert answer["errors"] is False


def _ids(client: Elasticsearch, **search: object) -> list[str]:
    answer = client.msearch(searches=[{"index": "one"}, {"size": 5, **search}])
    return [hit["_id"] for hit in answer["responses"][0]["hits"]["hits"]]


def _swap_alias(client: Elasticsearch) -> None:
    client.indices.create(index="empty")
    client.indices.put_alias(index="empty", name="passages")
    swap = [
        {"remove": {"index": "empty", "alias": "passages"}},
        {"add": {"index": "one", "alias": "passages"}},
    ]
    client.indices.update_aliases(actions=swap)
    client.indices.delete(index="empty")
    assert client.count(index="passages")["count"] == 2
