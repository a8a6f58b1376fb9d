"""Version the documents of the workspace.

The data gate reads every document and golden question, passages are cut, DVC keeps the documents, and the workspace
commits `dvc.lock`. Fires the corpus asset when there is something to do for it: a new revision, or one that no release
rests on yet. Otherwise the run ends here, and nothing downstream is asked to check what did not change.

Runs on request, and daily, for documents that somebody else's job drops into the workspace.
"""

from datetime import timedelta
from typing import Any

from airflow.sdk import CronTriggerTimetable, dag, task
from loop import CORPUS, DEFAULT_ARGS, current_revision, workspace


@dag(
    schedule=CronTriggerTimetable("0 3 * * *", timezone="UTC"),
    catchup=False,  # and no start date: the first run is the next one on the clock, not the last one missed
    max_active_runs=1,
    dagrun_timeout=timedelta(hours=1),
    default_args=DEFAULT_ARGS,
    doc_md=__doc__,
    tags=["palier"],
)
def version_documents() -> None:
    @task(outlets=[CORPUS])
    def version(*, outlet_events: Any) -> str:
        from airflow.sdk.exceptions import AirflowSkipException

        from palier.commands.stages import is_released
        from palier.commands.stages import version_documents as command

        command(workspace=workspace())
        revision = current_revision()
        if is_released(workspace(), revision):
            raise AirflowSkipException(f"A release rests on corpus revision {revision} and these params already.")
        outlet_events[CORPUS].extra = {"revision": revision}
        return revision

    version()


version_documents()
