"""`palier collect-feedback --erase` over real git and DVC: what it reaches, and what it says of the rest."""

import sys
from datetime import timedelta
from pathlib import Path

import pandas as pd
import pytest
from test_feedback_rows import NOW, SECRET, asked, write_corpus

from palier.adapters.feedback_labels import LABEL_ROWS, write_labels
from palier.adapters.feedback_rows import read_labels
from palier.adapters.records import Records
from palier.adapters.versioning import commit, init_workspace, run_dvc
from palier.adapters.workspace import Workspace, write_json
from palier.commands.context import Context
from palier.commands.feedback import collect
from palier.params import load_params
from palier.settings import Settings, repository_root

SIFT = (
    "from pathlib import Path; from palier.params import load_params; from palier.stages import collect_feedback; "
    "collect_feedback.run(load_params(Path('params.yaml')), Path())"
)
PIPELINE = f"""
stages:
  collect-feedback:
    cmd: {sys.executable} -c "{SIFT}"
    deps: [feedback, data/corpus]
    outs: [data/feedback/examples.jsonl, data/feedback/labels.jsonl, data/feedback/report.json]
  record-outcomes:
    cmd: "true"
    outs: [data/outcomes]
"""
"""The stage itself without MLflow; `record` below stands where the other one is run."""


@pytest.fixture
def context(tmp_path: Path) -> Context:
    root = tmp_path / "workspace"
    init_workspace(root, repository_root())
    (root / "dvc.yaml").write_text(PIPELINE, encoding="utf-8")
    write_corpus(Workspace(root))
    return Context(Settings(state_dir=tmp_path / "state"), Workspace(root), load_params(root / "params.yaml"))


def record(workspace: Workspace) -> None:
    """The labels of `record-outcomes`, as DVC keeps them."""
    workspace.outcomes.mkdir(parents=True, exist_ok=True)
    write_json(workspace.outcomes / "rungs.json", {})
    labels = [{"query_id": label.id, "query": label.question} for label in read_labels(workspace)]
    write_labels(workspace.outcomes, pd.DataFrame(labels))
    run_dvc(["commit", "--force", "record-outcomes"], workspace.root)
    commit(workspace.root, "Run record-outcomes")


def holding(folder: Path, text: str) -> list[str]:
    """Names of the files below ``folder`` in which ``text`` stands."""
    return sorted(path.name for path in folder.rglob("*") if path.is_file() and text.encode() in path.read_bytes())


def test_what_an_erasure_leaves_is_named_until_nothing_of_it_is_on_disk(
    context: Context, capsys: pytest.CaptureFixture[str]
) -> None:
    """Half-written files of a killed run go at once; present labels are told until they are made again, then dropped
    as an older version; models and what lies elsewhere are told always."""
    records, workspace = Records(context.settings.database_url), context.workspace
    asked(records, 1, SECRET, created_at=NOW)
    records.add_feedback("req-1", "key-1", 1, None, None, NOW + timedelta(minutes=1))
    collect(context, [], as_json=False)
    record(workspace)
    for folder in (workspace.drawn_feedback, workspace.feedback):
        (folder / ".rows.jsonl.1.1.partial").write_text(f'{{"question": "{SECRET}', encoding="utf-8")
    assert "data/outcomes still hold" not in capsys.readouterr().out
    collect(context, ["key-1"], as_json=False, drop_versions=True)
    told = capsys.readouterr().out
    assert "The present labels in data/outcomes still hold them: run the train_models DAG" in told
    assert "dvc gc --workspace --cloud" in told
    assert holding(workspace.root / "feedback", SECRET) == holding(workspace.feedback, SECRET) == []
    assert holding(workspace.outcomes, SECRET) == [LABEL_ROWS]
    record(workspace)
    collect(context, ["key-1"], as_json=False, drop_versions=True)
    told = capsys.readouterr().out
    assert "Dropped 1 files of 2 older version(s)" in told
    assert "data/outcomes still hold" not in told
    assert holding(workspace.root, SECRET) == []
    assert holding(context.settings.state_dir, SECRET) == []
