"""Compare the questions and scores of the last days with those that the models were trained on.

An Evidently report over the ledger: question length, language, score, share of "I don't know". The alarm is corrected
for the number of columns: many tests at 5 % each alarm constantly. Fires the drift asset only when drift was found.
"""

from datetime import timedelta
from typing import Any

from airflow.sdk import CronTriggerTimetable, dag, task
from loop import DEFAULT_ARGS, DRIFT, current_revision, workspace


@dag(
    schedule=CronTriggerTimetable("30 2 * * *", timezone="UTC"),
    catchup=False,  # and no start date: the first run is the next one on the clock, not the last one missed
    max_active_runs=1,
    dagrun_timeout=timedelta(hours=1),
    default_args=DEFAULT_ARGS,
    doc_md=__doc__,
    tags=["palier"],
)
def check_drift() -> None:
    @task(outlets=[DRIFT])
    def compare(*, outlet_events: Any) -> str:
        from airflow.sdk.exceptions import AirflowSkipException

        from palier.commands.stages import check_drift as command

        found = command(workspace=workspace())
        if not found:
            raise AirflowSkipException("No drift: nothing downstream has a reason to run.")
        outlet_events[DRIFT].extra = {"revision": current_revision()}
        return ", ".join(found)

    compare()


check_drift()
