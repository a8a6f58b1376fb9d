"""`palier release …`: start, look at, decide and explain; MLflow's aliases follow what the records say.

The gateway moves rollouts on its own and never calls MLflow; each command here brings the aliases up to date.
"""

from pathlib import Path
from typing import Annotated

import typer

from palier.adapters import release_commands
from palier.adapters.bundle_store import install_bundle
from palier.adapters.records import Records
from palier.adapters.release_commands import Candidate, Order
from palier.adapters.tracking import RELEASE_MODEL, Tracker
from palier.commands.context import Context, JsonOption, WorkspaceOption, open_context, show, utc_now
from palier.domain.rollout import Active, ReleaseRef
from palier.errors import RolloutError, TrackingError
from palier.settings import Settings

app = typer.Typer(help="Releases: founding, rollouts, rollback, history.", no_args_is_help=True)
ReasonOption = Annotated[str, typer.Option("--reason", help="Why, for the history.")]
OPERATOR = "command line"


@app.command()
def start(workspace: WorkspaceOption = None, reason: ReasonOption = "", as_json: JsonOption = False) -> None:
    """Found the first release, or begin the rollout of the packaged one."""
    started = _start(open_context(workspace), Order(OPERATOR, reason, utc_now()))
    show(started, as_json, started.message)


@app.command()
def status(as_json: JsonOption = False) -> None:
    """What serves now, and how far the rollout is."""
    settings = Settings()
    found = release_commands.status(Records(settings.database_url), utc_now())
    sync_aliases(settings, found.active)
    lines = [f"champion  {_name(found.active.champion)}", f"previous  {_name(found.active.previous)}"]
    if found.rollout is not None:
        share = f", share {found.rollout.share:.0%}" if found.rollout.phase == "canary" else ""
        lines.append(f"rollout   {found.rollout.challenger_id}: {found.rollout.phase}{share}")
    if found.verdict is not None:
        lines.append(f"verdict   {found.verdict.reason}")
    show(found, as_json, "\n".join(lines))


@app.command()
def promote(reason: ReasonOption, as_json: JsonOption = False) -> None:
    """Make the challenger champion now, without waiting for the verdict."""
    _decide(release_commands.promote(_records(), Order(OPERATOR, reason, utc_now())), as_json)


@app.command()
def rollback(reason: ReasonOption, as_json: JsonOption = False) -> None:
    """End the rollout for the champion; without a rollout, bring back the previous champion."""
    _decide(release_commands.rollback(_records(), Order(OPERATOR, reason, utc_now())), as_json)


@app.command()
def history(limit: int = 20, as_json: JsonOption = False) -> None:
    """Who did what, when and why, newest first."""
    events = release_commands.history(_records(), limit)
    lines = [f"{event.at:%Y-%m-%d %H:%M:%S}  {event.action:12} {event.release_id}  {event.reason}" for event in events]
    show(events, as_json, "\n".join(lines) or "No release yet: `palier run`, or `palier release start`.")


@app.command()
def explain(
    rollout_id: Annotated[str | None, typer.Argument(help="Default: the newest.")] = None, as_json: JsonOption = False
) -> None:
    """Why a rollout stands where it stands, in plain words."""
    records = _records()
    rollout = release_commands.named_rollout(records, rollout_id)
    events = records.history(limit=1000, rollout_id=rollout.rollout_id)
    text = release_commands.explain(records, rollout.rollout_id)
    show({"rollout": rollout, "events": events, "explanation": text}, as_json, text)


def start_packaged(workspace: Path, actor: str) -> str:
    """For the DAG: start the workspace's packaged release and return its id.

    Idempotent: a release that was started before is left to its fate, whatever that was; one that was rolled
    back does not come back every week.
    """
    context = open_context(workspace)
    packaged = _install(context).ref.release_id
    if Records(context.settings.database_url).release(packaged) is not None:
        print(f"{packaged} was started before: see `palier release history`. Again: `palier release start`.")
    else:
        print(_start(context, Order(actor, "", utc_now())).message)
    return packaged


def sync_aliases(settings: Settings, active: Active) -> None:
    """Point MLflow's champion, challenger and previous at what the records say.

    A tracking server that is away costs a warning, not the release.
    """
    tracker = Tracker(settings.tracking_url)
    refs = {"champion": active.champion, "challenger": active.challenger, "previous": active.previous}
    try:
        for alias, ref in refs.items():
            version = tracker.version_of(ref.release_id) if ref else None
            if version is not None:
                tracker.alias(RELEASE_MODEL, alias, version)
            elif ref is None:
                tracker.clear_alias(RELEASE_MODEL, alias)
    except TrackingError as error:
        typer.echo(f"warning: MLflow's aliases are not up to date: {error}", err=True)


def _start(context: Context, order: Order) -> release_commands.Started:
    records = Records(context.settings.database_url)
    candidate = _install(context)
    started = release_commands.start(records, candidate, context.params.evaluate_release, context.params.rollout, order)
    sync_aliases(context.settings, records.active())
    return started


def _install(context: Context) -> Candidate:
    if not context.workspace.release.is_dir():
        raise RolloutError(f"No packaged release in {context.workspace.release}: run `palier package-release`.")
    folder, manifest = install_bundle(context.workspace.release, context.settings.state_dir / "releases")
    ref = ReleaseRef(manifest.release_id, str(folder), manifest.corpus_revision, manifest.created_at)
    evaluation = {name: interval.model_dump() for name, interval in manifest.evaluation.items()}
    return Candidate(ref, evaluation)


def _decide(active: Active, as_json: bool) -> None:
    sync_aliases(Settings(), active)
    show(active, as_json, f"champion  {_name(active.champion)}\nprevious  {_name(active.previous)}")


def _records() -> Records:
    return Records(Settings().database_url)


def _name(ref: ReleaseRef | None) -> str:
    return f"{ref.release_id} (corpus {ref.corpus_revision[:12]})" if ref else "none"
