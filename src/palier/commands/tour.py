"""`palier run`: the main job, once, with everything embedded, and visible while it happens.

Services up; the weekly loop through Airflow on the workspace's documents; a first release founded; and, where the
workspace is the sample one, a second corpus version whose release goes through shadow and canary on replayed sample
questions. A second run on unchanged documents finds everything done.
"""

import hashlib
import json
import shutil
import time
from collections.abc import Iterator, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

import typer

from palier.adapters.airflow_api import AirflowApi, DagRunState, TaskState
from palier.adapters.records import Records
from palier.adapters.workspace import Workspace, json_lines
from palier.commands import services
from palier.commands.context import WorkspaceOption, utc_now, workspace_at_hand
from palier.commands.questions import ask_gateway, describe_answer
from palier.commands.workspaces import make_workspace
from palier.errors import ServiceError
from palier.settings import Settings, repository_root

app = typer.Typer()
LOOP = ("version_documents", "rebuild_indexes", "train_models", "release_cascade")
SECONDS_PER_POLL = 2.0
START_OF_NEXT_DAG_S = 120.0
EXAMPLES = (  # of the sample documents
    "How long do I have to cancel an order in the app?",
    "Combien de temps ai-je pour annuler une commande dans l'application ?",
)
SAMPLE_MARK = ".sample-workspace"


@app.command("run")
def run_tour(workspace: WorkspaceOption = None) -> None:
    """Start everything, run the weekly loop through Airflow, release, and answer a question in each language."""
    settings = Settings(workspace=workspace or workspace_at_hand(Settings()))
    services.require_workspace(settings)
    started = time.monotonic()
    is_sample = _ensure_workspace(settings)
    say("Services: Elasticsearch, MLflow, the gateway and Airflow (about a minute)")
    services.start(settings)
    say("The loop through Airflow: documents, index, models, cascade, release (7 to 15 minutes when all is new)")
    run_loop(settings)
    wait_until_ready(settings)
    if is_sample and _bring_second_version(settings):
        say("Documents version 2: about a tenth of them changed; the loop again (6 to 12 minutes)")
        run_loop(settings)
    if Records(settings.database_url).active().rollout is not None:
        say("The second release in shadow, then canary: sample questions are replayed until the gateway decides")
        replay_until_decided(settings)
    say(f"Done in {time.monotonic() - started:.0f} s. An answer in each language:")
    for question in EXAMPLES if is_sample else _first_questions(settings):
        print(f"\n> {question}\n{describe_answer(ask_gateway(settings, question))}")
    print(_links(settings))


def say(text: str) -> None:
    """One line of what happens, with the time."""
    print(f"[{utc_now():%H:%M:%S}] {text}", flush=True)


def run_loop(settings: Settings) -> None:
    """Trigger `version_documents` and follow the assets from DAG to DAG; raises ServiceError when a task fails."""
    api = AirflowApi(settings.airflow_url)
    _wait_for_dags(api)
    started = utc_now()
    api.trigger(LOOP[0], started)
    watcher = _ProgressWatcher(Workspace(settings.workspace).cache / "progress.json")
    for dag_id in LOOP:
        run = _follow(api, dag_id, started, watcher)
        if dag_id == LOOP[0] and any(task.state == "skipped" for task in api.tasks(run)):
            say("Nothing changed: the release of this corpus revision is there already")
            return


def wait_until_ready(settings: Settings, seconds: float = 60.0) -> None:
    """Return when the gateway answers from a release; raises ServiceError with its reason when it does not."""
    deadline = time.monotonic() + seconds
    while reason := _why_not_ready(settings):
        if time.monotonic() > deadline:
            raise ServiceError(f"The gateway is not ready after {seconds:.0f} s: {reason}")
        time.sleep(0.5)


def _why_not_ready(settings: Settings) -> str | None:
    import httpx

    try:
        reply = httpx.get(f"{settings.gateway_url}/readyz", timeout=10)
    except httpx.TimeoutException:
        return "it did not say why within 10 s"
    except httpx.HTTPError as error:
        raise ServiceError(
            f"The gateway at {settings.gateway_url} does not answer ({error}). Start it with `palier services up`."
        ) from error
    return None if reply.status_code == httpx.codes.OK else reply.text[:500]


def replay_until_decided(settings: Settings) -> None:
    """Ask the workspace's golden questions, from many made-up users, until the rollout has ended or all are asked."""
    records = Records(settings.database_url)
    rollout = records.active().rollout
    if rollout is None:
        return
    shown = ""
    for n, question in enumerate(_sample_questions(settings), start=1):
        ask_gateway(settings, question, user=f"replay-{n}")
        now = records.active().rollout
        state = "ended" if now is None else f"{now.phase}, share {now.share:.0%}"
        if state != shown or n % 50 == 0:
            say(f"  {n} questions replayed: {state}")
            shown = state
        if now is None:
            last = records.history(limit=1)
            say(f"  the rollout ended: {last[0].reason if last else records.rollout(rollout.rollout_id)}")
            return
    say("  all sample questions are replayed and the rollout goes on: see `palier release status`")


def _ensure_workspace(settings: Settings) -> bool:
    """Make the sample workspace when there is none; True where the workspace is the sample one."""
    if not (settings.workspace / "params.yaml").is_file():
        samples = repository_root() / "samples"
        say(f"New workspace at {settings.workspace} from the sample documents")
        make_workspace(settings.workspace, samples / "documents", samples / "golden")
        (settings.workspace / ".cache").mkdir(exist_ok=True)
        (settings.workspace / ".cache" / SAMPLE_MARK).touch()
    return (settings.workspace / ".cache" / SAMPLE_MARK).is_file()


def _bring_second_version(settings: Settings) -> bool:
    """Lay the changed documents and golden rows over the first version; False when that was done before."""
    mark = settings.workspace / ".cache" / f"{SAMPLE_MARK}-v2"
    if mark.is_file():
        return False
    samples = repository_root() / "samples"
    shutil.copytree(samples / "documents_v2", settings.workspace / "documents", dirs_exist_ok=True)
    for changed in sorted((samples / "golden_v2").glob("*.jsonl")):
        _lay_over(changed, settings.workspace / "golden" / changed.name)
    mark.touch()
    return True


def _lay_over(changed: Path, target: Path) -> None:
    """Rows of ``changed`` replace those of the same id in ``target``; new ids are added."""
    rows = {row["id"]: row for path in (target, changed) for row in _rows(path)}
    target.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows.values()), encoding="utf-8")


def _rows(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in json_lines(path)]


def _first_questions(settings: Settings) -> list[str]:
    """The first golden question of each language that has an answer: what the owner's documents are about."""
    firsts: dict[str, str] = {}
    for row in _golden_rows(settings):
        if row.get("answerable", True) and not row.get("history"):
            firsts.setdefault(row["lang"], row["question"])
    return list(firsts.values())


def _golden_rows(settings: Settings) -> list[dict[str, Any]]:
    return [row for path in sorted((settings.workspace / "golden").glob("*.jsonl")) for row in _rows(path)]


def _sample_questions(settings: Settings, rounds: int = 8) -> Iterator[str]:
    questions = [row["question"] for row in _golden_rows(settings) if not row.get("history")]
    # By hash: both languages and all topics from the first dozen on, and the same order on every machine.
    questions.sort(key=lambda question: hashlib.sha256(question.encode("utf-8")).digest())
    for _ in range(rounds):
        yield from questions


def _wait_for_dags(api: AirflowApi, seconds: float = 120.0) -> None:
    deadline = time.monotonic() + seconds
    while missing := set(LOOP) - set(api.dag_ids()):
        if time.monotonic() > deadline:
            why = "\n".join(api.import_errors()) or "It names no import error: see `palier services status`."
            raise ServiceError(f"Airflow has not read the DAGs {', '.join(sorted(missing))} yet. {why}")
        time.sleep(1)
    api.require_unpaused(LOOP)  # all of them now, not after the hour that the first ones take


def _follow(api: AirflowApi, dag_id: str, since: datetime, watcher: "_ProgressWatcher") -> DagRunState:
    """Wait for the DAG's run since ``since`` to end well, saying each task's state when it changes."""
    deadline = time.monotonic() + START_OF_NEXT_DAG_S
    seen: dict[str, str | None] = {}
    while True:
        runs = api.runs_since(dag_id, since)
        if runs:
            for task in api.tasks(runs[0]):
                _say_change(task, seen)
            if runs[0].is_over:
                _raise_failed(api, runs[0])
                return runs[0]
        elif time.monotonic() > deadline:
            api.require_unpaused([dag_id])
            raise ServiceError(f"DAG {dag_id} did not start within {START_OF_NEXT_DAG_S:.0f} s; see Airflow's page.")
        watcher.say_news()
        time.sleep(SECONDS_PER_POLL)


def _say_change(task: TaskState, seen: dict[str, str | None]) -> None:
    if task.state != seen.get(task.task_id) and task.state not in (None, "scheduled", "queued"):
        say(f"  {task.dag_id}.{task.task_id}: {task.state}")
    seen[task.task_id] = task.state


def _raise_failed(api: AirflowApi, run: DagRunState) -> None:
    if run.state != "failed":
        return
    failed = [task for task in api.tasks(run) if task.state == "failed"]
    logs = "\n".join(f"--- {task.dag_id}.{task.task_id}\n{api.task_log(task)}" for task in failed)
    raise ServiceError(f"DAG {run.dag_id} failed; run the command again to go on from here.\n{logs}")


class _ProgressWatcher:
    """Says what a stage wrote into the workspace's progress file, when it changed."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._last: Mapping[str, Any] = {}
        self._said = 0.0

    def say_news(self) -> None:
        try:
            news = json.loads(self._path.read_text(encoding="utf-8"))
        except (OSError, json.JSONDecodeError):
            return
        if news != self._last and time.monotonic() - self._said > 4:
            left = f", about {news['seconds_left']} s left" if news["done"] < news["total"] else ""
            say(f"    {news['stage']}: {news['what']} {news['done']}/{news['total']}{left}")
            self._last, self._said = news, time.monotonic()


def _links(settings: Settings) -> str:
    return (
        f"\nGateway   {settings.gateway_url}/docs   (key: `palier keys create NAME`)\n"
        f"MLflow    {settings.tracking_url}\n"
        f"Airflow   {settings.airflow_url}\n"
        f"Search    {settings.search_url}\n"
        'Next      palier ask "..." | palier release history | palier usage | make stop'
    )
