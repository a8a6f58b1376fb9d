"""`palier ask --file`: many questions through a running gateway, and their cost to the nano-dollar."""

import json
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from running_gateway import Running

from palier.commands.questions import _ask_file
from palier.settings import Settings

QUESTIONS = [
    {"id": "price", "question": "How much is the large margherita?"},
    {"id": "hours", "question": "When is the Canal Street restaurant open on Sunday?"},
    {"id": "delivery", "question": "How much does delivery cost below 25 euros?"},
]


@pytest.mark.parametrize("batch", [1, 2])
def test_every_question_has_an_answer_in_order_and_the_costs_add_up_to_the_ledger(
    gateway: Running, tmp_path: Path, capsys: pytest.CaptureFixture[str], batch: int
) -> None:
    """Rungs that quote do not number their answers: what was asked together is asked again alone, and both are paid."""
    file = tmp_path / "questions.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in QUESTIONS), encoding="utf-8")
    port = urlsplit(gateway.url).port
    assert port is not None
    settings = Settings(
        state_dir=gateway.folder,
        records_url=f"sqlite:///{gateway.folder / 'records.db'}",
        gateway_port=port,
        api_key=gateway.key,
    )
    before = set(gateway.rows())
    _ask_file(settings, file, "palier", batch)
    told = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [row["id"] for row in told] == ["price", "hours", "delivery"]
    assert "11.50" in told[0]["answer"]
    assert "22:30" in told[1]["answer"]
    rows = [row for key, row in gateway.rows().items() if key not in before]
    assert len(rows) == (3 if batch == 1 else 4)
    assert sum(row["cost_nanousd"] for row in told) == sum(row.cost_nanousd for row in rows) > 0
