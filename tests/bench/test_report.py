"""A result names the commit that made it, and what differed from it, but for other results."""

import subprocess
from pathlib import Path

from bench.report import git_sha


def git(root: Path, *arguments: str) -> str:
    identity = ["-c", "user.name=x", "-c", "user.email=x@example.org"]
    done = subprocess.run(["git", *identity, *arguments], cwd=root, capture_output=True, text=True, check=True)
    return done.stdout.strip()


def test_code_that_differs_is_told_and_results_that_differ_are_not(tmp_path: Path) -> None:
    assert git_sha(tmp_path) == "unknown"
    git(tmp_path, "init")
    for name in ("code.py", "bench/results/a.json"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("1")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "-m", "x")
    commit = git(tmp_path, "rev-parse", "HEAD")
    (tmp_path / "bench/results/a.json").write_text("2")
    assert git_sha(tmp_path) == commit
    (tmp_path / "code.py").write_text("2")
    assert git_sha(tmp_path) == f"{commit}-dirty"
