"""The model catalogue: from a name in `models.yaml` to a folder of files whose sha256 were checked.

Knows where weights may lie (a folder, an installed package, a model hub) and refuses any file that is not the one
the catalogue promises. It never loads a weight. A file is hashed once per size and modification time.
"""

import hashlib
import importlib.util
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal

import httpx
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from palier.errors import IntegrityError, NotReadyError, ParamsError
from palier.settings import repository_root


class FolderSource(BaseModel):
    """A folder, relative to the catalogue file or absolute."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    folder: str


class PackageSource(BaseModel):
    """A folder inside an installed Python package (the package is found, not imported)."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    package: str
    folder: str = "."


class HubSource(BaseModel):
    """A repository on a model hub at a pinned revision."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    hub: str
    revision: str = Field(pattern=r"^[0-9a-f]{40}$")


class CatalogueEntry(BaseModel):
    """One model: its files by relative path with their sha256, and where to look for them."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    licence: str
    what: str = ""
    files: Mapping[str, str] = Field(min_length=1)
    sources: Sequence[PackageSource | FolderSource | HubSource] = Field(min_length=1)


def load_catalogue(path: Path | None = None) -> dict[str, CatalogueEntry]:
    """All entries by name; raises ParamsError when the file breaks the form."""
    path = path or repository_root() / "models.yaml"
    try:
        raw = YAML(typ="safe", pure=True).load(path.read_text(encoding="utf-8"))
        return TypeAdapter(dict[str, CatalogueEntry]).validate_python(raw)
    except (YAMLError, ValidationError) as error:
        raise ParamsError(f"{path} is not a model catalogue: {error}") from error


def resolve(
    name: str,
    *,
    catalogue: Path | None = None,
    cache: Path | None = None,
    hub_url: str = "https://huggingface.co",
) -> Path:
    """The folder that holds all files of model ``name``, each checked against its sha256.

    Raises ParamsError for an unknown name, IntegrityError for a wrong checksum (the file is named) and
    NotReadyError when no source has the files. Files from a hub are kept under ``cache``.
    """
    catalogue = catalogue or repository_root() / "models.yaml"
    entries = load_catalogue(catalogue)
    if name not in entries:
        raise ParamsError(f"No model {name!r} in {catalogue}. It knows: {', '.join(sorted(entries))}.")
    entry = entries[name]
    tried = []
    for source in entry.sources:
        folder = _folder_of(source, catalogue.parent)
        if isinstance(source, HubSource):
            folder = _fetch(name, entry, source, cache or repository_root() / ".palier" / "models", hub_url)
        if folder is not None and all((folder / file).is_file() for file in entry.files):
            verify_files(folder, entry.files)
            return folder
        tried.append(str(source))
    raise NotReadyError(
        f"Model {name!r} is in none of its sources ({'; '.join(tried)}). "
        "Run `make setup`, or add a source to models.yaml."
    )


def verify_files(folder: Path, files: Mapping[str, str]) -> None:
    """Raise IntegrityError naming the first file of ``files`` (path -> sha256) that is absent or differs."""
    for relative, expected in files.items():
        path = folder / relative
        if not path.is_file():
            raise IntegrityError(f"{path} is missing. Restore it, or make the bundle or model again.")
        actual = sha256_file(path)
        if actual != expected:
            raise IntegrityError(
                f"{path} has sha256 {actual}, expected {expected}: it is refused. "
                "Restore the file, or correct the catalogue if you changed it on purpose."
            )


_HASHES: dict[tuple[str, int, int], str] = {}


def sha256_file(path: Path) -> str:
    """Hex sha256 of a file's bytes; remembered in this process by path, size and modification time."""
    stat = path.stat()
    key = (str(path.resolve()), stat.st_size, stat.st_mtime_ns)
    if key not in _HASHES:
        with path.open("rb") as handle:
            _HASHES[key] = hashlib.file_digest(handle, "sha256").hexdigest()
    return _HASHES[key]


def _folder_of(source: FolderSource | PackageSource | HubSource, root: Path) -> Path | None:
    if isinstance(source, FolderSource):
        return root / source.folder
    if isinstance(source, PackageSource):
        try:
            spec = importlib.util.find_spec(source.package)
        except ModuleNotFoundError:  # the package around it is not installed
            return None
        locations = list(spec.submodule_search_locations or []) if spec else []
        return Path(locations[0]) / source.folder if locations else None
    return None


def _fetch(name: str, entry: CatalogueEntry, source: HubSource, cache: Path, hub_url: str) -> Path | None:
    """Download what is missing, each file beside its place first; None when the hub cannot be reached."""
    folder = cache / name / source.revision
    try:
        for relative, expected in entry.files.items():
            target = folder / relative
            if not target.is_file():
                _download(f"{hub_url}/{source.hub}/resolve/{source.revision}/{relative}", target, expected)
    except httpx.HTTPError:
        return None
    return folder


def _download(url: str, target: Path, expected: str) -> None:
    """Fetch beside ``target``, going on where an earlier try was cut off; only a file that is right gets the name.

    A wrong one is deleted, so that the next try starts afresh.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = target.with_name(target.name + ".partial")
    _append(url, partial)
    actual = sha256_file(partial)
    if actual != expected:
        partial.unlink()
        raise IntegrityError(
            f"{url} has sha256 {actual}, expected {expected} for {target}: it is refused. "
            "Try again; if it stays so, the catalogue or the hub is wrong."
        )
    partial.replace(target)


def _append(url: str, partial: Path) -> None:
    """Fetch the bytes that ``partial`` lacks; all of them where the server cannot go on in the middle."""
    done = partial.stat().st_size if partial.exists() else 0
    headers = {"Accept-Encoding": "identity"}  # a range of compressed bytes would not fit what is here
    if done:
        headers["Range"] = f"bytes={done}-"
    with httpx.stream("GET", url, headers=headers, follow_redirects=True, timeout=30) as response:
        if done and response.status_code == httpx.codes.REQUESTED_RANGE_NOT_SATISFIABLE:
            return  # nothing is left to fetch: it was cut off just before it got its name
        response.raise_for_status()
        mode: Literal["ab", "wb"] = "ab" if response.status_code == httpx.codes.PARTIAL_CONTENT else "wb"
        with partial.open(mode) as handle:
            for chunk in response.iter_bytes():
                handle.write(chunk)
