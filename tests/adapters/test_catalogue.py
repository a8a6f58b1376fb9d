"""The catalogue hands out a model's folder only when every byte of it is the promised one, wherever it came from."""

import hashlib
import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from model_hub import Hub, run_hub

from palier.adapters.catalogue import load_catalogue, resolve, sha256_file, verify_files
from palier.errors import IntegrityError, NotReadyError, ParamsError

REVISION = "0123456789abcdef" * 2 + "01234567"
CONFIG, WEIGHTS = b'{"layers": 6}', bytes(range(256)) * 400
FILES = {"config.json": CONFIG, "onnx/model.bin": WEIGHTS}
AWAY = "http://127.0.0.1:9"  # the discard port: nothing listens


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def write_catalogue(folder: Path, *sources: dict[str, str]) -> Path:
    """A catalogue of the one model `tiny`, found in ``sources``; YAML reads JSON."""
    entry = {
        "licence": "Apache-2.0",
        "files": {name: sha256(data) for name, data in FILES.items()},
        "sources": list(sources),
    }
    path = folder / "models.yaml"
    path.write_text(json.dumps({"tiny": entry}), encoding="utf-8")
    return path


def write_model(folder: Path) -> Path:
    for name, data in FILES.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)
    return folder


@pytest.fixture
def hub() -> Iterator[Hub]:
    with run_hub({f"team/tiny@{REVISION}/{name}": data for name, data in FILES.items()}) as running:
        yield running


@pytest.fixture
def from_hub(tmp_path: Path) -> Path:
    """A catalogue whose model lies on the hub only."""
    return write_catalogue(tmp_path, {"hub": "team/tiny", "revision": REVISION})


def cached(tmp_path: Path, name: str) -> Path:
    return tmp_path / "cache" / "tiny" / REVISION / name


def test_a_folder_source_is_found_beside_the_catalogue_whatever_the_current_folder(tmp_path, monkeypatch):
    model = write_model(tmp_path / "my models" / "tiny")
    catalogue = write_catalogue(tmp_path, {"folder": "my models/tiny"})
    monkeypatch.chdir(tmp_path.parent)
    assert resolve("tiny", catalogue=catalogue) == model


def test_a_package_source_is_found_without_importing_the_package(tmp_path, monkeypatch):
    package = tmp_path / "site" / "weights_that_refuse_import"
    model = write_model(package / "model")
    (package / "__init__.py").write_text("raise RuntimeError('imported')", encoding="utf-8")
    monkeypatch.syspath_prepend(str(tmp_path / "site"))
    catalogue = write_catalogue(tmp_path, {"package": package.name, "folder": "model"})
    assert resolve("tiny", catalogue=catalogue) == model
    assert package.name not in sys.modules


def test_sources_are_tried_in_order_and_an_absent_or_incomplete_one_is_passed_over(tmp_path):
    (tmp_path / "half").mkdir()
    (tmp_path / "half" / "config.json").write_bytes(CONFIG)
    model = write_model(tmp_path / "whole")
    absent = [{"package": "no_such_package_here"}, {"package": "no_such_package_here.models"}]
    catalogue = write_catalogue(tmp_path, *absent, {"folder": "half"}, {"folder": "whole"})
    assert resolve("tiny", catalogue=catalogue) == model


def test_one_changed_byte_is_refused_and_the_file_is_named(tmp_path):
    model = write_model(tmp_path / "tiny")
    (model / "onnx" / "model.bin").write_bytes(WEIGHTS[:-1] + b"\0")
    with pytest.raises(IntegrityError, match=r"onnx/model\.bin has sha256"):
        resolve("tiny", catalogue=write_catalogue(tmp_path, {"folder": "tiny"}))


def test_a_file_that_changes_after_it_was_checked_is_hashed_again(tmp_path):
    path = tmp_path / "weights"
    path.write_bytes(b"one")
    assert sha256_file(path) == sha256(b"one")
    path.write_bytes(b"two")
    os.utime(path, ns=(0, path.stat().st_mtime_ns + 1))
    assert sha256_file(path) == sha256(b"two")


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(IntegrityError, match=r"gone\.bin is missing"):
        verify_files(tmp_path, {"gone.bin": "0" * 64})


def test_a_model_without_any_source_that_has_it_says_what_was_tried_and_what_to_do(tmp_path):
    catalogue = write_catalogue(tmp_path, {"folder": "nowhere"}, {"hub": "team/tiny", "revision": REVISION})
    with pytest.raises(NotReadyError, match=r"nowhere.*team/tiny.*make setup"):
        resolve("tiny", catalogue=catalogue, cache=tmp_path / "cache", hub_url=AWAY)


def test_an_unknown_name_is_answered_with_the_names_that_there_are(tmp_path):
    with pytest.raises(ParamsError, match=r"'tinny'.*It knows: tiny"):
        resolve("tinny", catalogue=write_catalogue(tmp_path, {"folder": "tiny"}))


@pytest.mark.parametrize("text", ["", "tiny: [", "- tiny", "tiny: 1"])
def test_a_file_that_is_no_catalogue_is_named(tmp_path, text):
    path = tmp_path / "models.yaml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(ParamsError, match=r"models\.yaml is not a model catalogue"):
        load_catalogue(path)


def test_a_hub_source_without_a_full_commit_id_is_refused(tmp_path):
    with pytest.raises(ParamsError, match="revision"):
        load_catalogue(write_catalogue(tmp_path, {"hub": "team/tiny", "revision": "main"}))


def test_the_hub_is_asked_once_and_the_files_are_kept_by_revision(hub, from_hub, tmp_path):
    for _ in range(2):
        folder = resolve("tiny", catalogue=from_hub, cache=tmp_path / "cache", hub_url=hub.url)
    assert {name: (folder / name).read_bytes() for name in FILES} == FILES
    assert folder == tmp_path / "cache" / "tiny" / REVISION
    assert [name for name, _ in hub.asked] == [f"team/tiny@{REVISION}/{name}" for name in FILES]
    assert not list(folder.rglob("*.partial"))


def test_what_the_cache_holds_needs_no_hub(hub, from_hub, tmp_path):
    resolve("tiny", catalogue=from_hub, cache=tmp_path / "cache", hub_url=hub.url)
    assert resolve("tiny", catalogue=from_hub, cache=tmp_path / "cache", hub_url=AWAY).is_dir()


def test_a_cut_download_has_no_name_and_the_next_try_fetches_only_what_is_missing(hub, from_hub, tmp_path):
    hub.cut_after = 60_000
    with pytest.raises(NotReadyError):
        resolve("tiny", catalogue=from_hub, cache=tmp_path / "cache", hub_url=hub.url)
    partial = cached(tmp_path, "onnx/model.bin.partial")
    had = partial.stat().st_size
    assert 0 < had <= 60_000
    assert not cached(tmp_path, "onnx/model.bin").exists()
    hub.cut_after = None
    folder = resolve("tiny", catalogue=from_hub, cache=tmp_path / "cache", hub_url=hub.url)
    assert hub.asked[-1] == (f"team/tiny@{REVISION}/onnx/model.bin", f"bytes={had}-")
    assert (folder / "onnx/model.bin").read_bytes() == WEIGHTS


def test_a_hub_that_cannot_go_on_in_the_middle_sends_all_and_nothing_is_doubled(hub, from_hub, tmp_path):
    hub.knows_ranges = False
    cached(tmp_path, "onnx").mkdir(parents=True)
    cached(tmp_path, "onnx/model.bin.partial").write_bytes(WEIGHTS[:1000])
    folder = resolve("tiny", catalogue=from_hub, cache=tmp_path / "cache", hub_url=hub.url)
    assert (folder / "onnx/model.bin").read_bytes() == WEIGHTS


def test_a_download_that_was_killed_just_before_it_got_its_name_is_finished(hub, from_hub, tmp_path):
    cached(tmp_path, "onnx").mkdir(parents=True)
    cached(tmp_path, "onnx/model.bin.partial").write_bytes(WEIGHTS)
    folder = resolve("tiny", catalogue=from_hub, cache=tmp_path / "cache", hub_url=hub.url)
    assert (folder / "onnx/model.bin").read_bytes() == WEIGHTS


def test_a_wrong_byte_from_the_hub_is_refused_by_name_and_a_later_right_one_is_taken(hub, from_hub, tmp_path):
    name = f"team/tiny@{REVISION}/onnx/model.bin"
    right = hub.files
    hub.files = {**right, name: b"\1" + WEIGHTS[1:]}
    with pytest.raises(IntegrityError, match=r"onnx/model\.bin has sha256"):
        resolve("tiny", catalogue=from_hub, cache=tmp_path / "cache", hub_url=hub.url)
    assert not cached(tmp_path, "onnx/model.bin").exists()
    hub.files = right
    folder = resolve("tiny", catalogue=from_hub, cache=tmp_path / "cache", hub_url=hub.url)
    assert (folder / "onnx/model.bin").read_bytes() == WEIGHTS


def test_rubbish_in_a_partial_file_does_not_stay_for_ever(hub, from_hub, tmp_path):
    cached(tmp_path, "onnx").mkdir(parents=True)
    cached(tmp_path, "onnx/model.bin.partial").write_bytes(b"\0" * 1000)
    with pytest.raises(IntegrityError):
        resolve("tiny", catalogue=from_hub, cache=tmp_path / "cache", hub_url=hub.url)
    assert resolve("tiny", catalogue=from_hub, cache=tmp_path / "cache", hub_url=hub.url).is_dir()


def test_every_model_of_our_own_catalogue_that_needs_no_hub_is_here_and_right():
    for name, entry in load_catalogue().items():
        if any("hub" not in source.model_dump() for source in entry.sources):
            verify_files(resolve(name, hub_url=AWAY), entry.files)
