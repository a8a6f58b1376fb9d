"""One subcommand per stage: read the params, call the stage's `run`, log to MLflow, print.

A stage that makes files is also a DVC stage whose `cmd` is the subcommand here; `palier NAME` runs it directly.
MLflow is asked before the work starts: a tracking server that is away must not cost a training.
"""

from collections.abc import Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

from palier.adapters.document_sources import bring_documents
from palier.adapters.tracking import RELEASE_MODEL, StageRun, Tracker
from palier.adapters.versioning import commit, head, is_up_to_date, reproduce, snapshot
from palier.adapters.workspace import Workspace, read_json
from palier.commands.context import (
    Context,
    JsonOption,
    WorkspaceOption,
    lines_of,
    open_context,
    progress_of,
    show,
    utc_now,
)
from palier.domain.bundle import MANIFEST
from palier.settings import repository_root

app = typer.Typer(help="The stages of the loop.")


@app.command()
def version_documents(
    workspace: WorkspaceOption = None,
    as_json: JsonOption = False,
    files_only: Annotated[
        bool,
        typer.Option("--files-only", help="Only check and cut the documents; no DVC, no commit (DVC's own call)."),
    ] = False,
) -> None:
    """Check the documents and golden questions, cut passages, and commit the corpus revision."""
    context = open_context(workspace)
    if files_only:
        _version_files(context, as_json)
        return
    root = context.workspace.root
    if source := context.params.version_documents.source:
        brought = bring_documents(context.workspace, source)
        typer.echo(f"{brought.n_files} documents from {brought.origin} {brought.revision}".rstrip(), err=True)
    snapshot(root, ["documents", "golden"])
    changed = reproduce(root, "version-documents", on_line=lambda line: typer.echo(line, err=True))
    revision = _revision(context.workspace)
    commit(root, f"Version documents {revision[:12]}")
    text = f"Corpus revision {revision} ({'new' if changed else 'unchanged'})."
    show({"revision": revision, "changed": changed}, as_json, text)


def _version_files(context: Context, as_json: bool) -> None:
    from palier.stages import version_documents as stage

    result = stage.run(context.params, context.workspace.root, progress_of(context, "version-documents"))
    text = f"Corpus revision {result.revision}: {result.n_documents} documents, {result.n_passages} passages."
    show(result, as_json, text)


@app.command()
def train_encoder(workspace: WorkspaceOption = None, as_json: JsonOption = False) -> None:
    """Tune the sentence encoder (or take it as it comes) and export it to ONNX int8."""
    context = open_context(workspace)
    from palier.stages import train_encoder as stage

    with _tracked(context, "train-encoder", ["train_encoder"]) as log:
        result = stage.run(context.params, context.workspace.root, progress_of(context, "train-encoder"))
        _log_model(log, context, "encoder", result.metrics)
    show(result, as_json, f"Encoder at {context.workspace.encoder}\n{lines_of(result.metrics)}")


@app.command()
def build_index(workspace: WorkspaceOption = None, as_json: JsonOption = False) -> None:
    """Build one index of the corpus revision (BM25 and dense), let it pass the gate, and swap the alias to it."""
    context = open_context(workspace)
    from palier.adapters.records import Records
    from palier.adapters.search import connect
    from palier.stages import build_index as stage

    key = context.settings.elasticsearch_api_key
    client = connect(context.settings.search_url, key.get_secret_value() if key else None)
    records = Records(context.settings.database_url)
    with _tracked(context, "build-index", ["build_index", "retrieval"]) as log:
        result = stage.run(
            context.params,
            context.workspace.root,
            client,
            context.settings.index_alias,
            clock=utc_now,
            protected=_indexes_in_use(records),
            progress=progress_of(context, "build-index"),
        )
        log.metrics(result.metrics)
    show(result, as_json, f"Index {result.index} with {result.n_passages} passages is live.")


@app.command()
def sweep_retrieval(
    workspace: WorkspaceOption = None,
    as_json: JsonOption = False,
    apply: Annotated[bool, typer.Option("--apply", help="Write what is recommended into params.yaml.")] = False,
) -> None:
    """Try ways of cutting, searching, fusing and reranking on the validation questions, and recommend one."""
    context = open_context(workspace)
    from palier.adapters.params_file import change_params
    from palier.adapters.search import connect
    from palier.stages import sweep_retrieval as stage

    key = context.settings.elasticsearch_api_key
    client = connect(context.settings.search_url, key.get_secret_value() if key else None)
    with _tracked(context, "sweep-retrieval", ["version_documents", "retrieval", "sweep_retrieval"]) as log:
        progress = progress_of(context, "sweep-retrieval")
        result = stage.run(context.params, context.workspace.root, client, context.settings, progress)
        log.metrics(result.metrics)
        for name, params, metrics in result.trials:
            log.child(name, params, metrics)
        log.artifacts(context.workspace.sweep, "sweep")
    if apply and result.changes:
        change_params(context.workspace.params, result.changes)
    skipped = "".join(f"\n  not measured: {name}: {reason}" for name, reason in result.skipped.items())
    text = f"{result.n_points} settings tried ({result.n_remembered} results remembered). {result.reason}{skipped}"
    show(result, as_json, f"{text}\n\n{result.recommended}{_applied(result.changes, apply)}")


def _applied(changes: Mapping[str, Mapping[str, object]], apply: bool) -> str:
    """What became of the recommendation."""
    if not changes:
        return "\nNothing to change in params.yaml."
    keys = ", ".join(f"{section}.{key}" for section, values in changes.items() for key in values)
    return f"\nChanged in params.yaml: {keys}." if apply else f"\nTo change {keys} in params.yaml, add --apply."


@app.command()
def train_reader(workspace: WorkspaceOption = None, as_json: JsonOption = False) -> None:
    """Tune the reader on the golden training questions and export it to ONNX int8; resumes when killed."""
    context = open_context(workspace)
    from palier.stages import train_reader as stage

    with _tracked(context, "train-reader", ["train_reader"]) as log:
        result = stage.run(context.params, context.workspace.root, progress_of(context, "train-reader"))
        _log_model(log, context, "reader", result.metrics)
    show(result, as_json, f"Reader at {context.workspace.reader}\n{lines_of(result.metrics)}")


@app.command()
def record_outcomes(workspace: WorkspaceOption = None, as_json: JsonOption = False) -> None:
    """Let every rung answer the golden questions and write down answer, quality, cost and latency."""
    context = open_context(workspace)
    from palier.stages import record_outcomes as stage

    with _tracked(context, "record-outcomes", ["retrieval", "ladder", "record_outcomes"]) as log:
        progress = progress_of(context, "record-outcomes")
        result = stage.run(context.params, context.workspace.root, context.settings, progress)
        log.metrics({**result.metrics, "n_asked": result.n_asked, "n_remembered": result.n_remembered})
    left_out = "".join(f"\n  left out: {name}: {reason}" for name, reason in result.left_out.items())
    text = f"{result.n_questions} questions; {result.n_asked} answers asked, {result.n_remembered} remembered."
    show(result, as_json, f"{text}\n{lines_of(result.metrics)}{left_out}")


@app.command()
def train_scorer(workspace: WorkspaceOption = None, as_json: JsonOption = False) -> None:
    """Learn from recorded outcomes how far each rung's answers can be trusted."""
    context = open_context(workspace)
    from palier.stages import train_scorer as stage

    with _tracked(context, "train-scorer", ["train_scorer"]) as log:
        result = stage.run(context.params, context.workspace.root, progress_of(context, "train-scorer"))
        _log_model(log, context, "scorer", result.metrics)
    show(result, as_json, lines_of(result.metrics))


@app.command()
def tune_cascade(workspace: WorkspaceOption = None, as_json: JsonOption = False) -> None:
    """Choose the cascade for the budget, on validation rows."""
    context = open_context(workspace)
    from palier.stages import tune_cascade as stage

    with _tracked(context, "tune-cascade", ["ladder", "tune_cascade"]) as log:
        result = stage.run(context.params, context.workspace.root, progress_of(context, "tune-cascade"))
        log.metrics(result.metrics)
        log.artifacts(context.workspace.cascade, "cascade")
    show(result, as_json, f"{result.reason}\n{lines_of(result.metrics)}")


@app.command()
def evaluate_release(workspace: WorkspaceOption = None, as_json: JsonOption = False) -> None:
    """Measure the chosen cascade on the golden test questions."""
    context = open_context(workspace)
    from palier.stages import evaluate_release as stage

    with _tracked(context, "evaluate-release", ["evaluate_release"]) as log:
        result = stage.run(context.params, context.workspace.root, progress_of(context, "evaluate-release"))
        log.metrics(result.metrics)
        log.artifacts(context.workspace.evaluation, "evaluation")
    show(result, as_json, f"{result.n_questions} test questions\n{lines_of(result.metrics)}")


@app.command()
def package_release(workspace: WorkspaceOption = None, as_json: JsonOption = False) -> None:
    """Bundle everything that answers into one immutable release and register it."""
    context = open_context(workspace)
    from palier.stages import package_release as stage

    with _tracked(context, "package-release", ["package_release"]) as log:
        sha = head(repository_root())
        result = stage.run(context.params, context.workspace.root, git_sha=sha, now=utc_now())
        log.metrics(result.metrics)
        log.artifacts(result.bundle, "release")
        log.register(RELEASE_MODEL, "release", {"release_id": result.manifest.release_id})
    show(result.manifest, as_json, f"Release {result.manifest.release_id} at {result.bundle}")


@app.command()
def check_drift(workspace: WorkspaceOption = None, as_json: JsonOption = False) -> tuple[str, ...]:
    """Compare the last days' questions and scores with those that the cascade was measured on."""
    context = open_context(workspace)
    from palier.adapters.records import Records
    from palier.stages import check_drift as stage

    with _tracked(context, "check-drift", ["check_drift"]) as log:
        records = Records(context.settings.database_url)
        result = stage.run(context.params, context.workspace.root, records, utc_now())
        log.metrics(result.metrics)
        log.artifacts(context.workspace.drift, "drift")
    show(result, as_json, f"{result.n_rows} requests: {result.reason}")
    return result.drifted


def is_released(workspace: Path, revision: str) -> bool:
    """Whether nothing is left to do: the packaged release of this revision was started, every DVC stage is up to
    date, and its index is behind the alias."""
    context = open_context(workspace)
    from palier.adapters.records import Records
    from palier.adapters.runtime import read_manifest
    from palier.adapters.search import connect
    from palier.adapters.search_index import aliased_index

    bundle = context.workspace.release
    if not (bundle / MANIFEST).is_file() or read_manifest(bundle).corpus_revision != revision:
        return False
    if Records(context.settings.database_url).release(read_manifest(bundle).release_id) is None:
        return False
    key = context.settings.elasticsearch_api_key
    client = connect(context.settings.search_url, key.get_secret_value() if key else None)
    if aliased_index(client, context.settings.index_alias) != read_manifest(bundle).index:
        return False
    return is_up_to_date(context.workspace.root)


@contextmanager
def _tracked(context: Context, stage: str, sections: Sequence[str]):  # type: ignore[no-untyped-def]
    """A child run of the corpus revision's parent, with params, data hashes and the platform's git SHA."""
    revision = _revision(context.workspace)
    tags = {"palier.git_sha": head(repository_root())}
    with Tracker(context.settings.tracking_url).stage(stage, revision, tags) as log:
        dumped = context.params.model_dump(mode="json")
        log.params({"seed": context.params.seed, **{name: dumped[name] for name in sections}})
        log.data_hashes([context.workspace.corpus / name for name in ("passages.jsonl", "golden.jsonl")])
        yield log


def _log_model(log: StageRun, context: Context, name: str, metrics: Mapping[str, float]) -> None:
    log.metrics(metrics)
    folder: Path = context.workspace.root / "models" / name
    log.artifacts(folder, name)
    log.register(f"palier-{name}", name, {"revision": _revision(context.workspace)})


def _revision(workspace: Workspace) -> str:
    return str(read_json(workspace.corpus / "manifest.json", "version-documents")["revision"])


def _indexes_in_use(records: object) -> frozenset[str]:
    """Indexes of champion, previous and challenger: never deleted."""
    from palier.adapters.runtime import read_manifest

    active = records.active()  # type: ignore[attr-defined]
    releases = [ref for ref in (active.champion, active.previous, active.challenger) if ref is not None]
    return frozenset(read_manifest(Path(ref.bundle_path)).index for ref in releases)
