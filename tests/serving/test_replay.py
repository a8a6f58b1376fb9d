"""What `palier run` says of a rollout while sample questions are replayed is what became of it."""

import json
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from running_gateway import Running

from palier.commands.tour import replay_until_decided
from palier.settings import Settings


def test_a_rollout_that_goes_on_after_the_last_question_is_not_said_to_have_ended(
    empty_gateway: Running, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    gateway = empty_gateway
    gateway.start_release("r-founding")
    gateway.wait_ready("r-founding")
    gateway.start_release("r-second")
    gateway.wait_ready("r-founding", "r-second")
    (tmp_path / "golden").mkdir()
    question = {"question": "Is the Canal Street restaurant open on Sunday?"}
    (tmp_path / "golden" / "en.jsonl").write_text(json.dumps(question), encoding="utf-8")
    settings = Settings(
        workspace=tmp_path,
        state_dir=gateway.folder,
        records_url=f"sqlite:///{gateway.folder / 'records.db'}",
        gateway_port=urlsplit(gateway.url).port or 0,
        api_key=gateway.key,
    )
    replay_until_decided(settings)
    assert gateway.records.active().rollout is not None
    told = capsys.readouterr().out
    assert "ended" not in told
    assert "palier release status" in told
