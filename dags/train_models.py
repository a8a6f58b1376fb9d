"""Train the small models on the current corpus and record what every rung of the ladder answers.

`train-reader`, `record-outcomes`, `train-scorer`, each a DVC stage that is skipped when nothing it depends on changed,
and each resumable: the reader from its last checkpoint, outcomes from the answers remembered so far. Starts when an
index was built or when drift was found. Fires the models asset.
"""

from datetime import timedelta
from typing import Any

from airflow.sdk import dag, task
from loop import DEFAULT_ARGS, DRIFT, INDEX, MODELS, check_revision, reproduce_stage


@dag(
    schedule=(INDEX | DRIFT),
    catchup=False,
    max_active_runs=1,
    dagrun_timeout=timedelta(hours=6),
    default_args=DEFAULT_ARGS,
    doc_md=__doc__,
    tags=["palier"],
)
def train_models() -> None:
    @task
    def train_reader() -> bool:
        return reproduce_stage("train-reader")

    @task
    def record_outcomes() -> bool:
        return reproduce_stage("record-outcomes")

    @task(outlets=[MODELS])
    def train_scorer(*, outlet_events: Any, triggering_asset_events: Any) -> str:
        reproduce_stage("train-scorer")
        revision = check_revision(triggering_asset_events)
        outlet_events[MODELS].extra = {"revision": revision}
        return revision

    train_reader() >> record_outcomes() >> train_scorer()


train_models()
