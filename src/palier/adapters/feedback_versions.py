"""Older versions of collected feedback, as git and DVC keep them: which of them still hold something erased.

An erasure blanks the ledger and the next version; DVC's cache keeps earlier ones until they are dropped, which makes
the commits that name them incomplete for ever, so it is asked for by name. What was pushed to a remote is out of reach
here, and models that were trained on such a version keep what they learned: train them again.
"""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from palier.adapters.feedback_rows import EXAMPLES, LABELS, ROWS
from palier.adapters.versioning import CommandFailedError, run_dvc, run_git

POINTER = "feedback.dvc"
STAGE = "collect-feedback"
LEARNED = {f"data/feedback/{name}" for name in (EXAMPLES, LABELS)}


@dataclass(frozen=True, slots=True)
class FeedbackVersion:
    """A commit whose feedback holds the subject; ``files`` are those of DVC's cache that hold it or what it taught."""

    commit: str
    committed_at: str
    files: tuple[Path, ...]


def versions_holding(root: Path, subject: str) -> list[FeedbackVersion]:
    """Versions before the present one that hold a row of this key or request, newest first; none that are dropped."""
    cache = Path(run_dvc(["cache", "dir"], root).strip())
    present = set(_md5s(root, "HEAD", cache))
    found = []
    for commit, committed_at in _commits(root):
        rows = _rows_md5(root, commit, cache)
        if rows is None or rows in present or not _holds(_cached(cache, rows), subject):
            continue
        kept = [_cached(cache, md5) for md5 in _md5s(root, commit, cache) if md5 not in present]
        files = tuple(path for path in dict.fromkeys(kept) if path.is_file())
        found.append(FeedbackVersion(commit, committed_at, files))
    return found


def drop(versions: Sequence[FeedbackVersion]) -> int:
    """Delete their files from the cache; how many there were."""
    files = {path for version in versions for path in version.files if path.is_file()}
    for path in files:
        path.unlink()
    return len(files)


def _commits(root: Path) -> Iterator[tuple[str, str]]:
    for line in run_git(["log", "--all", "--format=%H %cI", "--", POINTER, "dvc.lock"], root).splitlines():
        commit, committed_at = line.split(" ", 1)
        yield commit, committed_at


def _md5s(root: Path, commit: str, cache: Path) -> list[str]:
    """Contents of the drawn rows and of what was learned from them at a commit."""
    rows = _rows_md5(root, commit, cache)
    locked = (_yaml_at(root, commit, "dvc.lock").get("stages") or {}).get(STAGE) or {}
    learned = [out["md5"] for out in locked.get("outs") or () if out["path"] in LEARNED]
    return [md5 for md5 in (rows, *learned) if md5]


def _rows_md5(root: Path, commit: str, cache: Path) -> str | None:
    outs = _yaml_at(root, commit, POINTER).get("outs") or []
    folder = _cached(cache, outs[0]["md5"]) if outs else None
    if folder is None or not folder.is_file():
        return None
    listed = json.loads(folder.read_text(encoding="utf-8"))
    return next((str(item["md5"]) for item in listed if item["relpath"] == ROWS), None)


def _holds(rows: Path, subject: str) -> bool:
    if not rows.is_file():
        return False
    with rows.open(encoding="utf-8") as lines:
        return any(subject in (row["key_id"], row["request_id"]) for row in map(json.loads, lines))


def _cached(cache: Path, md5: str) -> Path:
    return cache / "files" / "md5" / md5[:2] / md5[2:]


def _yaml_at(root: Path, commit: str, name: str) -> dict[str, Any]:
    """A YAML file as a commit has it; empty where it has none."""
    try:
        text = run_git(["show", f"{commit}:{name}"], root)
    except CommandFailedError:
        return {}
    return YAML(typ="safe", pure=True).load(text) or {}
