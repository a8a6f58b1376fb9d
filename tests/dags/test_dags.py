"""Airflow takes the DAGs as they are: no import error, joined by assets, at the right times; `loop` reads its events.

The DAGs are loaded, serialised and read back in a Python of their own, under the configuration with which Palier
starts Airflow and in a home of this test's own: what is looked at is what the scheduler would see.
"""

import importlib
import json
import os
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from palier.adapters.services import AirflowFolders
from palier.adapters.services.specs import airflow_settings
from palier.adapters.versioning import head, init_workspace, run_git
from palier.adapters.workspace import write_json
from palier.errors import NotReadyError
from palier.settings import repository_root

DAGS = repository_root() / "dags"
LOAD = """
import json, sys
from datetime import UTC, datetime
from pathlib import Path

import pendulum
from airflow.dag_processing.dagbag import BundleDagBag
from airflow.serialization.serialized_objects import DagSerialization
from airflow.timetables.base import TimeRestriction

folder = Path(sys.argv[1])
bag = BundleDagBag(folder, bundle_path=folder, bundle_name="dags-folder")
start = TimeRestriction(earliest=pendulum.instance(datetime(2026, 1, 1, tzinfo=UTC)), latest=None, catchup=True)
said = {"errors": bag.import_errors, "dags": {}}
for dag_id, dag in bag.dags.items():
    read_back = DagSerialization.from_dict(json.loads(json.dumps(DagSerialization.to_dict(dag))))
    table = read_back.timetable
    first = table.next_dagrun_info(last_automated_data_interval=None, restriction=start)
    said["dags"][dag_id] = {
        "waits_for": sorted(asset.name for _, asset in table.asset_condition.iter_assets()),
        "any_will_do": type(table.asset_condition).__name__.endswith("AssetAny"),
        "first": first.run_after.isoformat() if first else None,
        "fires": {task.task_id: [asset.name for asset in task.outlets] for task in read_back.tasks},
        "order": {task.task_id: sorted(task.downstream_task_ids) for task in read_back.tasks},
    }
print("said:" + json.dumps(said))
"""
PIPELINE = """
stages:
  copy:
    cmd: cp source.txt result.txt
    deps: [source.txt]
    outs: [result.txt]
"""

pytestmark = pytest.mark.service


@pytest.fixture(scope="module")
def loaded(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What Airflow made of the folder of DAGs."""
    home = tmp_path_factory.mktemp("airflow home")
    settings = airflow_settings(18080, AirflowFolders(home, DAGS, home / "workspace"))
    command = [sys.executable, "-c", LOAD, str(DAGS)]
    env = {**os.environ, **settings}
    done = subprocess.run(command, cwd=home, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    (line,) = [line for line in done.stdout.splitlines() if line.startswith("said:")]
    said: dict[str, Any] = json.loads(line.removeprefix("said:"))
    return said


@pytest.fixture(scope="module")
def loop() -> ModuleType:
    """`dags/loop.py`, imported only now: Airflow reads AIRFLOW_HOME when it is imported."""
    return importlib.import_module("loop")


@pytest.fixture
def workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that the environment names as the workspace."""
    monkeypatch.setenv("PALIER_WORKSPACE", str(tmp_path / "ws"))
    return tmp_path / "ws"


def test_airflow_loads_five_dags(loaded: dict[str, Any]) -> None:
    """Without an import error, and each survives being serialised and read back."""
    assert loaded["errors"] == {}
    expected = {"check_drift", "rebuild_indexes", "release_cascade", "train_models", "version_documents"}
    assert set(loaded["dags"]) == expected


def test_assets_join_the_dags(loaded: dict[str, Any]) -> None:
    """From documents to release without a person; drift leads back to training."""
    dags = loaded["dags"]
    waits = {dag_id: dag["waits_for"] for dag_id, dag in dags.items()}
    fires = {dag_id: [name for names in dag["fires"].values() for name in names] for dag_id, dag in dags.items()}
    assert fires == {
        "version_documents": ["palier_corpus"],
        "rebuild_indexes": ["palier_index"],
        "train_models": ["palier_models"],
        "release_cascade": ["palier_release"],
        "check_drift": ["palier_drift"],
    }
    assert waits == {
        "version_documents": [],
        "rebuild_indexes": ["palier_corpus"],
        "train_models": ["palier_drift", "palier_index"],
        "release_cascade": ["palier_models"],
        "check_drift": [],
    }
    assert dags["train_models"]["any_will_do"]


def test_a_dag_fires_with_its_last_task_only(loaded: dict[str, Any]) -> None:
    """An asset fired earlier would start the next DAG on what is not finished."""
    for dag in loaded["dags"].values():
        for task_id, assets in dag["fires"].items():
            assert not assets or dag["order"][task_id] == []
        assert sum(not following for following in dag["order"].values()) == 1


def test_schedules(loaded: dict[str, Any]) -> None:
    """Documents daily at three, drift daily at half past two, training on Mondays at four, the rest by assets."""
    first = {dag_id: dag["first"] for dag_id, dag in loaded["dags"].items()}
    assert first == {
        "version_documents": "2026-01-01T03:00:00+00:00",
        "check_drift": "2026-01-01T02:30:00+00:00",
        "train_models": "2026-01-05T04:00:00+00:00",
        "rebuild_indexes": None,
        "release_cascade": None,
    }


def events(*named: tuple[str, dict[str, Any], int]) -> Any:
    """The accessor that Airflow hands to a task, of events as (asset, extra, hour)."""
    from airflow.sdk.execution_time.comms import AssetEventDagRunReferenceResult
    from airflow.sdk.execution_time.context import TriggeringAssetEventsAccessor

    origin = {"source_task_id": "t", "source_dag_id": "d", "source_run_id": "r", "source_map_index": -1}
    return TriggeringAssetEventsAccessor.build(
        AssetEventDagRunReferenceResult.model_validate(
            {
                "asset": {"name": asset, "uri": f"palier://{asset}/", "extra": {}},
                "extra": extra,
                "source_aliases": [],
                "timestamp": datetime(2026, 5, 1, hour, tzinfo=UTC),
                **origin,
            }
        )
        for asset, extra, hour in named
    )


def test_the_newest_event_names_the_revision(loop: ModuleType) -> None:
    """Of several events that became one run, over several assets; one without a revision names nothing."""
    two = events(("palier_index", {"revision": "b"}, 9), ("palier_index", {"revision": "a"}, 8))
    assert loop.asked_revision(two) == "b"
    across = events(("palier_index", {"revision": "b"}, 9), ("palier_drift", {"revision": "c"}, 10))
    assert loop.asked_revision(across) == "c"
    assert loop.asked_revision(events(("palier_drift", {}, 11), ("palier_index", {"revision": "b"}, 9))) == "b"


def test_a_manual_run_names_no_revision(loop: ModuleType) -> None:
    """Nor does one of the clock."""
    assert loop.asked_revision(events()) is None


def test_a_run_works_on_what_the_workspace_is_at(
    loop: ModuleType, workspace: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """An older revision in the event is said in the log, not worked on; the same one, or none, needs no word."""
    write_json(workspace / "data/corpus/manifest.json", {"revision": "new"})
    assert loop.check_revision(events(("palier_corpus", {"revision": "new"}, 9))) == "new"
    assert loop.check_revision(events()) == "new"
    assert capsys.readouterr().out == ""
    assert loop.check_revision(events(("palier_corpus", {"revision": "old"}, 9))) == "new"
    said = capsys.readouterr().out
    assert "old" in said
    assert "new" in said


def test_a_run_before_any_version_says_what_to_do(loop: ModuleType, workspace: Path) -> None:
    """The task's log names the stage that is missing."""
    with pytest.raises(NotReadyError, match="version-documents"):
        loop.check_revision(events())


def test_a_stage_runs_once_and_is_committed(loop: ModuleType, workspace: Path) -> None:
    """Real DVC in a workspace: it runs, `dvc.lock` is committed, and the second time nothing is done or committed."""
    init_workspace(workspace, repository_root())
    (workspace / "dvc.yaml").write_text(PIPELINE, encoding="utf-8")
    (workspace / "source.txt").write_text("one", encoding="utf-8")
    assert loop.reproduce_stage("copy") is True
    assert (workspace / "result.txt").read_text(encoding="utf-8") == "one"
    assert "dvc.lock" in run_git(["ls-files"], workspace).split()
    assert run_git(["log", "-1", "--format=%s"], workspace).strip() == "Run copy"
    before = head(workspace)
    assert loop.reproduce_stage("copy") is False
    assert head(workspace) == before
