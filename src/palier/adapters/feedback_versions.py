"""Older versions of collected feedback, as git and DVC keep them: which of them still hold something erased.

An erasure blanks the ledger and the next version; DVC's cache keeps earlier ones until they are dropped, which makes
the commits that name them incomplete for ever, so it is asked for by name. The cache itself is looked through, not only
what commits name: a run that died before its commit leaves rows there too. What was pushed to a remote is out of reach
here, and models that were trained on such a version keep what they learned: train them again. The present version is
never dropped: of it, `record-outcomes` makes the part anew that an erasure leaves.
"""

import json
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
from ruamel.yaml import YAML

from palier.adapters.feedback_labels import LABEL_ROWS
from palier.adapters.versioning import CommandFailedError, run_dvc, run_git
from palier.adapters.workspace import Workspace
from palier.domain.feedback import learned_id

POINTER = "feedback.dvc"
STAGES = ("collect-feedback", "record-outcomes")
"""Whose outputs hold what people wrote: the latter's, the questions behind its labels."""
# The cache knows no names, but each kind of file by how it begins.
_ROWS, _LEARNED, _TABLE = b'{"request_id":', b'{"id": "feedback-', b"PAR1"


@dataclass(frozen=True, slots=True)
class FeedbackVersion:
    """A commit whose feedback holds the subject; ``files`` are those of DVC's cache that hold it or what it taught.

    ``commit`` and ``committed_at`` are empty for files that no commit names, left by a run that died before it.
    """

    commit: str
    committed_at: str
    files: tuple[Path, ...]


def versions_holding(root: Path, subject: str, words: Collection[tuple[str, str]] = ()) -> list[FeedbackVersion]:
    """Versions before the present one that hold what this key asked or said, or what was asked by this request and
    said of it; newest first, what no commit names last, none that are dropped.

    ``words`` are `Records.words_of` the subject: by them what was learned is found when its rows are dropped already,
    and rows of before `asked_by`.
    """
    cache = _cache(root)
    held = _files_holding(cache, subject, words) - set(_files(root, "HEAD", cache))
    found, named = [], set[Path]()
    for commit, committed_at in _commits(root):
        files = tuple(path for path in dict.fromkeys(_files(root, commit, cache)) if path in held)
        named.update(files)
        if files:
            found.append(FeedbackVersion(commit, committed_at, files))
    unnamed = tuple(sorted(held - named))
    return [*found, FeedbackVersion("", "", unnamed)] if unnamed else found


def is_held_now(root: Path, subject: str, words: Collection[tuple[str, str]] = ()) -> bool:
    """Whether the version of the last commit or the workspace's data/outcomes holds it; of that version, after an
    erasure, only its outcomes can. ``words`` as of `versions_holding`.
    """
    cache, labels = _cache(root), Workspace(root).outcomes / LABEL_ROWS
    learned = {learned_id(*word) for word in words}
    in_workspace = labels.is_file() and not learned.isdisjoint(_query_ids(labels))
    return in_workspace or not _files_holding(cache, subject, words).isdisjoint(_files(root, "HEAD", cache))


def drop(versions: Sequence[FeedbackVersion]) -> int:
    """Delete their files from the cache; how many there were. No version without the subject loses one, since each of
    these files holds it.
    """
    files = {path for version in versions for path in version.files if path.is_file()}
    for path in files:
        path.unlink()
    return len(files)


def _cache(root: Path) -> Path:
    return Path(run_dvc(["cache", "dir"], root).strip())


def _files_holding(cache: Path, subject: str, words: Collection[tuple[str, str]]) -> set[Path]:
    """Of the cache: drawn rows of the subject, and what was learned from them, which bears ids made of theirs."""
    kinds: dict[bytes, list[Path]] = {_ROWS: [], _LEARNED: [], _TABLE: []}
    for path in cache.glob("files/md5/??/*"):
        with path.open("rb") as file:
            beginning = file.read(len(_LEARNED))
        for kind in (kind for kind in kinds if beginning.startswith(kind)):
            kinds[kind].append(path)
    known = set(words)
    rows = {path: {_word(row) for row in _json_lines(path) if _is_about(row, subject, known)} for path in kinds[_ROWS]}
    ids = {learned_id(*word) for word in known.union(*rows.values())}
    held = {path for path, about in rows.items() if about}
    held |= {path for path in kinds[_LEARNED] if any(row["id"] in ids for row in _json_lines(path))}
    return held | {path for path in kinds[_TABLE] if not ids.isdisjoint(_query_ids(path))}


def _is_about(row: dict[str, Any], subject: str, words: Collection[tuple[str, str]]) -> bool:
    return subject in (row["request_id"], row["key_id"], row.get("asked_by")) or _word(row) in words


def _word(row: dict[str, Any]) -> tuple[str, str]:
    return row["request_id"], row["key_id"]


def _json_lines(path: Path) -> Iterator[dict[str, Any]]:
    with path.open(encoding="utf-8") as lines:
        yield from map(json.loads, lines)


def _query_ids(path: Path) -> list[str]:
    """What the rows of a Parquet file are about; nothing where it has no such column."""
    has_ids = "query_id" in pq.read_schema(path).names
    return pq.read_table(path, columns=["query_id"])["query_id"].to_pylist() if has_ids else []


def _commits(root: Path) -> Iterator[tuple[str, str]]:
    for line in run_git(["log", "--all", "--format=%H %cI", "--", POINTER, "dvc.lock"], root).splitlines():
        commit, committed_at = line.split(" ", 1)
        yield commit, committed_at


def _files(root: Path, commit: str, cache: Path) -> Iterator[Path]:
    """Where the cache keeps (or kept) the drawn rows of a commit and the outputs of STAGES; a folder's one by one."""
    locked = _yaml_at(root, commit, "dvc.lock").get("stages") or {}
    stages = [_yaml_at(root, commit, POINTER), *(locked.get(name) or {} for name in STAGES)]
    for out in (out for stage in stages for out in stage.get("outs") or ()):
        path = _cached(cache, out["md5"])
        if path.suffix != ".dir":
            yield path
        elif path.is_file():
            yield from (_cached(cache, item["md5"]) for item in json.loads(path.read_text(encoding="utf-8")))


def _cached(cache: Path, md5: str) -> Path:
    return cache / "files" / "md5" / md5[:2] / md5[2:]


def _yaml_at(root: Path, commit: str, name: str) -> dict[str, Any]:
    """A YAML file as a commit has it; empty where it has none."""
    try:
        text = run_git(["show", f"{commit}:{name}"], root)
    except CommandFailedError:
        return {}
    return YAML(typ="safe", pure=True).load(text) or {}
