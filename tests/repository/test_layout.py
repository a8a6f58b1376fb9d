"""What the tree promises: modules of a readable size under speaking names, and nothing of the machine it grew on."""

import re
import subprocess
from pathlib import PurePosixPath

import pytest

from palier.settings import repository_root

ROOT = repository_root()
MAX_LINES = 450
EMPTY_WORDS = {"util", "utils", "helper", "helpers", "common", "manager", "base", "misc"}
# In pieces, so that this file does not hold what it looks for.
REGISTRIES = [
    "pypi." + "org",
    "python" + "hosted.org",
    "registry." + "npmjs.org",
    "repo1.maven." + "org",
    "repo.maven." + "apache.org",
    "proxy." + "golang.org",
    "deb." + "debian.org",
]
FOREIGN = {
    "registries": re.compile("|".join(map(re.escape, REGISTRIES)).encode()),
    "machine paths": re.compile(rb"(?<![\w.}/-])/(work|root|tmp|home)/"),  # absolute ones: `src/main/home/` is ours
}


def tracked() -> list[PurePosixPath]:
    """Files that git has, or would have after `git add --all`; those deleted but not yet committed are left out."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    return [PurePosixPath(name) for name in listed.split("\0") if name and (ROOT / name).is_file()]


@pytest.fixture(scope="module")
def files() -> list[PurePosixPath]:
    found = tracked()
    assert len(found) > 100
    return found


@pytest.fixture(scope="module")
def modules(files: list[PurePosixPath]) -> list[PurePosixPath]:
    return [path for path in files if path.suffix == ".py"]


def test_no_module_is_too_long(modules: list[PurePosixPath]) -> None:
    """450 lines at most, tests included."""
    lengths = {str(path): len((ROOT / path).read_text(encoding="utf-8").splitlines()) for path in modules}
    assert {path: length for path, length in lengths.items() if length > MAX_LINES} == {}


def test_no_module_or_folder_has_an_empty_name(modules: list[PurePosixPath]) -> None:
    """A name that could stand on anything says nothing."""
    words = {path: set(re.split(r"[/_]", str(path.with_suffix("")))) for path in modules}
    assert [str(path) for path, found in words.items() if found & EMPTY_WORDS] == []


@pytest.mark.parametrize("folder", ["src", "serving", "bench", "dags", "tests", "docs"])
def test_every_module_says_what_it_is_for(modules: list[PurePosixPath], folder: str) -> None:
    """A docstring on top, but for the empty files that only make a folder a package."""
    silent = [
        str(path)
        for path in modules
        if path.parts[0] == folder and (text := (ROOT / path).read_text(encoding="utf-8")) and text[:3] != '"""'
    ]
    assert silent == []


@pytest.mark.parametrize("kind", FOREIGN)
def test_no_file_names_a_registry_or_a_machine(files: list[PurePosixPath], kind: str) -> None:
    """Where packages come from is each machine's own matter, and our folders are nobody else's; weights count too."""
    found = {str(path): match[0] for path in files if (match := FOREIGN[kind].search((ROOT / path).read_bytes()))}
    assert found == {}


def test_foreign_words_would_be_seen() -> None:
    """The two patterns find what they are for, and no more."""
    assert FOREIGN["registries"].search(b"see https://" + REGISTRIES[0].encode() + b"/simple")
    assert FOREIGN["machine paths"].search(b"open('" + b"/home" + b"/ann/x')")
    assert not FOREIGN["machine paths"].search(b"search_node/src/main/home/config")
