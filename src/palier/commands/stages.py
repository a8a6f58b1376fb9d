"""One subcommand per stage: read the params, call the stage's `run`, log to MLflow, print.

A stage that makes files is also a DVC stage whose `cmd` is the subcommand here; `palier NAME` runs it directly.
MLflow is asked before the work starts: a tracking server that is away must not cost a training.
"""

from collections.abc import Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

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
from palier.commands.services import require_own_search
from palier.domain.bundle import MANIFEST
from palier.errors import InputError
from palier.settings import repository_root

if TYPE_CHECKING:
    from palier.adapters.evaluation.blind import BlindResult

app = typer.Typer(help="The stages of the loop.")

WARNINGS_SHOWN = 20


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
    for warning in result.warnings[:WARNINGS_SHOWN]:
        typer.echo(f"warning: {warning}", err=True)
    if (n_more := len(result.warnings) - WARNINGS_SHOWN) > 0:
        typer.echo(f"warning: and {n_more} more, all in {context.workspace.corpus / 'manifest.json'}", err=True)
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
    if not context.params.retrieval.searches:
        show({"index": None}, as_json, "Nothing to index: `retrieval: none`.")
        return
    from palier.adapters.records import Records
    from palier.adapters.search import connect
    from palier.stages import build_index as stage

    require_own_search(context.settings)
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
def collect_feedback(
    workspace: WorkspaceOption = None,
    as_json: JsonOption = False,
    erase: Annotated[
        list[str] | None, typer.Option(help="First blank what this key (its id) or request said; repeatable.")
    ] = None,
    drop_versions: Annotated[
        bool, typer.Option("--drop-versions", help="Also delete older versions that hold it from DVC's cache.")
    ] = False,
    files_only: Annotated[
        bool, typer.Option("--files-only", help="Only sift the rows drawn before; no ledger (DVC's own call).")
    ] = False,
) -> str:
    """Turn judged answers of the ledger into the next version of a training set; honour erasures."""
    context = open_context(workspace)
    if not files_only:
        from palier.commands.feedback import collect

        return collect(context, erase or [], as_json, drop_versions=drop_versions)
    from palier.stages import collect_feedback as stage

    with _tracked(context, "collect-feedback", ["collect_feedback"]) as log:
        result = stage.run(context.params, context.workspace.root)
        log.metrics(result.metrics)
    show(result, as_json, f"{result.n_examples} examples, {result.n_labels} labels of {result.n_rows} rows.")
    return result.version


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
def train_writer(workspace: WorkspaceOption = None, as_json: JsonOption = False) -> None:
    """Tune the small model that writes (or take its starter) and round it for llama.cpp; resumes when killed."""
    context = open_context(workspace)
    from palier.stages import train_writer as stage

    with _tracked(context, "train-writer", ["train_writer"]) as log:
        result = stage.run(context.params, context.workspace.root, progress_of(context, "train-writer"))
        log.metrics(result.metrics)
        if result.kept:  # the GGUF file is not uploaded: 90 MB that follow from the base and the change
            for name in result.kept:
                log.artifacts(context.workspace.writer / name, "writer")
            log.register("palier-writer", "writer", {"revision": _revision(context.workspace)})
    show(result, as_json, f"Writer at {context.workspace.writer}\n{lines_of(result.metrics)}")


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
def evaluate_models(
    workspace: WorkspaceOption = None,
    as_json: JsonOption = False,
    data: Annotated[
        list[Path] | None, typer.Option(help="QA rows to ask, in place of the golden test questions; repeatable.")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="The folder of the page; needed with --data.")] = None,
    rungs: Annotated[list[str] | None, typer.Option(help="Only these rungs; repeatable.")] = None,
    max_questions: Annotated[int | None, typer.Option(help="A sample of the files' questions.", min=1)] = None,
    learning_curve: Annotated[bool, typer.Option("--learning-curve", help="Of the reader too: it trains.")] = False,
    blind_out: Annotated[Path | None, typer.Option(help="Only write a CSV sheet that compares two rungs.")] = None,
    blind_in: Annotated[list[Path] | None, typer.Option(help="Only read filled sheets; repeatable.")] = None,
) -> None:
    """Report on rungs, scorer and cascade as a page: quality, calibration, baselines, noise, slices, learning curve."""
    context = open_context(workspace)
    from palier.adapters.evaluation.exam import Order
    from palier.stages import evaluate_models as stage

    if blind_in:
        judged = stage.read_blind(context.params, blind_in)
        show(judged, as_json, _describe_judged(judged))
        return
    if data and not (out or blind_out):
        raise InputError("Name a folder for the page with --out: data/report is the golden questions' own.")
    order = Order(tuple(data or ()), out, tuple(rungs or ()), max_questions, learning_curve)
    progress = progress_of(context, "evaluate-models")
    if blind_out:
        n = stage.write_blind(context.params, context.workspace.root, context.settings, progress, order, blind_out)
        show({"rows": n}, as_json, f"{n} questions in {blind_out}: fill in `better` (1, 2 or tie), then --blind-in.")
        return
    with _tracked(context, "evaluate-models", ["evaluate_models"]) as log:
        result = stage.run(context.params, context.workspace.root, context.settings, progress, order)
        log.data_hashes([*(data or ())])
        log.metrics(result.metrics)
        log.artifacts(result.page.parent, "report")
    show(result, as_json, f"{result.n_questions} questions: {result.page}\n{lines_of(result.headline)}")


def _describe_judged(judged: "BlindResult") -> str:
    """Wins, ties and the preference, as a person reads it."""
    first, second = judged.rungs
    share, wins = judged.preference, judged.wins
    lines = [
        f"{judged.n_judged} judgements: {first} {wins[first]}, {second} {wins[second]}, tie {judged.ties}",
        f"left out, as both said the same: {judged.n_same}",
        *(f"not counted: {told}" for told in judged.left_out),
        f"{first} preferred: {share.value:.2f} ({share.low:.2f} to {share.high:.2f}, 95 % interval over questions)",
    ]
    if judged.agreement is not None:
        kappa = "" if judged.kappa is None else f", kappa {judged.kappa:.2f}"
        lines.append(f"raters {' and '.join(judged.raters[:2])} agree on {judged.agreement:.2f}{kappa}")
    return "\n".join(lines)


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
    manifest = read_manifest(bundle)
    if manifest.retrieval.searches and aliased_index(client, context.settings.index_alias) != manifest.index:
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
