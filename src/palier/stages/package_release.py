"""Stage `package-release`: corpus revision, index, models, cascade and prompt become one immutable bundle.

The bundle is made beside and renamed; its id is a hash of what is in it, so that packaging the same things twice
gives the same release.
"""

import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from palier.adapters.beliefs.store import BELIEFS_FILE
from palier.adapters.catalogue import HubSource, load_catalogue, resolve, sha256_file
from palier.adapters.workspace import Workspace, read_json, write_text
from palier.adapters.writer_rung import CONFIG, WRITER_FILE, tuned_writer
from palier.domain.answering import Cascade
from palier.domain.bundle import MANIFEST, BundledModel, Interval95, Manifest, release_id
from palier.domain.guarding import GuardWeights
from palier.errors import NotReadyError, ParamsError
from palier.params import LadderParams, Params, ReaderRung, WriterRung

Files = Mapping[str, tuple[str, ...]]
SERVED: Files = {
    "encoder": ("model.onnx", "tokenizer.json", "config.json"),
    "reader": ("model.onnx", "tokenizer.json", "config.json"),
    "scorer": ("scorer.json",),
}
"""What the gateway loads of each model; adapters and checkpoints stay in the workspace."""
CROSS_ENCODER_FILES = ("model.onnx", "tokenizer.json", "config.json")
"""Of the reranker, served only where some language reranks, and of the verifier and the guard's classifier, where
there is one."""
GUARD_FILES: tuple[str, ...] = ("guard.json",)
"""Served where `guard.enabled`."""
WRITER_FILES = (WRITER_FILE, CONFIG)
"""Served only where a writer stands on the ladder that was tuned; else its base, as the catalogue has it."""

MADE_BY = {
    "encoder": "train-encoder",
    "reranker": "train-encoder",
    "reader": "train-reader",
    "verifier": "train-reader",
    "writer": "train-writer",
    "scorer": "train-scorer",
    "guard": "train-scorer",
}
"""The command that makes each model; for messages."""


@dataclass(frozen=True)
class PackageResult:
    """The bundle's folder and its manifest."""

    bundle: Path
    manifest: Manifest

    @property
    def metrics(self) -> dict[str, float]:
        return {name: interval.value for name, interval in self.manifest.evaluation.items()}


def run(params: Params, root: Path, *, git_sha: str, now: datetime) -> PackageResult:
    """Write data/release; NotReadyError naming the stage whose result is missing."""
    workspace = Workspace(root)
    index = read_json(workspace.index_file, "build-index") if params.retrieval.searches else {"index": ""}
    chosen = read_json(workspace.cascade / "cascade.json", "tune-cascade")
    evaluation = read_json(workspace.evaluation / "metrics.json", "evaluate-release")
    rungs = read_json(workspace.outcomes / "rungs.json", "record-outcomes")["admitted"]
    corpus = read_json(workspace.corpus / "manifest.json", "version-documents")
    if gone := [name for name in rungs if name not in params.ladder.rungs]:
        lost = ", ".join(gone)
        raise NotReadyError(f"The ladder lost {lost} since answers were recorded: run `palier record-outcomes` again.")
    ladder = params.ladder.model_copy(update={"rungs": {name: params.ladder.rungs[name] for name in rungs}})
    served = _served(params, ladder, workspace)
    content: dict[str, Any] = {
        "corpus_revision": corpus["revision"],
        "index": index["index"],
        "index_settings": index.get("settings", {}),
        "prompt": params.prompt,
        "retrieval": params.retrieval.model_dump(mode="json"),
        "ladder": ladder.model_dump(mode="json"),
        "models": {name: model.model_dump(mode="json") for name, model in _models(workspace, ladder, served).items()},
        "cascade": Cascade.model_validate(chosen["cascade"]).model_dump(mode="json"),
        "reference_rung": chosen["reference_rung"],
        "guard": params.guard.model_dump(mode="json"),
    }
    manifest = Manifest.model_validate(
        content
        | {
            "release_id": release_id(content),
            "created_at": now,
            "git_sha": git_sha,
            "reference_cost_nanousd": chosen["reference_cost_nanousd"],
            "guarantee": chosen["guarantee"],
            "evaluation": {name: Interval95.model_validate(value) for name, value in evaluation.items()},
        }
    )
    _write_bundle(workspace, manifest, served)
    return PackageResult(workspace.release, manifest)


def _served(params: Params, ladder: LadderParams, workspace: Workspace) -> Files:
    """What goes into the bundle; NotReadyError when it should rerank or guard and lacks what that needs."""
    retrieval = params.retrieval
    writers = [rung.model for rung in ladder.rungs.values() if isinstance(rung, WriterRung)]
    reads = any(isinstance(rung, ReaderRung) for rung in ladder.rungs.values())
    points = bool(writers) and (workspace.reader / SERVED["reader"][0]).is_file()  # a writer has its evidence found
    served = {name: files for name, files in SERVED.items() if name != "reader" or reads or points}
    if (workspace.scorer / BELIEFS_FILE).is_file():
        served["scorer"] = (*served["scorer"], BELIEFS_FILE)
    if any(tuned_writer(workspace.writer, model) for model in writers):
        served["writer"] = WRITER_FILES
    if (workspace.verifier / CROSS_ENCODER_FILES[0]).is_file():
        served["verifier"] = CROSS_ENCODER_FILES
    if params.guard.enabled:
        served["guard"] = _guard_files(workspace.guard)
    if not retrieval.reranks:
        return served
    missing = [name for name in CROSS_ENCODER_FILES if not (workspace.reranker / name).is_file()]
    if missing:
        raise NotReadyError(
            f"retrieval.rerank is {dict(retrieval.rerank)}, but {workspace.reranker} lacks {', '.join(missing)}. Name "
            "a train_encoder.reranker and run `palier train-encoder`, or set retrieval.rerank to 0."
        )
    return {**served, "reranker": CROSS_ENCODER_FILES}


def _guard_files(folder: Path) -> tuple[str, ...]:
    """The guard's files, with those of the classifier that its weights may want; NotReadyError when one lacks."""
    files = GUARD_FILES
    if (path := folder / GUARD_FILES[0]).is_file():
        weights = GuardWeights.model_validate_json(path.read_text(encoding="utf-8"))
        files = GUARD_FILES if weights.classifier is None else (*GUARD_FILES, *CROSS_ENCODER_FILES)
    if missing := [name for name in files if not (folder / name).is_file()]:
        raise NotReadyError(
            f"guard.enabled is true, but {folder} lacks {', '.join(missing)}. Run `palier train-scorer`, which makes "
            "the guard, or set guard.enabled to false."
        )
    return files


def _models(workspace: Workspace, ladder: LadderParams, served: Files) -> Mapping[str, BundledModel]:
    models = {name: _bundled(workspace, name, files) for name, files in served.items()}
    catalogue = load_catalogue()
    for rung in ladder.rungs.values():
        if isinstance(rung, WriterRung) and not tuned_writer(workspace.writer, rung.model):
            entry = catalogue[rung.model]
            if rung.model in served:
                raise ParamsError(f"A release keeps other things as {rung.model!r}: name that model otherwise.")
            models[rung.model] = BundledModel(
                name=rung.model,
                version="catalogue",
                licence=entry.licence,
                files=dict(entry.files),
                from_catalogue=all(isinstance(source, HubSource) for source in entry.sources),
            )
    return models


def _bundled(workspace: Workspace, name: str, files: tuple[str, ...]) -> BundledModel:
    folder = workspace.root / "models" / name
    hashes = {file: _sha256(folder / file, MADE_BY[name]) for file in files}
    tuned = name in ("reader", "scorer", "writer")
    data = {"golden": _sha256(workspace.corpus / "golden.jsonl", "version-documents")} if tuned else {}
    version = hashes[files[0]][:12]
    return BundledModel(name=f"palier-{name}", version=version, licence="Apache-2.0", files=hashes, data=data)


def _sha256(path: Path, made_by: str) -> str:
    if not path.is_file():
        raise NotReadyError(f"{path} is not there: run `palier {made_by}`, which makes it.")
    return sha256_file(path)


def _write_bundle(workspace: Workspace, manifest: Manifest, served: Files) -> None:
    partial = workspace.release.with_name(".release.partial")
    shutil.rmtree(partial, ignore_errors=True)
    for name, model in manifest.models.items():
        if model.from_catalogue:
            continue
        source = workspace.root / "models" / name if name in served else resolve(model.name)
        for file in model.files:
            target = partial / "models" / name / file
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source / file, target)
    write_text(partial / MANIFEST, manifest.model_dump_json(indent=1) + "\n")
    shutil.rmtree(workspace.release, ignore_errors=True)
    partial.replace(workspace.release)
