"""A team's workspace on disk: where each thing lies, and writes that are there whole or not at all."""

import json
import os
import threading
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from palier.errors import NotReadyError


@dataclass(frozen=True)
class Workspace:
    """Paths of one workspace; see the design's section on it."""

    root: Path

    @property
    def params(self) -> Path:
        return self.root / "params.yaml"

    @property
    def documents(self) -> Path:
        return self.root / "documents"

    @property
    def golden(self) -> Path:
        return self.root / "golden"

    @property
    def corpus(self) -> Path:
        return self.root / "data" / "corpus"

    @property
    def index_file(self) -> Path:
        return self.root / "data" / "index.json"

    @property
    def outcomes(self) -> Path:
        return self.root / "data" / "outcomes"

    @property
    def scores(self) -> Path:
        return self.root / "data" / "scores"

    @property
    def cascade(self) -> Path:
        return self.root / "data" / "cascade"

    @property
    def evaluation(self) -> Path:
        return self.root / "data" / "evaluation"

    @property
    def report(self) -> Path:
        return self.root / "data" / "report"

    @property
    def release(self) -> Path:
        return self.root / "data" / "release"

    @property
    def drift(self) -> Path:
        return self.root / "data" / "drift"

    @property
    def sweep(self) -> Path:
        return self.root / "data" / "sweep"

    @property
    def models(self) -> Path:
        return self.root / "models"

    @property
    def drawn_feedback(self) -> Path:
        """What was drawn from the ledger, without personal data; beside documents and golden, under DVC like them."""
        return self.root / "feedback"

    @property
    def feedback(self) -> Path:
        """What of it may be learned."""
        return self.root / "data" / "feedback"

    @property
    def encoder(self) -> Path:
        return self.models / "encoder"

    @property
    def reader(self) -> Path:
        return self.models / "reader"

    @property
    def writer(self) -> Path:
        """Empty but for its metrics where `train-writer` was told to take the base as it comes."""
        return self.models / "writer"

    @property
    def verifier(self) -> Path:
        """Empty unless `train-reader` was told of a verifier."""
        return self.root / "models" / "verifier"

    @property
    def reranker(self) -> Path:
        """There only where `train-encoder` was told of a reranker."""
        return self.root / "models" / "reranker"

    @property
    def scorer(self) -> Path:
        return self.root / "models" / "scorer"

    @property
    def guard(self) -> Path:
        return self.root / "models" / "guard"

    @property
    def cache(self) -> Path:
        """What can be made again: embeddings, checkpoints, remembered answers."""
        return self.root / ".cache"


def write_text(path: Path, text: str) -> None:
    """Write beside, then rename: a reader sees the old file or the new one, never a half."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{os.getpid()}.{threading.get_ident()}.partial")
    try:
        partial.write_text(text, encoding="utf-8")
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)  # there only when the write failed


def write_json(path: Path, value: object) -> None:
    """Readable JSON with sorted keys, written whole."""
    write_text(path, json.dumps(value, indent=2, sort_keys=True, ensure_ascii=False, default=str) + "\n")


def read_json(path: Path, made_by: str) -> Any:
    """Parsed JSON; NotReadyError naming the command that makes the file when it is not there."""
    if not path.is_file():
        raise NotReadyError(f"{path} is not there yet: run `palier {made_by}` first.")
    return json.loads(path.read_text(encoding="utf-8"))


def read_jsonl(path: Path, made_by: str) -> list[dict[str, Any]]:
    """All rows of a JSON-lines file; NotReadyError when it is not there."""
    if not path.is_file():
        raise NotReadyError(f"{path} is not there yet: run `palier {made_by}` first.")
    return [json.loads(line) for line in json_lines(path)]


def json_lines(path: Path) -> list[str]:
    """The lines of a JSON-lines file, empty ones left out. They end at line feeds only: `splitlines` would also break
    at U+2028 and its like, which JSON leaves in a text.
    """
    return [line for line in path.read_text(encoding="utf-8").split("\n") if line.strip()]


def write_jsonl(path: Path, rows: Iterable[Mapping[str, object]]) -> None:
    """One JSON object a line, written whole."""
    write_text(path, "".join(json.dumps(row, ensure_ascii=False, default=str) + "\n" for row in rows))
