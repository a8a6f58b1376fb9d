"""The workspace that the slow tests train on is small, complete, and passes the data gate."""

from collections import Counter
from collections.abc import Callable
from pathlib import Path

from palier.adapters.workspace import Workspace, read_jsonl
from palier.params import load_params
from palier.stages import version_documents


def test_a_small_workspace_has_enough_of_everything(tmp_path: Path, small_workspace: Callable[..., Path]) -> None:
    """24 documents, at least 30 questions of each split, all fresh, some without an answer; changes are laid over."""
    root = small_workspace(tmp_path / "ws", {"retrieval": {"k": 7}})
    params = load_params(root / "params.yaml")
    assert (params.retrieval.k, params.train_reader.epochs) == (7, 1)
    assert {rung.kind for rung in params.ladder.rungs.values()} == {"reader"}
    result = version_documents.run(params, root)
    assert (result.n_documents, result.rejected, result.stale) == (24, (), ())
    rows = read_jsonl(Workspace(root).corpus / "golden.jsonl", "version-documents")
    assert min(Counter(row["split"] for row in rows).values()) >= 30
    for split in ("train", "validation", "test"):
        assert {row["answerable"] for row in rows if row["split"] == split} == {True, False}
    assert (root / ".dvc").is_dir()
