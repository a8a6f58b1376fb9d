"""`palier demo-rollback`: plant a worse release, let users ask, and watch the gateway take it back by itself."""

import tempfile
from pathlib import Path

import typer

from palier.adapters import release_commands
from palier.adapters.bundle_store import install_bundle
from palier.adapters.planted_fault import plant_worse_reader
from palier.adapters.records import Records
from palier.adapters.release_commands import Candidate, Order
from palier.commands.context import WorkspaceOption, open_context, utc_now
from palier.commands.tour import replay_until_decided, say, wait_until_ready
from palier.domain.rollout import ReleaseRef
from palier.errors import NotReadyError

app = typer.Typer()


@app.command("demo-rollback")
def demo_rollback(workspace: WorkspaceOption = None) -> None:
    """Start a rollout of the champion with its reader turned wrong; nothing but live evidence tells that."""
    context = open_context(workspace)
    records = Records(context.settings.database_url)
    champion = records.active().champion
    if champion is None:
        raise NotReadyError("No champion yet: `make run` first.")
    wait_until_ready(context.settings)
    with tempfile.TemporaryDirectory() as folder:
        worse = Path(folder) / "bundle"
        plant_worse_reader(Path(champion.bundle_path), worse)
        installed, manifest = install_bundle(worse, context.settings.state_dir / "releases")
    ref = ReleaseRef(manifest.release_id, str(installed), manifest.corpus_revision, utc_now())
    evaluation = {name: interval.model_dump() for name, interval in manifest.evaluation.items()}
    order = Order("demo-rollback", "a worse reader, planted on purpose", utc_now())
    gate, rules = context.params.evaluate_release, context.params.rollout
    started = release_commands.start(records, Candidate(ref, evaluation), gate, rules, order)
    say(started.message)
    replay_until_decided(context.settings)
    print(release_commands.explain(records, started.rollout_id))
