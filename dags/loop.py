"""What the DAGs share: the workspace, the assets that join them, and how a task runs a stage.

Nothing heavy is imported while Airflow parses this file; each task imports what it needs inside its body.
A consumer reads the version from the asset event and reconciles with what is there: several events may have become
one run, and a run may be tried again.
"""

import os
from datetime import timedelta
from pathlib import Path
from typing import Any

from airflow.sdk import Asset

CORPUS = Asset(name="palier_corpus", uri="palier://corpus")
INDEX = Asset(name="palier_index", uri="palier://index")
MODELS = Asset(name="palier_models", uri="palier://models")
RELEASE = Asset(name="palier_release", uri="palier://release")
DRIFT = Asset(name="palier_drift", uri="palier://drift")

DVC_POOL = "dvc"
"""One slot: two DVC commands in one workspace would wait for each other's lock."""

DEFAULT_ARGS: dict[str, Any] = {
    "owner": "palier",
    "retries": 1,
    "retry_delay": timedelta(seconds=20),
    "execution_timeout": timedelta(hours=2),
    "pool": DVC_POOL,
}


def workspace() -> Path:
    """The workspace that this Airflow serves."""
    return Path(os.environ.get("PALIER_WORKSPACE", "workspace")).resolve()


def reproduce_stage(stage: str) -> bool:
    """Run a DVC stage if its inputs changed, commit `dvc.lock`, and say whether it ran."""
    from palier.adapters.versioning import commit, reproduce

    ran = reproduce(workspace(), stage, on_line=lambda line: print(line, flush=True))  # noqa: T201 (task log)
    commit(workspace(), f"Run {stage}" if ran else f"Check {stage}")
    return ran


def asked_revision(events: Any) -> str | None:
    """The newest corpus revision that the triggering asset events name; None for a manual or timed run."""
    named = [event for per_asset in events.values() for event in per_asset if "revision" in (event.extra or {})]
    return max(named, key=lambda event: event.timestamp).extra["revision"] if named else None


def current_revision() -> str:
    """The corpus revision that the workspace is at."""
    from palier.adapters.workspace import Workspace, read_json

    manifest = read_json(Workspace(workspace()).corpus / "manifest.json", "version-documents")
    return str(manifest["revision"])


def check_revision(events: Any) -> str:
    """The workspace's revision, said in the log where the event asked for an older one: the newer one is built."""
    asked, current = asked_revision(events), current_revision()
    if asked not in (None, current):
        print(f"The event named revision {asked}; the workspace is at {current} by now: working on that.")  # noqa: T201
    return current
