"""DAG files are cheap to parse, and every DAG keeps the rules that the loop rests on.

All files are imported in one fresh Python, as Airflow's DAG processor does, and their DAGs are described from there;
that Airflow itself takes them is the matter of `tests/dags/`.
"""

import json
import os
import subprocess
import sys
from typing import Any

import pytest

from palier.settings import repository_root

DAGS = repository_root() / "dags"
FILES = sorted(path.stem for path in DAGS.glob("*.py"))
DAG_IDS = [name for name in FILES if name != "loop"]
HEAVY = ["torch", "transformers", "mlflow", "evidently", "dvc", "onnxruntime", "elasticsearch", "pandas", "sklearn"]
MAX_SHARE_OF_AIRFLOW = 0.5
"""Of the CPU seconds that importing Airflow alone takes in the same process: what one file may add."""
PARSE = """
import importlib, json, sys, time

folder, files, heavy = sys.argv[1], json.loads(sys.argv[2]), json.loads(sys.argv[3])
began = time.process_time()
from airflow.sdk import Asset, AssetOrTimeSchedule, CronTriggerTimetable, dag, task
said = {"airflow_s": time.process_time() - began, "files": {}, "dags": {}}
sys.path.insert(0, folder)
for name in files:
    began = time.process_time()
    module = importlib.import_module(name)
    said["files"][name] = {
        "seconds": time.process_time() - began,
        "brought": [package for package in heavy if package in sys.modules],
        "text": module.__doc__,
    }
for name in files:
    if hasattr(sys.modules[name], name):
        made = getattr(sys.modules[name], name)()
        said["dags"][name] = {
            "dag_id": made.dag_id,
            "doc": made.doc_md,
            "max_active_runs": made.max_active_runs,
            "catchup": made.catchup,
            "timeout_s": made.dagrun_timeout and made.dagrun_timeout.total_seconds(),
            "tasks": {
                one.task_id: {
                    "retries": one.retries,
                    "delay_s": one.retry_delay.total_seconds(),
                    "timeout_s": one.execution_timeout and one.execution_timeout.total_seconds(),
                    "pool": one.pool,
                }
                for one in made.tasks
            },
        }
print("said:" + json.dumps(said))
"""


@pytest.fixture(scope="module")
def parsed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What a fresh Python found in the DAG files."""
    home = tmp_path_factory.mktemp("airflow")
    env = {**os.environ, "AIRFLOW_HOME": str(home), "AIRFLOW__CORE__LOAD_EXAMPLES": "False"}
    command = [sys.executable, "-c", PARSE, str(DAGS), json.dumps(FILES), json.dumps(HEAVY)]
    done = subprocess.run(command, cwd=home, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    (line,) = [line for line in done.stdout.splitlines() if line.startswith("said:")]
    said: dict[str, Any] = json.loads(line.removeprefix("said:"))
    return said


def test_there_are_five_dags_each_named_as_its_file(parsed: dict[str, Any]) -> None:
    """One DAG a file; `loop` is what they share."""
    assert {name: made["dag_id"] for name, made in parsed["dags"].items()} == {name: name for name in DAG_IDS}
    assert len(DAG_IDS) == 5


@pytest.mark.parametrize("name", FILES)
def test_a_dag_file_imports_nothing_heavy(parsed: dict[str, Any], name: str) -> None:
    """Airflow parses each file again and again: models and clients are imported by tasks, not by files."""
    assert parsed["files"][name]["brought"] == []
    assert parsed["files"][name]["seconds"] < MAX_SHARE_OF_AIRFLOW * parsed["airflow_s"]


@pytest.mark.parametrize("name", DAG_IDS)
def test_a_dag_keeps_the_rules(parsed: dict[str, Any], name: str) -> None:
    """Its page is its file's docstring; one run at a time, none made up for the past, none without an end."""
    made = parsed["dags"][name]
    assert made["doc"] == parsed["files"][name]["text"]
    assert len(made["doc"].split()) > 20
    assert made["max_active_runs"] == 1
    assert made["catchup"] is False
    assert 0 < made["timeout_s"] <= 24 * 3600
    for task in made["tasks"].values():
        assert task["retries"] >= 1
        assert task["delay_s"] > 0
        assert 0 < task["timeout_s"] <= 2 * 3600
        assert task["pool"] == "dvc"


def test_dag_files_are_short() -> None:
    """120 lines with the docstring: schedule, order and assets, no work."""
    lengths = {path.name: len(path.read_text(encoding="utf-8").splitlines()) for path in sorted(DAGS.glob("*.py"))}
    assert {name: length for name, length in lengths.items() if length > 120} == {}
