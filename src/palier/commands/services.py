"""`palier services up|down|status`: the four embedded services, on loopback, supervised by pid files."""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from typing import Annotated

import psutil
import typer

from palier.adapters.airflow_api import AirflowApi
from palier.adapters.services import (
    AirflowFolders,
    Running,
    ServiceSpec,
    Supervisor,
    airflow_spec,
    bind_state,
    gateway_spec,
    mlflow_spec,
    require_own_state,
    search_spec,
)
from palier.commands.context import JsonOption, show, workspace_at_hand
from palier.errors import InputError, MissingToolError, ServiceError
from palier.settings import Settings, repository_root

app = typer.Typer(help="Start, stop and look at the embedded services.", no_args_is_help=True)
NAMES = ("search", "mlflow", "gateway", "airflow")
NamesArgument = Annotated[list[str] | None, typer.Argument(help=f"Any of {', '.join(NAMES)}; default: all.")]


@app.command()
def up(names: NamesArgument = None, as_json: JsonOption = False) -> None:
    """Start services and wait until they are healthy; those that run are left as they are."""
    running = start(Settings(workspace=workspace_at_hand(Settings())), names)
    if as_json:  # else all is said, on stderr, while it happens
        show(running, as_json, "")


@app.command()
def down(names: NamesArgument = None, as_json: JsonOption = False) -> None:
    """Stop services and everything that they started."""
    settings = Settings()
    supervisor = Supervisor(settings.state_dir / "services")
    stopped = []
    for name in reversed(_chosen(names)):
        n_processes = supervisor.down(name)
        stopped.append({"name": name, "was_running": n_processes > 0, "n_processes": n_processes})
        typer.echo(f"{name}: {'stopped' if n_processes else 'was not running'}", err=as_json)
    if as_json:
        show(stopped, as_json, "")


@app.command()
def status(as_json: JsonOption = False) -> None:
    """Say of each service whether it runs and is healthy."""
    settings = Settings()
    states = Supervisor(settings.state_dir / "services").status(list(specs(settings, NAMES)))
    words = {
        (True, True): "healthy",
        (True, False): "running, not healthy",
        (False, True): "not ours, but answers",
    }
    lines = [
        f"{state.name:8} {words.get((state.is_running, state.is_healthy), 'stopped'):24} {state.url}"
        for state in states
    ]
    show(states, as_json, "\n".join(lines))


def start(settings: Settings, names: Sequence[str] | None = None) -> list[Running]:
    """Start the named services (default: all), saying what happens; Airflow's pool is made when Airflow is up.

    Where there is a workspace, the state is its own from now on; raises as `require_workspace` where it is not.
    """
    if (settings.workspace / "params.yaml").is_file():  # else nobody's: a search node for benchmarks, for instance
        require_workspace(settings)
        bind_state(settings.state_dir, settings.workspace)
    supervisor = Supervisor(settings.state_dir / "services")
    chosen = list(specs(settings, _chosen(names)))
    supervisor.require_ports(chosen)
    with ThreadPoolExecutor(len(chosen) or 1) as pool:  # each spends most of its start importing, on one core
        starts = [pool.submit(supervisor.up, spec, _announce) for spec in chosen]
        for start_of in as_completed(starts):
            running = start_of.result()
            how = "was running" if running.was_running else f"healthy after {running.seconds:.0f} s"
            typer.echo(f"{running.name}: {how}, {running.url}", err=True)
    if any(spec.name == "airflow" for spec in chosen):
        AirflowApi(settings.airflow_url).ensure_pool("dvc", 1, "One DVC command at a time in the workspace")
    return [start_of.result() for start_of in starts]


def require_workspace(settings: Settings) -> None:
    """Raises InputError where the state is another workspace's, and ServiceError where Airflow runs for another.

    Airflow's process itself is asked, for it may have been started before there was a workspace: its tasks work where
    the environment says that it was started with.
    """
    require_own_state(settings.state_dir, settings.workspace)
    (airflow,) = Supervisor(settings.state_dir / "services").status(list(specs(settings, ["airflow"])))
    asked = settings.workspace.resolve()
    try:
        served = psutil.Process(airflow.pid).environ().get("PALIER_WORKSPACE") if airflow.pid else None
    except psutil.Error:  # it ended meanwhile
        return
    if served is not None and Path(served) != asked:
        raise ServiceError(
            f"Airflow runs for the workspace {served}, and {asked} is asked for. Stop the services first "
            "(`palier services down`) and give this workspace a state of its own (PALIER_STATE_DIR), or its releases "
            f"are judged against the other one's; or go on with `palier run -w {served}`."
        )


def require_own_search(settings: Settings) -> None:
    """Raises ServiceError where the Elasticsearch on the port is not this state's: its live index is another one's.

    One that the environment names is taken at its word.
    """
    for spec in specs(settings, ["search"]):
        (search,) = Supervisor(settings.state_dir / "services").status([spec])
        if search.is_healthy and not search.is_running:
            raise ServiceError(
                f"What answers at {search.url} was not started with the state directory {settings.state_dir}: its live "
                "index may be another assistant's, and would be replaced. Stop it (`palier services down` with its "
                "PALIER_STATE_DIR) and run `palier services up`; or say that it is meant: ELASTICSEARCH_URL."
            )


def specs(settings: Settings, names: Sequence[str]) -> Iterator[ServiceSpec]:
    """What each named service is; Elasticsearch is left out where ELASTICSEARCH_URL names another."""
    root, binaries = repository_root(), Path(sys.executable).parent
    env = {
        **os.environ,
        "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", "2"),
        "OMP_WAIT_POLICY": os.environ.get("OMP_WAIT_POLICY", "PASSIVE"),
        "TOKENIZERS_PARALLELISM": "false",
        "PALIER_WORKSPACE": str(settings.workspace.resolve()),
        "PALIER_STATE_DIR": str(settings.state_dir.resolve()),
        "MLFLOW_TRACKING_URI": settings.tracking_url,
        "ELASTICSEARCH_URL": settings.search_url,
    }
    for name in names:
        if name == "search" and settings.elasticsearch_url is None:
            yield search_spec(root / "search_node", settings.state_dir / "search", settings.search_port, env)
        elif name == "mlflow" and settings.mlflow_url is None:
            is_default = settings.state_dir.resolve() == root / ".palier"
            yield mlflow_spec(binaries, root if is_default else settings.state_dir, settings.mlflow_port, env)
        elif name == "airflow":
            folders = AirflowFolders(settings.state_dir / "airflow", root / "dags", settings.workspace)
            yield airflow_spec(binaries, root, settings.airflow_port, folders, env)
        elif name == "gateway":
            serving_env = {**env, "OMP_NUM_THREADS": "1", "PYTHONPATH": f"{root / 'src'}{os.pathsep}{root}"}
            yield gateway_spec(gateway_python(), root, settings.gateway_port, serving_env)


def gateway_python() -> Path:
    """The interpreter of the gateway's own environment (no torch, MLflow, Airflow, DVC), made when missing or old."""
    root = repository_root()
    venv, lock = root / ".venv-gateway", root / "requirements" / "gateway.txt"
    stamp = venv / "lock.txt"
    if stamp.is_file() and stamp.read_bytes() == lock.read_bytes():
        return venv / "bin" / "python"
    uv = shutil.which("uv") or shutil.which("uv", path=str(root / ".uv" / "bin"))  # where `make setup` puts its own
    if uv is None:
        raise MissingToolError("uv is not installed. Run `make setup`, which installs it.")
    python = venv / "bin" / "python"
    subprocess.run([uv, "venv", "--quiet", "--allow-existing", "--python", sys.executable, venv], check=True)
    subprocess.run([uv, "pip", "sync", "--quiet", "--require-hashes", "--python", python, lock], check=True)
    stamp.write_bytes(lock.read_bytes())
    return python


def _chosen(names: Sequence[str] | None) -> list[str]:
    unknown = set(names or ()) - set(NAMES)
    if unknown:
        raise InputError(f"No service {', '.join(sorted(unknown))}. There are: {', '.join(NAMES)}.")
    return [name for name in NAMES if not names or name in names]


def _announce(name: str, seconds: float, message: str) -> None:
    """Say what a starting service does; of the waiting, a line every ten seconds."""
    if message.startswith("waiting") and round(seconds) % 10:
        return
    typer.echo(f"  {name}: {message} ({seconds:.0f} s)", err=True)
