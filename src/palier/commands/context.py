"""What every command needs: the settings, the workspace at hand, progress that people can read, and output.

The only place of the command line that reads the environment, the clock and the current folder.
"""

import json
import sys
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, is_dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import typer
from pydantic import BaseModel

from palier.adapters.services import require_own_state
from palier.adapters.workspace import Workspace, write_json
from palier.errors import NotReadyError
from palier.params import Params, load_params
from palier.settings import Settings

WorkspaceOption = Annotated[
    Path | None,
    typer.Option("--workspace", "-w", help="The workspace; default: here, else $PALIER_WORKSPACE."),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print the result as JSON.")]


@dataclass(frozen=True)
class Context:
    """One command's world."""

    settings: Settings
    workspace: Workspace
    params: Params


def open_context(workspace: Path | None) -> Context:
    """Settings and params of the workspace that is named, stood in, or set in the environment.

    Raises NotReadyError where it is no workspace, and InputError where the state directory is another one's.
    """
    settings = Settings()
    root = workspace or workspace_at_hand(settings)
    if not (root / "params.yaml").is_file():
        raise NotReadyError(f"{root} is no workspace. Make one with `palier init {root}`, or name it with -w.")
    root = root.resolve()
    require_own_state(settings.state_dir, root)
    return Context(settings, Workspace(root), load_params(root / "params.yaml"))


def workspace_at_hand(settings: Settings) -> Path:
    """The workspace that one stands in, else the one of the environment."""
    here = Path.cwd()
    return here if (here / ".dvc").is_dir() else settings.workspace


def utc_now() -> datetime:
    """The clock; commands pass its reading on."""
    return datetime.now(UTC)


class ProgressLine:
    """Progress on stderr: what, how far, how long it will take; at most a line a second, and a file for watchers."""

    def __init__(self, stage: str, watch_file: Path | None = None) -> None:
        self._stage = stage
        self._file = watch_file
        self._total, self._done = -1, 0
        self._started = self._shown = time.monotonic()

    def __call__(self, done: int, total: int, what: str) -> None:
        now = time.monotonic()
        if total != self._total or done < self._done:  # another piece of work has begun
            self._total, self._started = total, now
        self._done = done
        if now - self._shown < 1.0 and done < total:
            return
        self._shown = now
        left = (now - self._started) / max(1, done) * (total - done)
        print(f"{self._stage}: {what} {done}/{total}, {left:.0f} s left", file=sys.stderr, flush=True)
        if self._file:
            state = {
                "stage": self._stage,
                "what": what,
                "done": done,
                "total": total,
                "seconds_left": round(left),
            }
            write_json(self._file, state)


def progress_of(context: Context, stage: str) -> ProgressLine:
    """A progress line that also leaves its state in the workspace, where `palier run` looks."""
    return ProgressLine(stage, context.workspace.cache / "progress.json")


def show(result: object, as_json: bool, text: str) -> None:
    """Print ``text``, or the result's data as JSON."""
    print(json.dumps(_plain(result), ensure_ascii=False, default=str, indent=1) if as_json else text)


def lines_of(metrics: Mapping[str, float]) -> str:
    """Metrics one a line, aligned."""
    width = max((len(name) for name in metrics), default=0)
    return "\n".join(f"  {name:<{width}}  {value:.4g}" for name, value in sorted(metrics.items()))


def _plain(value: Any) -> Any:
    if isinstance(value, BaseModel):
        return value.model_dump(mode="json")
    if is_dataclass(value) and not isinstance(value, type):
        return {name: _plain(item) for name, item in asdict(value).items()}
    if isinstance(value, Mapping):
        return {str(name): _plain(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return value
