"""Build the search index of a corpus revision and swap the alias to it.

The encoder is exported or tuned first (a DVC stage), then one new index is filled, examined by the gate (counts,
probes, golden questions against the live index) and put behind the alias in one atomic action. One that is complete
already is only examined, and one that is live is left as it is. An index that is refused, or overtaken by a run that
began later, fails the task and changes nothing. `palier index rollback` is the way back. Fires the index asset.
"""

from datetime import timedelta
from typing import Any

from airflow.sdk import dag, task
from loop import CORPUS, DEFAULT_ARGS, INDEX, check_revision, reproduce_stage, workspace


@dag(
    schedule=[CORPUS],
    catchup=False,
    max_active_runs=1,
    dagrun_timeout=timedelta(hours=3),
    default_args=DEFAULT_ARGS,
    doc_md=__doc__,
    tags=["palier"],
)
def rebuild_indexes() -> None:
    @task
    def train_encoder() -> bool:
        return reproduce_stage("train-encoder")

    @task(outlets=[INDEX])
    def build_index(*, outlet_events: Any, triggering_asset_events: Any) -> str:
        from palier.commands.stages import build_index as command

        revision = check_revision(triggering_asset_events)
        command(workspace=workspace())
        outlet_events[INDEX].extra = {"revision": revision}
        return revision

    train_encoder() >> build_index()


rebuild_indexes()
