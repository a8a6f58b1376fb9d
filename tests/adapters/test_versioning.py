"""Workspaces with the real git and DVC, in a path with a space: versions, skipped stages, and errors that tell."""

import shutil
from pathlib import Path

import pytest

from palier.adapters.versioning import (
    CommandFailedError,
    commit,
    head,
    init_workspace,
    is_up_to_date,
    reproduce,
    run_dvc,
    run_git,
    snapshot,
)
from palier.errors import InputError

PIPELINE = """\
stages:
  count-words:
    cmd: wc -w < documents/en/menu.md > words.txt && echo counted
    deps: [documents]
    params: [unit]
    outs: [words.txt]
  fail:
    cmd: echo "the reason why" && exit 3
    deps: [documents]
    outs: [never.txt]
"""


@pytest.fixture
def template(tmp_path: Path) -> Path:
    folder = tmp_path / "template"
    folder.mkdir()
    (folder / "params.yaml").write_text("unit: word\n", encoding="utf-8")
    (folder / "dvc.yaml").write_text(PIPELINE, encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def made_once(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workspace with one document under DVC, made once for the module: DVC takes seconds per command."""
    root = tmp_path_factory.mktemp("made")
    (root / "params.yaml").write_text("unit: word\n", encoding="utf-8")
    (root / "dvc.yaml").write_text(PIPELINE, encoding="utf-8")
    folder = root / "my assistant"
    init_workspace(folder, root)
    write_document(folder, "one two three")
    snapshot(folder, ["documents"])
    commit(folder, "Add documents")
    return folder


@pytest.fixture
def workspace(made_once: Path, tmp_path: Path) -> Path:
    """A copy of it, of this test's own."""
    return Path(shutil.copytree(made_once, tmp_path / "my assistant"))


def write_document(folder: Path, text: str) -> None:
    path = folder / "documents" / "en" / "menu.md"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


def test_outside_a_repository_the_head_is_unknown(tmp_path):
    assert head(tmp_path) == "unknown"


def test_a_commit_is_made_only_for_a_change_and_with_our_name(tmp_path):
    run_git(["init", "--quiet"], tmp_path)
    (tmp_path / "é a.txt").write_text("1", encoding="utf-8")
    first = commit(tmp_path, "One 'quoted' message")
    assert commit(tmp_path, "Nothing new") == first == head(tmp_path)
    (tmp_path / "é a.txt").unlink()
    assert commit(tmp_path, "Remove it") != first
    assert run_git(["log", "--format=%an %s"], tmp_path) == "Palier Remove it\nPalier One 'quoted' message\n"


def test_a_failed_command_tells_its_folder_and_its_last_words(tmp_path):
    run_git(["init", "--quiet"], tmp_path)
    with pytest.raises(CommandFailedError, match=r"checkout no-such-branch` failed in ") as caught:
        run_git(["checkout", "no-such-branch"], tmp_path)
    assert "did not match" in str(caught.value)
    assert str(tmp_path) in str(caught.value)


@pytest.mark.parametrize("name", ["params.yaml", ".dvc"])
def test_a_folder_that_is_a_workspace_is_refused_and_nothing_of_it_touched(tmp_path, template, name):
    folder = tmp_path / "mine"
    folder.mkdir()
    if name == ".dvc":
        (folder / name).mkdir()
    else:
        (folder / name).write_text("seed: 1", encoding="utf-8")
    with pytest.raises(InputError, match="already is a workspace"):
        init_workspace(folder, template)
    assert [found.name for found in folder.iterdir()] == [name]


@pytest.mark.service
def test_a_new_workspace_has_its_pipeline_no_telemetry_and_one_clean_commit(made_once):
    assert (made_once / "dvc.yaml").read_text(encoding="utf-8") == PIPELINE
    assert run_dvc(["config", "core.analytics"], made_once).strip() == "false"
    assert run_git(["status", "--porcelain"], made_once) == ""
    assert run_git(["log", "--format=%s"], made_once).splitlines()[-1] == "Make the workspace"


@pytest.mark.service
def test_a_snapshot_keeps_documents_out_of_git_and_gives_an_old_version_back(workspace):
    before = head(workspace)
    assert "documents/en/menu.md" not in run_git(["ls-files"], workspace)
    write_document(workspace, "other words altogether here")
    snapshot(workspace, ["documents"])
    assert commit(workspace, "Change the menu") != before
    run_git(["checkout", "--quiet", before], workspace)
    run_dvc(["checkout", "documents.dvc"], workspace)
    assert (workspace / "documents/en/menu.md").read_text(encoding="utf-8") == "one two three"


@pytest.mark.service
def test_a_snapshot_that_git_stands_against_tells_the_reason(workspace):
    (workspace / "golden" / "en.jsonl").write_text("{}", encoding="utf-8")
    commit(workspace, "Put golden questions into git by mistake")
    with pytest.raises(CommandFailedError, match="tracked by SCM"):
        snapshot(workspace, ["golden"])


@pytest.mark.service
def test_a_stage_runs_when_its_inputs_or_its_params_changed_and_only_then(workspace):
    lines: list[str] = []
    assert reproduce(workspace, "count-words", lines.append)
    assert "counted" in lines
    assert not reproduce(workspace, "count-words")
    write_document(workspace, "one two three four")
    assert reproduce(workspace, "count-words")
    assert (workspace / "words.txt").read_text(encoding="utf-8").strip() == "4"
    (workspace / "params.yaml").write_text("unit: letter\n", encoding="utf-8")
    assert reproduce(workspace, "count-words")


@pytest.mark.service
def test_a_lost_output_is_brought_back_from_the_cache_and_is_no_change(workspace):
    (workspace / "dvc.yaml").write_text(PIPELINE.split("  fail:")[0], encoding="utf-8")
    assert not is_up_to_date(workspace)
    reproduce(workspace, "count-words")
    assert is_up_to_date(workspace)
    (workspace / "words.txt").unlink()
    reproduce(workspace, "count-words")
    assert (workspace / "words.txt").read_text(encoding="utf-8").strip() == "3"


@pytest.mark.service
def test_a_stage_that_fails_gives_its_own_words_and_leaves_no_lock_entry(workspace):
    with pytest.raises(CommandFailedError, match="the reason why"):
        reproduce(workspace, "fail")
    lock = workspace / "dvc.lock"
    assert not lock.exists() or "fail" not in lock.read_text(encoding="utf-8")
