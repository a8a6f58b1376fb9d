"""What each service is: its command, environment, port, and how one sees that it is well.

It starts nothing. A command that needs work first (a build, a folder) is a function that the supervisor calls
when it really starts the service, so that asking for the status of four services costs nothing. Every service
listens on loopback only; the production shape is in `docker/`.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from palier.adapters import search_node

Announce = Callable[[str], None]
"""Takes one line for the person who waits."""
CommandMaker = Callable[[Announce], list[str]]
"""Does what must be done before a start, and returns what to run."""

NO_TELEMETRY = {"DO_NOT_TRACK": "true", "SCARF_ANALYTICS": "false", "MLFLOW_DISABLE_TELEMETRY": "true"}


def any_answer(_body: bytes) -> bool:
    """For a health page whose status code says it all."""
    return True


@dataclass(frozen=True)
class ServiceSpec:
    """One service; ``env`` is its whole environment, times are in seconds."""

    name: str
    command: list[str] | CommandMaker
    port: int
    health_url: str
    env: Mapping[str, str] = field(repr=False)  # may hold keys
    cwd: Path
    start_timeout_s: float
    port_variable: str
    """The environment variable that moves the service to another port; for messages."""
    is_healthy: Callable[[bytes], bool] = any_answer
    """Judges the body that ``health_url`` answers with status 200."""
    stop_grace_s: float = 15.0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"


def search_spec(project: Path, root: Path, port: int, env: Mapping[str, str], *, heap_mb: int = 512) -> ServiceSpec:
    """The embedded Elasticsearch node, built from ``project`` at its first start; its data under ``root``."""
    settings = search_node.NodeSettings(root=root, port=port, heap_mb=heap_mb)
    return ServiceSpec(
        name="search",
        command=lambda announce: search_node.prepare(project, settings, env, announce),
        port=port,
        health_url=f"http://127.0.0.1:{port}/_cluster/health?wait_for_status=yellow&timeout=1s",
        env=search_node.without_java_options(env),
        cwd=project,
        start_timeout_s=120,
        port_variable="PALIER_SEARCH_PORT",
    )


def mlflow_spec(venv_bin: Path, root: Path, port: int, env: Mapping[str, str]) -> ServiceSpec:
    """The MLflow server over ``<root>/mlruns``: one worker, artifacts proxied, no job runner, no telemetry.

    The server migrates its database before it listens, so healthy also means migrated.
    """
    store = root.resolve() / "mlruns"
    command = [
        str(venv_bin / "mlflow"),
        "server",
        "--host",
        "127.0.0.1",
        "--port",
        str(port),
        "--workers",
        "1",
    ]
    command += ["--backend-store-uri", f"sqlite:///{store / 'mlflow.db'}"]
    command += ["--artifacts-destination", str(store / "artifacts")]
    return ServiceSpec(
        name="mlflow",
        command=_after_making([store / "artifacts"], command),
        port=port,
        health_url=f"http://127.0.0.1:{port}/health",
        env={**_in_venv(venv_bin, env), "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"},
        cwd=root,
        start_timeout_s=180,
        port_variable="PALIER_MLFLOW_PORT",
    )


def gateway_spec(python: Path, root: Path, port: int, env: Mapping[str, str]) -> ServiceSpec:
    """The gateway under uvicorn; ``env`` holds its settings, ``root`` is the checkout it is imported from."""
    command = [str(python), "-m", "uvicorn", "serving.app:create_app", "--factory"]
    return ServiceSpec(
        name="gateway",
        command=[*command, "--host", "127.0.0.1", "--port", str(port)],
        port=port,
        health_url=f"http://127.0.0.1:{port}/livez",
        env=env,
        cwd=root,
        start_timeout_s=60,
        port_variable="PALIER_GATEWAY_PORT",
    )


@dataclass(frozen=True)
class AirflowFolders:
    """Where Airflow keeps its own state, finds the DAGs, and where their tasks work."""

    home: Path
    dags: Path
    workspace: Path


def airflow_spec(venv_bin: Path, root: Path, port: int, folders: AirflowFolders, env: Mapping[str, str]) -> ServiceSpec:
    """`airflow standalone`: API server, scheduler, DAG processor and triggerer over SQLite."""
    home = folders.home.resolve()
    shim = home / "bin"

    def make(_announce: Announce) -> list[str]:
        _write_shim(shim / "airflow", venv_bin / "airflow")
        return [str(venv_bin / "airflow"), "standalone"]

    inherited = _in_venv(venv_bin, env)
    return ServiceSpec(
        name="airflow",
        command=make,
        port=port,
        health_url=f"http://127.0.0.1:{port}/api/v2/monitor/health",
        env={
            **inherited,
            **airflow_settings(port, folders),
            "PATH": f"{shim}:{inherited['PATH']}",
            "PALIER_WORKSPACE": str(folders.workspace.resolve()),
        },
        cwd=root,
        start_timeout_s=600,
        port_variable="PALIER_AIRFLOW_PORT",
        is_healthy=_airflow_is_healthy,
    )


def airflow_settings(port: int, folders: AirflowFolders) -> dict[str, str]:
    """Airflow's configuration as environment variables, with why each default is changed."""
    home, url = folders.home.resolve(), f"http://127.0.0.1:{port}"
    return {
        "AIRFLOW_HOME": str(home),
        "AIRFLOW__CORE__DAGS_FOLDER": str(folders.dags.resolve()),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": f"sqlite:///{home / 'airflow.db'}",
        "AIRFLOW__CORE__PARALLELISM": "4",  # SQLite has one writer
        "AIRFLOW__CORE__MAX_ACTIVE_RUNS_PER_DAG": "1",  # runs share one workspace
        "AIRFLOW__CORE__DEFAULT_TASK_RETRIES": "0",  # a DAG says itself what may be tried again
        "AIRFLOW__CORE__DAGS_ARE_PAUSED_AT_CREATION": "False",  # the weekly run needs nobody
        "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_ALL_ADMINS": "True",  # loopback: who is here is the owner
        "AIRFLOW__CORE__EXECUTION_API_SERVER_URL": f"{url}/execution/",
        "AIRFLOW__API__HOST": "127.0.0.1",
        "AIRFLOW__API__PORT": str(port),
        "AIRFLOW__API__BASE_URL": url,
        "AIRFLOW__API__WORKERS": "1",
        "AIRFLOW__DAG_PROCESSOR__PARSING_PROCESSES": "1",
        "AIRFLOW__DAG_PROCESSOR__REFRESH_INTERVAL": "15",  # a new DAG file is seen within 15 s, not 5 min
        "AIRFLOW__SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT": "120",  # a killed task: 2 min, not 5
        "AIRFLOW__LOGGING__COLORED_CONSOLE_LOG": "False",  # its console is our log file
        "NO_COLOR": "1",
    }


def _airflow_is_healthy(body: bytes) -> bool:
    parts = json.loads(body)
    wanted = ("metadatabase", "scheduler", "dag_processor", "triggerer")
    return all((parts.get(part) or {}).get("status") == "healthy" for part in wanted)


def _write_shim(shim: Path, airflow: Path) -> None:
    """An `airflow` for `standalone` to find on PATH, which starts no log servers.

    The scheduler and the triggerer would each start one that listens on every interface, on fixed ports; the API
    server reads the same files from disk. The price: it notes that it missed them while a task still runs.
    """
    shim.parent.mkdir(parents=True, exist_ok=True)
    shim.write_text(
        f'#!/bin/sh\ncase "$1" in scheduler|triggerer) set -- "$@" --skip-serve-logs ;; esac\nexec "{airflow}" "$@"\n'
    )
    shim.chmod(0o755)


def _after_making(folders: list[Path], command: list[str]) -> CommandMaker:
    def make(_announce: Announce) -> list[str]:
        for folder in folders:
            folder.mkdir(parents=True, exist_ok=True)
        return command

    return make


def _in_venv(venv_bin: Path, env: Mapping[str, str]) -> dict[str, str]:
    """The environment with the venv's programs first; both servers start their own by name."""
    path = f"{venv_bin}:{env.get('PATH', '/usr/bin:/bin')}"
    return {**env, **NO_TELEMETRY, "PATH": path, "VIRTUAL_ENV": str(venv_bin.parent)}
