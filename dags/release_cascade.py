"""Choose the cascade, measure it, report on every model, package a release, and start its way to the users.

When models were trained, weekly at least. Not by a clock of its own, which may strike while they are being trained,
when they and what is known of their answers do not belong together. The first release is founded by the offline gate
alone; every later one starts a rollout, which the gateway judges on live traffic and ends by itself. A release that is
champion already, or whose rollout is running, is left as it is. Fires the release asset.
"""

from datetime import timedelta
from typing import Any

from airflow.sdk import dag, task
from loop import DEFAULT_ARGS, MODELS, RELEASE, check_revision, reproduce_stage, workspace


@dag(
    schedule=[MODELS],
    catchup=False,
    max_active_runs=1,
    dagrun_timeout=timedelta(hours=3),
    default_args=DEFAULT_ARGS,
    doc_md=__doc__,
    tags=["palier"],
)
def release_cascade() -> None:
    @task
    def tune_and_evaluate() -> None:
        reproduce_stage("tune-cascade")
        reproduce_stage("evaluate-release")

    @task
    def evaluate_models() -> None:
        reproduce_stage("evaluate-models")

    @task(outlets=[RELEASE])
    def package_and_start(*, outlet_events: Any, triggering_asset_events: Any) -> str:
        from palier.commands.releases import start_packaged

        reproduce_stage("package-release")
        release_id = start_packaged(workspace(), actor="airflow:release_cascade")
        outlet_events[RELEASE].extra = {
            "revision": check_revision(triggering_asset_events),
            "release_id": release_id,
        }
        return release_id

    tune_and_evaluate() >> evaluate_models() >> package_and_start()


release_cascade()
