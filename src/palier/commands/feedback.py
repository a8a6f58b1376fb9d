"""`palier collect-feedback` as people and Airflow run it: erase what must go, draw the ledger, make the next version.

What is drawn lies under DVC beside documents and golden questions; the stage that DVC reproduces from it is a pure one.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import typer

from palier.adapters.feedback_rows import Drawn, draw_feedback
from palier.adapters.feedback_versions import FeedbackVersion, drop, is_held_now, versions_holding
from palier.adapters.records import Records
from palier.adapters.versioning import commit, reproduce, snapshot
from palier.adapters.workspace import read_json
from palier.commands.context import Context, show, utc_now
from palier.errors import InputError

SHOWN = 10


@dataclass(frozen=True)
class Collected:
    """``version`` is the training set's; ``older`` are those that still hold what was to be erased, as the present
    labels in data/outcomes may (``is_in_outcomes``).
    """

    version: str
    changed: bool
    drawn: Drawn
    n_erased: int
    older: tuple[FeedbackVersion, ...]
    n_files_dropped: int
    is_in_outcomes: bool
    report: dict[str, object]


def collect(context: Context, erase: Sequence[str], as_json: bool, *, drop_versions: bool = False) -> str:
    """Make the next version of what is learned from use, and return its name. Raises InputError for an unknown key
    or request, before anything is changed by it.
    """
    if drop_versions and not erase:
        raise InputError("--drop-versions needs --erase: it drops older versions that hold what is erased.")
    root, now = context.workspace.root, utc_now()
    records = Records(context.settings.database_url)
    n_erased = sum(records.erase(subject, now)[1] for subject in erase)
    drawn = draw_feedback(records, context.workspace, context.params, now)
    snapshot(root, ["feedback"])
    changed = reproduce(root, "collect-feedback", on_line=lambda line: typer.echo(line, err=True))
    report = read_json(context.workspace.feedback / "report.json", "collect-feedback")
    version = str(report["version"])
    commit(root, f"Collect feedback {version[:12]}")
    words = {subject: records.words_of(subject) for subject in erase}
    older = tuple(version for subject in words for version in versions_holding(root, subject, words[subject]))
    n_dropped = drop(older) if drop_versions else 0
    is_in_outcomes = any(is_held_now(root, subject, words[subject]) for subject in words)
    found = Collected(version, changed, drawn, n_erased, older, n_dropped, is_in_outcomes, report)
    show(found, as_json, _described(found, erase))
    return version


def _described(found: Collected, erase: Sequence[str]) -> str:
    dropped = found.report["dropped"]
    assert isinstance(dropped, dict)
    lines = [
        f"Feedback {found.version} ({'new' if found.changed else 'unchanged'}): {found.drawn.n_rows} rows of the "
        f"ledger, {found.report['n_examples']:g} examples, {found.report['n_labels']:g} labels.",
        *(f"  left out: {n} ({reason})" for reason, n in sorted(dropped.items(), key=lambda item: -item[1])),
        *(f"  personal data taken out: {n} ({kind})" for kind, n in sorted(found.drawn.removed.items())),
    ]
    if erase:
        lines += [f"Erased the texts of {found.n_erased} requests.", *_older(found, erase), *_elsewhere(found)]
    return "\n".join(lines)


def _older(found: Collected, erase: Sequence[str]) -> list[str]:
    """Where it still lies, and the command that drops it."""
    if not found.older:
        return ["No older version in DVC's cache holds them."]
    if found.n_files_dropped:
        n = len(found.older)
        return [f"Dropped {found.n_files_dropped} files of {n} older version(s) from DVC's cache."]
    commits = [
        f"  {version.commit[:12]} of {version.committed_at}" if version.commit else "  a run that made no commit"
        for version in found.older[:SHOWN]
    ]
    subjects = " ".join(f"--erase {subject}" for subject in erase)
    return [
        f"{len(found.older)} older version(s) in DVC's cache still hold them:",
        *commits,
        f"Drop those files with `palier collect-feedback {subjects} --drop-versions`.",
    ]


def _elsewhere(found: Collected) -> list[str]:
    """What this command does not change, and who does."""
    outcomes = "The present labels in data/outcomes still hold them: run the train_models DAG, then erase once more."
    return [*([outcomes] if found.is_in_outcomes else []), *_OUT_OF_REACH]


_OUT_OF_REACH = (
    "Not looked at, since it lies elsewhere:",
    "  what was pushed to a DVC remote: `dvc gc --workspace --cloud`; backups and other clones",
    "  Postgres' old pages, until VACUUM; answers in the gateway's memory, until `palier services down`",
    "  models that learned from them (DVC's cache, MLflow, releases): train again, then delete the old ones",
)
