"""Train the small models on the current corpus and record what every rung of the ladder answers.

What people said of answers is collected from the ledger first, without personal data and erased texts. Then
`train-reader`, `train-writer`, `record-outcomes`, `train-scorer`, each a DVC stage that is skipped when nothing it
depends on changed, and each resumable: reader and writer from their last checkpoint, outcomes from the answers
remembered so far. Runs weekly, for what was said of answers meanwhile, and when an index was built or drift was found.
Fires the models asset, which names the corpus revision and the version of the feedback that was learned from.
"""

from datetime import timedelta
from typing import Any

from airflow.sdk import AssetOrTimeSchedule, CronTriggerTimetable, dag, task
from loop import DEFAULT_ARGS, DRIFT, INDEX, MODELS, check_revision, reproduce_stage, workspace


@dag(
    schedule=AssetOrTimeSchedule(
        timetable=CronTriggerTimetable("0 4 * * 1", timezone="UTC"),
        assets=(INDEX | DRIFT),
    ),
    catchup=False,  # and no start date: the first run is the next one on the clock, not the last one missed
    max_active_runs=1,
    dagrun_timeout=timedelta(hours=6),
    default_args=DEFAULT_ARGS,
    doc_md=__doc__,
    tags=["palier"],
)
def train_models() -> None:
    @task
    def collect_feedback() -> str:
        from palier.commands.stages import collect_feedback as command

        return command(workspace=workspace())

    @task
    def train_reader() -> bool:
        return reproduce_stage("train-reader")

    @task
    def train_writer() -> bool:
        return reproduce_stage("train-writer")

    @task
    def record_outcomes() -> bool:
        return reproduce_stage("record-outcomes")

    @task(outlets=[MODELS])
    def train_scorer(feedback: str, *, outlet_events: Any, triggering_asset_events: Any) -> str:
        reproduce_stage("train-scorer")
        revision = check_revision(triggering_asset_events)
        outlet_events[MODELS].extra = {"revision": revision, "feedback": feedback}
        return revision

    feedback = collect_feedback()
    feedback >> train_reader() >> train_writer() >> record_outcomes() >> train_scorer(feedback)


train_models()
