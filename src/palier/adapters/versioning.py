"""DVC and git, as commands: versions of documents, and of every file that a stage makes from them.

Commands rather than their Python APIs: DVC's command line is its stable contract, and each runs in a process of its
own, so that a crash there is not a crash here. All DVC commands wait for the workspace's lock.
"""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from palier.errors import InputError, MissingToolError, PalierError

IDENTITY = {
    "GIT_AUTHOR_NAME": "Palier",
    "GIT_AUTHOR_EMAIL": "palier@localhost",
    "GIT_COMMITTER_NAME": "Palier",
    "GIT_COMMITTER_EMAIL": "palier@localhost",
}


class CommandFailedError(PalierError):
    """A DVC or git command ended with an error; the message has its last lines."""


def init_workspace(folder: Path, template: Path) -> None:
    """Make ``folder`` a workspace: git, DVC without telemetry, and the params and pipeline of ``template``.

    Raises InputError when the folder already is one: nothing of it is touched.
    """
    if (folder / ".dvc").exists() or (folder / "params.yaml").exists():
        raise InputError(f"{folder} already is a workspace. Choose another folder, or work in it as it is.")
    folder.mkdir(parents=True, exist_ok=True)
    run_git(["init", "--quiet", "--initial-branch=main"], folder)
    run_dvc(["init"], folder)  # no --quiet here and below: DVC would keep the reason of a failure to itself
    run_dvc(["config", "core.analytics", "false"], folder)
    for name in ("params.yaml", "dvc.yaml"):
        shutil.copyfile(template / name, folder / name)
    (folder / ".gitignore").write_text("/.cache/\n/data/index.json\n", encoding="utf-8")
    for name in ("documents", "golden"):
        (folder / name).mkdir(exist_ok=True)
    commit(folder, "Make the workspace")


def snapshot(folder: Path, names: Sequence[str]) -> None:
    """Put folders such as ``documents`` under DVC, at their state of now."""
    run_dvc(["add", *names], folder)


def reproduce(folder: Path, stage: str, on_line: Callable[[str], None] | None = None) -> bool:
    """Run one DVC stage if its inputs changed; True when it ran, False when its outputs were up to date."""
    output = run_dvc(["repro", "--single-item", stage], folder, on_line)
    return f"Stage '{stage}' didn't change, skipping" not in output


def is_up_to_date(folder: Path) -> bool:
    """Whether every stage's outputs belong to its present inputs and params."""
    try:
        run_dvc(["status", "--quiet"], folder)
    except CommandFailedError:
        return False
    return True


def commit(folder: Path, message: str) -> str:
    """Commit whatever changed in ``folder`` and return the head's id; no change makes no commit."""
    run_git(["add", "--all"], folder)
    if run_git(["status", "--porcelain"], folder).strip():
        run_git(["commit", "--quiet", "--message", message], folder)
    return head(folder)


def head(folder: Path) -> str:
    """The commit id that ``folder`` is at; "unknown" outside a repository or before its first commit."""
    try:
        return run_git(["rev-parse", "HEAD"], folder).strip()
    except CommandFailedError:
        return "unknown"


def run_dvc(arguments: Sequence[str], folder: Path, on_line: Callable[[str], None] | None = None) -> str:
    """Output of a DVC command run in ``folder``; raises CommandFailedError."""
    return _run([sys.executable, "-m", "dvc", "--wait-for-lock", *arguments], folder, on_line)


def run_git(arguments: Sequence[str], folder: Path) -> str:
    """Output of a git command run in ``folder``; raises CommandFailedError, or MissingToolError without git."""
    if shutil.which("git") is None:
        raise MissingToolError("git is not installed. Install it (Debian: apt-get install git).")
    return _run(["git", *arguments], folder, None)


def _run(command: Sequence[str], folder: Path, on_line: Callable[[str], None] | None) -> str:
    """Run, pass each line on as it comes, and keep them all."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}"
    # Without a terminal prompt a private repository is an error, and not a task that waits for a password for ever.
    environment = {**os.environ, **IDENTITY, "PATH": path, "DVC_NO_ANALYTICS": "1", "GIT_TERMINAL_PROMPT": "0"}
    process = subprocess.Popen(
        command, cwd=folder, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    assert process.stdout is not None
    lines = []
    for line in process.stdout:
        lines.append(line)
        if on_line:
            on_line(line.rstrip("\n"))
    if process.wait():
        tail = "".join(lines[-15:])
        raise CommandFailedError(f"`{' '.join(command[-4:])}` failed in {folder}:\n{tail}")
    return "".join(lines)
