"""Airflow over its REST API: trigger a DAG, see how far its runs are, make the pool that the tasks share."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import httpx

from palier.errors import ServiceError


@dataclass(frozen=True)
class TaskState:
    """One task of one DAG run; ``state`` is Airflow's word for it, None before it is scheduled.

    ``try_number`` is that of the latest try, from 1.
    """

    dag_id: str
    run_id: str
    task_id: str
    state: str | None
    try_number: int = 1


@dataclass(frozen=True)
class DagRunState:
    """One DAG run."""

    dag_id: str
    run_id: str
    state: str
    queued_at: datetime

    @property
    def is_over(self) -> bool:
        return self.state in ("success", "failed")


class AirflowApi:
    """A client of the API server at ``url`` (loopback: its simple auth manager hands out tokens to whoever is here)."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._http = httpx.Client(base_url=url, timeout=30)
        self._token: str | None = None

    def ensure_pool(self, name: str, slots: int, description: str) -> None:
        """Make the pool when it is not there."""
        if self._call("GET", f"/pools/{name}", missing_ok=True) is None:
            self._call("POST", "/pools", {"name": name, "slots": slots, "description": description})

    def dag_ids(self) -> list[str]:
        """All DAGs that the processor has parsed, those that are paused too."""
        return [dag["dag_id"] for dag in self._dags()]

    def require_unpaused(self, dag_ids: Sequence[str]) -> None:
        """Raises ServiceError naming those that are paused: Airflow would let their runs wait for ever."""
        paused = [dag["dag_id"] for dag in self._dags() if dag["is_paused"] and dag["dag_id"] in dag_ids]
        if paused:
            raise ServiceError(
                f"Paused in Airflow: {', '.join(paused)}. Unpause with the switch on {self._url}/dags, and run again."
            )

    def trigger(self, dag_id: str, now: datetime) -> str:
        """Start a run and return its id."""
        run = self._call("POST", f"/dags/{dag_id}/dagRuns", {"logical_date": now.isoformat()}) or {}
        return str(run["dag_run_id"])

    def runs_since(self, dag_id: str, since: datetime) -> list[DagRunState]:
        """Runs queued at ``since`` or later, newest first."""
        found = self._call("GET", f"/dags/{dag_id}/dagRuns?limit=20&order_by=-id") or {}
        runs = [_run(item) for item in found.get("dag_runs", []) if item["queued_at"]]
        return [run for run in runs if run.queued_at >= since]

    def tasks(self, run: DagRunState) -> list[TaskState]:
        """The tasks of a run."""
        found = self._call("GET", f"/dags/{run.dag_id}/dagRuns/{run.run_id}/taskInstances") or {}
        items: Sequence[dict[str, Any]] = found.get("task_instances", [])
        return [
            TaskState(run.dag_id, run.run_id, item["task_id"], item["state"], max(1, item["try_number"]))
            for item in items
        ]

    def import_errors(self) -> list[str]:
        """What keeps DAG files from being parsed."""
        found = self._call("GET", "/importErrors") or {}
        return [f"{item['filename']}: {item['stack_trace']}" for item in found.get("import_errors", [])]

    def task_log(self, task: TaskState) -> str:
        """The last lines of the log of a task's latest try, for an error message; empty when there is none."""
        path = f"/dags/{task.dag_id}/dagRuns/{task.run_id}/taskInstances/{task.task_id}/logs/{task.try_number}"
        found = self._call("GET", f"{path}?full_content=true", missing_ok=True) or {}
        lines = [line for item in found.get("content", []) for line in _log_lines(item)]
        return "\n".join(lines[-25:])

    def _dags(self) -> list[dict[str, Any]]:
        found = self._call("GET", "/dags?limit=100&exclude_stale=true") or {}
        dags: list[dict[str, Any]] = found.get("dags", [])
        return dags

    def _call(self, method: str, path: str, body: object = None, *, missing_ok: bool = False) -> dict[str, Any] | None:
        try:
            headers = {"Authorization": f"Bearer {self._login()}", "Accept": "application/json"}
            reply = self._http.request(method, f"/api/v2{path}", json=body, headers=headers)
            if missing_ok and reply.status_code == httpx.codes.NOT_FOUND:
                return None
            reply.raise_for_status()
        except httpx.HTTPStatusError as error:
            said = f"{error.response.status_code} {error.response.text[:300]}"
            raise ServiceError(f"Airflow at {self._url} refused {method} {path}: {said}. See its page.") from error
        except httpx.HTTPError as error:
            raise ServiceError(
                f"Airflow at {self._url} does not answer {method} {path} ({error}). "
                "Start it with `palier services up airflow`."
            ) from error
        content: dict[str, Any] = reply.json()
        return content

    def _login(self) -> str:
        if self._token is None:
            reply = self._http.get("/auth/token")
            reply.raise_for_status()
            self._token = str(reply.json()["access_token"])
        return self._token


def _run(item: dict[str, Any]) -> DagRunState:
    queued = datetime.fromisoformat(item["queued_at"].replace("Z", "+00:00"))
    return DagRunState(item["dag_id"], item["dag_run_id"], item["state"], queued)


def _log_lines(item: object) -> Iterator[str]:
    """An entry of a log; what a task died of stands beside the words."""
    if not isinstance(item, dict):
        yield str(item)
        return
    yield str(item.get("event", item))
    for exception in item.get("error_detail") or []:
        yield f"{exception.get('exc_type')}: {exception.get('exc_value')}"
