"""What a stage logs reaches MLflow under a name that it takes, and what MLflow refuses is told with a remedy."""

from pathlib import Path

import pytest

from palier.adapters.tracking import Tracker, tracked_name
from palier.errors import TrackingError


@pytest.mark.parametrize(
    ("name", "tracked"),
    [
        ("reader_wide.f1.fr", "reader_wide.f1.fr"),
        ("org/model-7b.f1", "org/model-7b.f1"),
        ("gpt@4 (é).f1", "gpt_4 _é_.f1"),
    ],
)
def test_names_of_rungs_are_the_users_and_are_made_to_fit(name: str, tracked: str) -> None:
    from mlflow.utils.validation import _validate_metric_name

    assert tracked_name(name) == tracked
    _validate_metric_name(tracked_name(name))


def test_what_fails_while_a_stage_logs_is_told_like_a_server_that_is_away(tmp_path: Path) -> None:
    with (
        pytest.raises(TrackingError, match="services up mlflow"),
        Tracker(f"file:{tmp_path}").stage("s", "r", {}) as log,
    ):
        log.client.log_metric("no such run", "f1", 0.5)
