"""The whole loop on real services, without Airflow: from documents to answers, an edit, a trace, and a rollback.

Every step goes through the door that people use, the command line; the gateway is a process of its own.
"""

import csv
import io
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import pytest

from palier.adapters import release_commands
from palier.adapters.bundle_store import install_bundle
from palier.adapters.planted_fault import plant_worse_reader
from palier.adapters.records import Records
from palier.adapters.release_commands import Candidate, Order
from palier.adapters.services import Supervisor, gateway_spec
from palier.domain.rollout import ReleaseRef
from palier.params import load_params
from palier.settings import repository_root

pytestmark = [pytest.mark.service, pytest.mark.model]
ROOT = repository_root()
FILE_STAGES = (
    "train-reader",
    "train-writer",
    "record-outcomes",
    "train-scorer",
    "tune-cascade",
    "evaluate-release",
    "evaluate-models",
    "package-release",
)


@dataclass
class Loop:
    """A workspace and the services that its commands talk to."""

    workspace: Path
    environment: dict[str, str]
    gateway_url: str

    def palier(self, *arguments: str, status: int = 0) -> str:
        """Run a command in the workspace; its output, and its exit status checked."""
        command = [sys.executable, "-m", "palier", *arguments]
        done = subprocess.run(
            command, cwd=self.workspace, env=self.environment, capture_output=True, text=True, timeout=600, check=False
        )
        assert done.returncode == status, done.stderr[-3000:] + done.stdout[-1000:]
        return done.stdout if status == 0 else done.stderr

    def ask(self, question: str, user: str | None = None) -> dict[str, Any]:
        """The gateway's answer as JSON."""
        body = {"model": "palier", "messages": [{"role": "user", "content": question}], "user": user}
        headers = {"Authorization": f"Bearer {self.environment['PALIER_API_KEY']}"}
        reply = httpx.post(f"{self.gateway_url}/v1/chat/completions", json=body, headers=headers, timeout=60)
        assert reply.status_code == 200, reply.text
        return {**reply.json(), "request_id": reply.headers["x-request-id"]}

    @property
    def records(self) -> Records:
        return Records(f"sqlite:///{self.environment['PALIER_STATE_DIR']}/records.db")


@pytest.fixture(scope="module")
def loop(
    tmp_path_factory: pytest.TempPathFactory,
    search_url: str,
    mlflow_url: str,
    small_workspace: Callable[..., Path],
    free_port: Callable[[], int],
) -> Iterator[Loop]:
    """A small workspace under a path with a space, brought to its founding release, and its gateway."""
    folder = tmp_path_factory.mktemp("a loop")
    port = free_port()
    environment = {
        **os.environ,
        "PALIER_STATE_DIR": str(folder / "state"),
        "PALIER_GATEWAY_PORT": str(port),
        "PALIER_INDEX_ALIAS": "passages-loop-test",
        "ELASTICSEARCH_URL": search_url,
        "MLFLOW_TRACKING_URI": mlflow_url,
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
    }
    (folder / "state").mkdir()
    made = Loop(small_workspace(folder / "workspace"), environment, f"http://127.0.0.1:{port}")
    for command in ("version-documents", "train-encoder", "build-index", *FILE_STAGES, "release start"):
        made.palier(*command.split())
    environment["PALIER_API_KEY"] = json.loads(made.palier("keys", "create", "test", "--json"))["key"]
    supervisor = Supervisor(folder / "services")
    try:
        supervisor.up(gateway_spec(Path(sys.executable), ROOT, port, environment))
        _wait_ready(made)
        yield made
    finally:
        supervisor.down("gateway")


def _wait_ready(loop: Loop) -> None:
    deadline = time.monotonic() + 60
    while httpx.get(f"{loop.gateway_url}/readyz", timeout=10).status_code != 200:
        assert time.monotonic() < deadline, httpx.get(f"{loop.gateway_url}/readyz", timeout=10).text
        time.sleep(0.5)


def test_the_founding_release_answers_with_cost_and_index(loop: Loop) -> None:
    """An answer over HTTP names its release and index, and its cost is what the ledger holds."""
    answer = loop.ask("How long do I have to cancel an order in the app?")
    palier = answer["palier"]
    row = loop.records.request(answer["request_id"])
    assert row is not None
    assert palier["release_id"] == row.release_id == loop.records.active().champion.release_id  # type: ignore[union-attr]
    assert palier["index"].startswith("passages-")
    assert round(palier["cost_usd"] * 1e9) == row.cost_nanousd > 0


def test_mlflow_has_parents_children_hashes_and_aliases(loop: Loop) -> None:
    """Every stage is a child of the corpus revision's run, with data hashes; the release has the champion alias."""
    from mlflow.tracking import MlflowClient

    client = MlflowClient(loop.environment["MLFLOW_TRACKING_URI"])
    experiment = client.get_experiment_by_name("palier")
    runs = client.search_runs([experiment.experiment_id], max_results=100)
    children = {run.data.tags.get("palier.stage"): run for run in runs}
    assert {"loop", "train-encoder", "build-index", *FILE_STAGES} <= set(children)
    evaluation = children["evaluate-release"]
    assert evaluation.data.tags["mlflow.parentRunId"] == children["loop"].info.run_id
    assert len(evaluation.data.tags["data.corpus.golden.jsonl"]) == 64
    assert "f1" in evaluation.data.metrics
    champion = client.get_model_version_by_alias("palier-release", "champion")
    assert champion.tags["release_id"] == loop.records.active().champion.release_id  # type: ignore[union-attr]


def test_the_models_report_is_a_page_over_golden_questions_and_over_files(loop: Loop, tmp_path: Path) -> None:
    """The pipeline's own page has every section; files that nobody has seen are asked over an index of their own."""
    page = (loop.workspace / "data" / "report" / "report.html").read_text(encoding="utf-8")
    found = json.loads((loop.workspace / "data" / "report" / "metrics.json").read_text(encoding="utf-8"))
    assert {"reader", "reader_wide", "cascade"} == set(found["rungs"])
    assert set(found["noise"]["reader"]) == {"typos", "no_accents", "upper_case", "padding"}
    assert [point["share"] for point in found["scorer_curve"]] == [0.1, 0.25, 0.5, 1.0]
    for key in ("answers", "baselines", "scorer", "learning-curve", "noise", "slices", "not-measured"):
        assert f'<section id="{key}"' in page
    data = tmp_path / "unseen.jsonl"
    data.write_text("".join(json.dumps(row) + "\n" for row in unseen_rows()), encoding="utf-8")
    told = loop.palier(
        "evaluate-models", "--data", str(data), "--out", str(tmp_path / "out"), "--rungs", "reader", "--json"
    )
    report = json.loads(told)
    assert report["n_questions"] == 12
    assert 0.0 <= report["metrics"]["reader.f1"] <= 1.0
    assert (tmp_path / "out" / "report.html").is_file()
    assert "--out" in loop.palier("evaluate-models", "--data", str(data), status=2)
    assert "ghost" in loop.palier("evaluate-models", "--rungs", "ghost", status=2)


def test_people_judge_blind_and_their_verdicts_come_back(loop: Loop, tmp_path: Path) -> None:
    """A sheet of the cheapest and the dearest rung; every verdict for the first side is counted."""
    sheet = tmp_path / "sheet.csv"
    loop.palier("evaluate-models", "--blind-out", str(sheet))
    text = sheet.read_text(encoding="utf-8-sig")
    rows = list(csv.DictReader(io.StringIO(text, newline="")))
    with sheet.open("w", encoding="utf-8", newline="") as handle:
        writer = csv.DictWriter(handle, fieldnames=list(rows[0]))
        writer.writeheader()
        writer.writerows(row | {"better": "1"} for row in rows)
    judged = json.loads(loop.palier("evaluate-models", "--blind-in", str(sheet), "--json"))
    assert judged["n_judged"] == len(rows) > 0
    assert sum(judged["wins"].values()) == len(rows)


def unseen_rows() -> list[dict[str, Any]]:
    """Twelve questions on twelve made-up bakeries, as rows of a public question set."""
    return [
        {
            "id": f"u{i}",
            "lang": "en",
            "title": f"Bakery number {i}",
            "passage_id": f"p{i}",
            "context": f"The bakery in street {i} opened in 19{10 + i}. Ada Baker founded it.",
            "question": f"In which year did the bakery in street {i} open?",
            "answers": [f"19{10 + i}"],
            "answerable": True,
        }
        for i in range(12)
    ]


def test_an_edited_document_reaches_the_answer_and_the_trace(loop: Loop) -> None:
    """After `version-documents` and `build-index` the passages hold the new words, and a trace finds their line."""
    document = loop.workspace / "documents" / "en" / "app" / "parrot-courier.md"
    document.parent.mkdir(parents=True, exist_ok=True)
    before = loop.ask("What is the name of the parrot courier?")
    document.write_text(
        "# The parrot courier\n\nThe name of the parrot courier is Zanzibar.\n\nIt delivers only on Tuesdays.\n",
        encoding="utf-8",
    )
    loop.palier("version-documents")
    loop.palier("build-index")
    headers = {"Authorization": f"Bearer {loop.environment['PALIER_API_KEY']}"}
    query = {"query": "What is the name of the parrot courier?", "k": 3}
    found = httpx.post(f"{loop.gateway_url}/v1/search", json=query, headers=headers, timeout=30).json()
    assert "Zanzibar" in found["data"][0]["text"]
    answer = loop.ask("What is the name of the parrot courier?")
    assert answer["palier"]["index"] != before["palier"]["index"]
    traced = json.loads(loop.palier("trace", answer["request_id"], "--json"))
    assert traced["index"] == answer["palier"]["index"]
    assert traced["release_id"] == answer["palier"]["release_id"]
    for source in traced["sources"]:
        lines = (loop.workspace / source["file"]).read_text(encoding="utf-8").splitlines()
        cited = " ".join(lines[source["start_line"] - 1 : source["end_line"]])
        assert " ".join(source["quote"].split()) in " ".join(cited.split())


def test_what_people_said_becomes_a_version_and_is_erased(loop: Loop) -> None:
    """A thumb over HTTP, collected through DVC; its erasure makes a version without it and names the one with it."""
    request_id = loop.ask("How long do I have to cancel an order in the app?")["request_id"]
    header = {"authorization": f"Bearer {loop.environment['PALIER_API_KEY']}"}
    judged = {"request_id": request_id, "rating": 1}
    answer = httpx.post(f"{loop.gateway_url}/v1/feedback", json=judged, headers=header, timeout=20)
    assert answer.status_code == 201
    first = json.loads(loop.palier("collect-feedback", "--json"))
    assert (first["drawn"]["n_rows"], first["report"]["n_rows"], first["older"]) == (1, 1, [])
    erased = json.loads(loop.palier("collect-feedback", "--erase", request_id, "--json"))
    assert (erased["drawn"]["n_rows"], erased["n_erased"], len(erased["older"])) == (0, 1, 1)
    assert "collect-feedback --erase" in loop.palier("collect-feedback", "--erase", request_id)
    assert "Dropped" in loop.palier("collect-feedback", "--erase", request_id, "--drop-versions")
    assert json.loads(loop.palier("collect-feedback", "--erase", request_id, "--json"))["older"] == []
    row = loop.records.request(request_id)
    assert row is not None
    assert (row.question, row.answer) == ("", "")


def test_a_planted_worse_reader_is_rolled_back_by_itself(loop: Loop, tmp_path: Path) -> None:
    """The rollout is not told that the challenger is worse; live evidence alone takes it back."""
    records = loop.records
    champion = records.active().champion
    assert champion is not None
    worse = plant_worse_reader(Path(champion.bundle_path), tmp_path / "worse")
    folder, _ = install_bundle(tmp_path / "worse", tmp_path / "releases")
    now = datetime.now(UTC)
    ref = ReleaseRef(worse.release_id, str(folder), worse.corpus_revision, now)
    params = load_params(loop.workspace / "params.yaml")
    evaluation = {name: interval.model_dump() for name, interval in worse.evaluation.items()}
    order = Order("test", "planted", now)
    rollout = params.rollout.model_copy(update={"quality_margin": 0.02})
    started = release_commands.start(records, Candidate(ref, evaluation), params.evaluate_release, rollout, order)
    asked = _ask_until_decided(loop, limit=600)
    ended = records.rollout(started.rollout_id or "")
    assert ended is not None
    assert ended.phase == "rolled_back", (asked, release_commands.explain(records))
    assert records.active().champion == champion


def _ask_until_decided(loop: Loop, limit: int) -> int:
    rows = [
        json.loads(line)
        for path in sorted((loop.workspace / "golden").glob("*.jsonl"))
        for line in path.read_text(encoding="utf-8").splitlines()
    ]
    for n in range(limit):
        if loop.records.active().rollout is None:
            return n
        loop.ask(rows[n % len(rows)]["question"], user=f"user-{n}")
    time.sleep(3)
    return limit


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        ("empty", "document"),
        ("typo", "passage_wrods"),
        ("large", "max_document_bytes"),
        ("encoding", "UTF-8"),
    ],
)
def test_bad_input_is_said_and_nothing_is_lost(loop: Loop, tmp_path: Path, damage: str, said: str) -> None:
    """Each kind of bad input ends with a message that names it, and the last good corpus stays."""
    import shutil

    workspace = tmp_path / "workspace"
    shutil.copytree(loop.workspace, workspace)
    manifest = (workspace / "data" / "corpus" / "manifest.json").read_text(encoding="utf-8")
    if damage == "empty":
        shutil.rmtree(workspace / "documents")
        (workspace / "documents").mkdir()
    elif damage == "typo":
        text = (workspace / "params.yaml").read_text(encoding="utf-8")
        (workspace / "params.yaml").write_text(text.replace("passage_words", "passage_wrods"), encoding="utf-8")
    elif damage == "large":
        (workspace / "documents" / "en" / "large.md").write_bytes(b"# Large\n" + b"words " * 3_500_000)
        _allow_no_bad_document(workspace)
    else:
        (workspace / "documents" / "en" / "latin.md").write_bytes("# Crème brûlée".encode("latin-1"))
        _allow_no_bad_document(workspace)
    damaged = Loop(workspace, loop.environment, loop.gateway_url)
    message = damaged.palier("version-documents", "--files-only", status=2)
    assert said in message
    assert (workspace / "data" / "corpus" / "manifest.json").read_text(encoding="utf-8") == manifest


def _allow_no_bad_document(workspace: Path) -> None:
    path = workspace / "params.yaml"
    text = path.read_text(encoding="utf-8").replace("max_bad_share: 0.05", "max_bad_share: 0.0")
    path.write_text(text, encoding="utf-8")


def test_elasticsearch_down_is_said_with_the_remedy(loop: Loop, free_port: Callable[[], int]) -> None:
    """A build without Elasticsearch names the address and the command that starts it."""
    dead = {**loop.environment, "ELASTICSEARCH_URL": f"http://127.0.0.1:{free_port()}"}
    message = Loop(loop.workspace, dead, loop.gateway_url).palier("build-index", status=1)
    assert "palier services up" in message


def test_the_gateway_starts_from_its_last_release_without_mlflow(
    loop: Loop, tmp_path: Path, free_port: Callable[[], int]
) -> None:
    """With no MLflow behind its address, a new gateway serves the champion that is on disk."""
    port = free_port()
    environment = {**loop.environment, "MLFLOW_TRACKING_URI": f"http://127.0.0.1:{free_port()}"}
    supervisor = Supervisor(tmp_path)
    try:
        supervisor.up(gateway_spec(Path(sys.executable), ROOT, port, environment))
        second = Loop(loop.workspace, environment, f"http://127.0.0.1:{port}")
        _wait_ready(second)
        assert second.ask("How long do I have to cancel an order in the app?")["choices"]
    finally:
        supervisor.down("gateway")
