"""MLflow: one parent run per corpus revision, one child per stage, models and releases under aliases.

Metric names are the same in every stage that measures the same thing, so that runs can be compared. MLflow's own
retries (minutes) are cut to seconds: a tracking server that is away must be said at once.
"""

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from palier.adapters.catalogue import sha256_file
from palier.errors import TrackingError

EXPERIMENT = "palier"
RELEASE_MODEL = "palier-release"


@dataclass(frozen=True)
class StageRun:
    """A running child: what a stage may log."""

    client: Any
    run_id: str

    def metrics(self, values: Mapping[str, float]) -> None:
        """Log numbers; see `tracked_name` for what becomes of their names."""
        for name, value in values.items():
            self.client.log_metric(self.run_id, tracked_name(name), float(value))

    def params(self, values: Mapping[str, object]) -> None:
        """Log nested params flat, as ``section.key``."""
        for name, value in flatten(values).items():
            self.client.log_param(self.run_id, tracked_name(name), str(value)[:500])

    def data_hashes(self, files: Sequence[Path]) -> None:
        """Log the sha256 of each input file as ``data.<name>``."""
        for path in files:
            self.client.set_tag(self.run_id, f"data.{path.parent.name}.{path.name}", sha256_file(path))

    def artifacts(self, folder: Path, name: str | None = None) -> None:
        """Upload a file or a folder."""
        upload = self.client.log_artifacts if folder.is_dir() else self.client.log_artifact
        upload(self.run_id, str(folder), name)

    def child(self, name: str, params: Mapping[str, object], metrics: Mapping[str, float]) -> None:
        """A finished run below this one: one of several things that were tried."""
        experiment = self.client.get_run(self.run_id).info.experiment_id
        run = self.client.create_run(experiment, run_name=name, tags={"mlflow.parentRunId": self.run_id})
        trial = StageRun(self.client, run.info.run_id)
        trial.params(params)
        trial.metrics(metrics)
        self.client.set_terminated(run.info.run_id, "FINISHED")

    def register(self, model: str, artifact: str, tags: Mapping[str, str]) -> str:
        """A new version of ``model`` from an artifact of this run, under the alias ``latest-trained``."""
        _create_model(self.client, model)
        run = self.client.get_run(self.run_id)
        source = f"{run.info.artifact_uri}/{artifact}"
        version = self.client.create_model_version(model, source, self.run_id, tags=dict(tags))
        self.client.set_registered_model_alias(model, "latest-trained", version.version)
        return str(version.version)


class Tracker:
    """The MLflow server at ``url``; every failure is a TrackingError with the remedy."""

    def __init__(self, url: str) -> None:
        self._url = url

    @contextmanager
    def stage(self, stage: str, revision: str, tags: Mapping[str, str]) -> Iterator[StageRun]:
        """A child run for ``stage`` under the parent of the corpus ``revision``; failed when the body raises."""
        with self._reachable() as client:
            parent = _parent(client, revision)
            run = client.create_run(
                _experiment(client),
                run_name=stage,
                tags={
                    "mlflow.parentRunId": parent,
                    "palier.stage": stage,
                    "palier.revision": revision,
                    **tags,
                },
            )
        status = "FAILED"
        try:
            with self._reachable():
                yield StageRun(client, run.info.run_id)
            status = "FINISHED"
        finally:
            with self._reachable() as client:
                client.set_terminated(run.info.run_id, status)

    def alias(self, model: str, alias: str, version: str) -> None:
        """Point ``alias`` of ``model`` at ``version``."""
        with self._reachable() as client:
            client.set_registered_model_alias(model, alias, version)

    def clear_alias(self, model: str, alias: str) -> None:
        """Take ``alias`` away; nothing happens when it is not there."""
        with self._reachable() as client:
            client.delete_registered_model_alias(model, alias)

    def version_of(self, release_id: str) -> str | None:
        """The registered version of a release, by its tag; None when there is none."""
        with self._reachable() as client:
            found = client.search_model_versions(f"name = '{RELEASE_MODEL}' and tags.release_id = '{release_id}'")
        return str(found[0].version) if found else None

    @contextmanager
    def _reachable(self) -> Iterator[Any]:
        os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")
        os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "15")
        # What is printed may be JSON for a program: the addresses of runs would spoil it.
        os.environ.setdefault("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")
        from mlflow.exceptions import MlflowException  # seconds to import: only where it is used
        from mlflow.tracking import MlflowClient

        try:
            yield MlflowClient(self._url, registry_uri=self._url)
        except MlflowException as error:
            raise TrackingError(
                f"MLflow at {self._url} refused or did not answer: {error}. "
                "Start it with `palier services up mlflow`, or set MLFLOW_TRACKING_URI."
            ) from error


def tracked_name(name: str) -> str:
    """``name`` as MLflow takes it: names of rungs are the user's, and may hold what it refuses ("gpt@4 (azure)")."""
    return re.sub(r"[^\w\-./: ]", "_", name)


def flatten(values: Mapping[str, object], prefix: str = "") -> dict[str, object]:
    """Nested mappings as one level of dotted names."""
    flat: dict[str, object] = {}
    for key, value in values.items():
        name = f"{prefix}{key}"
        flat.update(flatten(value, f"{name}.") if isinstance(value, Mapping) else {name: value})
    return flat


def _experiment(client: Any) -> str:
    found = client.get_experiment_by_name(EXPERIMENT)
    return str(found.experiment_id if found else client.create_experiment(EXPERIMENT))


def _parent(client: Any, revision: str) -> str:
    """The parent run of a revision, made by whichever stage comes first."""
    experiment = _experiment(client)
    found = client.search_runs(
        [experiment], f"tags.`palier.stage` = 'loop' and tags.`palier.revision` = '{revision}'", max_results=1
    )
    if found:
        return str(found[0].info.run_id)
    tags = {"palier.stage": "loop", "palier.revision": revision}
    run = client.create_run(experiment, run_name=f"loop {revision[:12]}", tags=tags)
    client.set_terminated(run.info.run_id, "FINISHED")
    return str(run.info.run_id)


def _create_model(client: Any, name: str) -> None:
    if not client.search_registered_models(f"name = '{name}'"):
        client.create_registered_model(name)
