"""The corpus as `version-documents` wrote it, for the stages that learn from it; imports nothing heavy."""

import json

from palier.adapters.workspace import Workspace, read_jsonl
from palier.domain.documents import Passage
from palier.domain.golden import GoldenQuestion


def load_corpus(workspace: Workspace) -> tuple[dict[str, Passage], list[GoldenQuestion]]:
    """Passages by id and golden questions; NotReadyError before `version-documents`."""
    rows = read_jsonl(workspace.corpus / "passages.jsonl", "version-documents")
    passages = {row["passage_id"]: Passage(**row) for row in rows}
    golden = read_jsonl(workspace.corpus / "golden.jsonl", "version-documents")
    return passages, [GoldenQuestion.model_validate_json(json.dumps(row)) for row in golden]
