"""Where documents come from, when not straight into the workspace: a git repository or an S3-compatible bucket.

Fetches by DVC (`dvc get`, `dvc get-url`) into a folder beside, and switches only when all of it is there: a source
that is away, or empty, leaves the documents as they are. Endpoint, region and keys of a bucket stand in the environment
(AWS_ENDPOINT_URL, AWS_ACCESS_KEY_ID, …), a repository's in git's own configuration. The price: everything is fetched
each time, and documents edited by hand in a workspace with a source are replaced (the last ones stay in
`.cache/documents-before`).
"""

import filecmp
import os
import re
import shutil
import socket
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from palier.adapters.versioning import CommandFailedError, run_dvc, run_git
from palier.adapters.workspace import Workspace
from palier.errors import PalierError
from palier.params import GitSource, S3Source

CONNECT_TIMEOUT_S = 10.0
_COMMIT = re.compile(r"[0-9a-f]{40}")


class DocumentSourceError(PalierError):
    """Documents could not be fetched; those in the workspace are as they were."""


@dataclass(frozen=True, slots=True)
class Brought:
    """What came in; ``revision`` is the commit of a git source, else empty."""

    origin: str
    n_files: int
    changed: bool
    revision: str = ""


def bring_documents(workspace: Workspace, source: GitSource | S3Source) -> Brought:
    """Make ``documents`` of ``workspace`` what ``source`` holds now; raises DocumentSourceError.

    The folder stays untouched, its files' times included, when nothing in it would change.
    """
    _finish_switch(workspace)
    incoming = workspace.cache / "documents-incoming"
    shutil.rmtree(incoming, ignore_errors=True)
    workspace.cache.mkdir(parents=True, exist_ok=True)
    try:
        revision = _fetch(source, incoming, workspace.root)
        n_files = _count(incoming, source)
        changed = not _is_same(incoming, workspace.documents)
        if changed:
            _switch(workspace, incoming)
    finally:
        shutil.rmtree(incoming, ignore_errors=True)
    return Brought(source.origin, n_files, changed, revision)


def _fetch(source: GitSource | S3Source, target: Path, folder: Path) -> str:
    """Fill ``target``; the commit of a git source. Commands start in the workspace, so a relative path is its own."""
    try:
        if isinstance(source, GitSource):
            commit = _commit(source, folder)
            run_dvc(["get", source.git, source.folder, "--rev", commit, "--out", str(target)], folder)
            return commit
        _refuse_dead_endpoint()
        run_dvc(["get-url", source.s3, str(target)], folder)
    except CommandFailedError as error:
        raise DocumentSourceError(
            f"No documents came from {source.origin}: {_reason(str(error))}. {source.remedy} "
            "The documents in the workspace are as they were."
        ) from error
    return ""


def _commit(source: GitSource, folder: Path) -> str:
    """The commit that the revision (of none: the default branch) stands for now, asked of the repository."""
    if _COMMIT.fullmatch(source.revision or ""):
        return str(source.revision)
    name = source.revision or "HEAD"
    told = run_git(["ls-remote", "--", source.git, name, f"{name}^{{}}"], folder)
    # A name is matched at the end of a reference: "main" finds backup/main too. Looked up as git itself would.
    commits = {ref: commit for commit, _, ref in (line.partition("\t") for line in told.splitlines())}
    refs = [f"{place}{name}" for place in ("", "refs/", "refs/tags/", "refs/heads/")]
    found = [commits[ref] for plain in refs for ref in (f"{plain}^{{}}", plain) if ref in commits]
    if not found:
        raise CommandFailedError(f"ERROR: the repository has no revision {name!r}")
    return found[0]


def _refuse_dead_endpoint() -> None:
    """The S3 client asks a dead endpoint again for minutes; one connection tells at once."""
    endpoint = os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL")
    if not endpoint:
        return
    place = urlsplit(endpoint)
    try:
        port = place.port or (443 if place.scheme == "https" else 80)
        socket.create_connection((place.hostname or "", port), CONNECT_TIMEOUT_S).close()
    except (OSError, ValueError) as error:
        raise CommandFailedError(
            f"ERROR: the endpoint {place.netloc.rpartition('@')[2] or endpoint} does not answer ({error})"
        ) from error


def _reason(output: str) -> str:
    """What the command said went wrong: its line of error, else its last one."""
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    errors = [line for line in lines if re.match(r"(ERROR|fatal|error):", line)]
    return re.sub(r"^(ERROR|fatal|error):\s*", "", (errors or lines)[-1])[:400].rstrip(".")


def _count(incoming: Path, source: GitSource | S3Source) -> int:
    if not incoming.is_dir():
        raise DocumentSourceError(f"{source.origin} is one file, not a folder of documents. {source.remedy}")
    n_files = sum(path.is_file() for path in incoming.rglob("*"))
    if not n_files:
        raise DocumentSourceError(f"{source.origin} holds no file. {source.remedy}")
    return n_files


def _is_same(incoming: Path, documents: Path) -> bool:
    """Same names, same bytes; a link that leads nowhere is no document."""
    ours, theirs = (
        {path.relative_to(top): path for path in top.rglob("*") if path.exists()} for top in (documents, incoming)
    )
    return ours.keys() == theirs.keys() and all(
        path.is_dir() == ours[name].is_dir() and (path.is_dir() or filecmp.cmp(path, ours[name], shallow=False))
        for name, path in theirs.items()
    )


def _switch(workspace: Workspace, incoming: Path) -> None:
    before = workspace.cache / "documents-before"
    shutil.rmtree(before, ignore_errors=True)
    if workspace.documents.exists():
        workspace.documents.rename(before)
    incoming.rename(workspace.documents)


def _finish_switch(workspace: Workspace) -> None:
    """What a kill between the two renames left: the documents are in the cache, so they go back."""
    before = workspace.cache / "documents-before"
    if before.is_dir() and not workspace.documents.exists():
        before.rename(workspace.documents)
