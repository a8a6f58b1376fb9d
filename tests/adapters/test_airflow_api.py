"""The client of Airflow's REST API, over a real Airflow started as `palier services up` starts it.

The DAG is this test's own and does nothing, since what Palier's own do takes minutes. The price is Airflow's start,
most of a minute on two cores.
"""

import json
import os
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import pytest

from palier.adapters.airflow_api import AirflowApi, DagRunState
from palier.adapters.services import AirflowFolders, Supervisor, airflow_spec
from palier.commands.services import require_workspace, up
from palier.commands.tour import LOOP, _wait_for_dags, run_tour
from palier.errors import ServiceError
from palier.settings import Settings

DAG = """
from datetime import timedelta

from airflow.sdk import dag, get_current_context, task


@dag(schedule=None)
def doomed():
    @task(retries=1, retry_delay=timedelta(0))
    def fail():
        number = get_current_context()["ti"].try_number
        print(f"said by try {number}")
        raise ValueError(f"what try {number} died of")

    fail()


doomed()
"""

pytestmark = pytest.mark.service


@dataclass(frozen=True)
class Served:
    """A running Airflow: its state lies in ``folder``, and it works on ``folder / "workspace"``."""

    api: AirflowApi
    folder: Path
    port: int


@pytest.fixture(scope="module")
def airflow(tmp_path_factory: pytest.TempPathFactory, free_port: Callable[[], int]) -> Iterator[Served]:
    """An Airflow that has its state in a folder of its own, and the one DAG."""
    folder, port = tmp_path_factory.mktemp("air flow"), free_port()
    (folder / "dags").mkdir()
    (folder / "dags" / "doomed.py").write_text(DAG, encoding="utf-8")
    folders = AirflowFolders(folder / "home", folder / "dags", folder / "workspace")
    spec = airflow_spec(Path(sys.executable).parent, folder, port, folders, dict(os.environ))
    supervisor = Supervisor(folder / "services")
    try:
        yield Served(AirflowApi(supervisor.up(spec).url), folder, port)
    finally:
        supervisor.down(spec.name, grace_s=1)  # nothing in there is worth a slow end


@pytest.fixture
def api(airflow: Served) -> AirflowApi:
    return airflow.api


@pytest.fixture
def at_hand(airflow: Served, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of an Airflow that is the one of the environment."""
    monkeypatch.setenv("PALIER_STATE_DIR", str(airflow.folder))
    monkeypatch.setenv("PALIER_WORKSPACE", str(airflow.folder / "workspace"))
    monkeypatch.setenv("PALIER_AIRFLOW_PORT", str(airflow.port))
    return airflow.folder


def wait_for(found: Callable[[], bool], seconds: float = 120) -> None:
    """Until ``found`` says so; fails when it does not in time."""
    deadline = time.monotonic() + seconds
    while not found():
        assert time.monotonic() < deadline
        time.sleep(0.3)


def test_the_log_of_a_task_that_was_tried_again_is_that_of_its_last_try(api: AirflowApi) -> None:
    """A run is triggered and followed to its end as `palier run` does; its task failed twice."""
    wait_for(lambda: api.dag_ids() == ["doomed"])
    since = datetime.now(UTC)
    run_id = api.trigger("doomed", since)

    def runs() -> list[DagRunState]:
        return api.runs_since("doomed", since)

    wait_for(lambda: any(run.is_over for run in runs()))
    (run,) = runs()
    assert (run.run_id, run.state) == (run_id, "failed")
    (task,) = api.tasks(run)
    assert (task.task_id, task.state, task.try_number) == ("fail", "failed", 2)
    log = api.task_log(task)
    assert "said by try 2" in log
    assert "ValueError: what try 2 died of" in log
    assert "try 1" not in log


def test_a_pool_is_made_once(api: AirflowApi) -> None:
    """Each start of the services asks for it; Airflow refuses a second one of the name."""
    for _ in range(2):
        api.ensure_pool("dvc", 1, "One at a time")


def test_a_dag_that_is_paused_is_not_taken_for_one_that_is_not_there(api: AirflowApi) -> None:
    wait_for(lambda: api.dag_ids() == ["doomed"])
    api.require_unpaused(["doomed"])
    api._call("PATCH", "/dags/doomed", {"is_paused": True})
    try:
        assert api.dag_ids() == ["doomed"]
        with pytest.raises(ServiceError, match=r"^Paused in Airflow: doomed\. .*/dags"):
            api.require_unpaused(["doomed"])
        api.require_unpaused(["another"])
    finally:
        api._call("PATCH", "/dags/doomed", {"is_paused": False})
    with pytest.raises(ServiceError, match=rf"^Airflow has not read the DAGs {LOOP[1]}, .* yet\. It names no import"):
        _wait_for_dags(api, 0)


def test_an_airflow_that_refuses_is_not_taken_for_one_that_is_away(api: AirflowApi) -> None:
    with pytest.raises(ServiceError, match="refused POST /dags/nobody/dagRuns: 404") as refused:
        api.trigger("nobody", datetime.now(UTC))
    assert "services up" not in str(refused.value)


def test_services_that_run_are_left_as_they_are_and_told(at_hand: Path, capsys: pytest.CaptureFixture[str]) -> None:
    up(["airflow"], as_json=True)
    (running,) = json.loads(capsys.readouterr().out)
    assert (running["name"], running["was_running"]) == ("airflow", True)
    assert running["url"] == Settings().airflow_url
    assert at_hand.is_dir()


def test_a_run_is_refused_while_airflow_works_on_another_workspace(
    at_hand: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Named or stood in; nothing is made for it before. The workspace that Airflow works on may bear another name."""
    served, other = at_hand / "workspace", tmp_path / "other"
    with pytest.raises(ServiceError, match=rf"{served}, and {other} .*palier services down.*PALIER_STATE_DIR"):
        run_tour(workspace=other)
    assert not other.exists()
    (other / ".dvc").mkdir(parents=True)
    monkeypatch.chdir(other)
    with pytest.raises(ServiceError, match=rf"{served}, and {other} "):
        run_tour()
    served.mkdir(exist_ok=True)
    (tmp_path / "alias").symlink_to(served)
    require_workspace(Settings(workspace=tmp_path / "alias"))


def test_no_workspace_is_refused_where_no_airflow_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PALIER_STATE_DIR", str(tmp_path / "state"))
    require_workspace(Settings(workspace=tmp_path / "any"))
