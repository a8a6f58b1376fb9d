"""Commands on this machine: what they read, what they leave, and what they say when something is not there."""

import json
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from palier.adapters.records import Records
from palier.commands.questions import _ask_file, local_key, trace
from palier.commands.services import specs
from palier.commands.tour import wait_until_ready
from palier.commands.workspaces import _findings
from palier.domain.ledger import LedgerRow
from palier.errors import InputError, ServiceError
from palier.settings import Settings

NOW = datetime(2026, 1, 1, tzinfo=UTC)
NOBODY = 9
"""The discard port: nothing listens."""


def test_a_trace_needs_no_index_and_names_the_file_as_it_is_called(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The lines stand in the ledger; a PDF is no Markdown file, nor is a folder that bears its name."""
    for name in ("menu", "menu.d"):
        (tmp_path / "documents" / "fr" / name).mkdir(parents=True)
    (tmp_path / "documents" / "fr" / "menu.pdf").touch()
    for name, value in {
        "PALIER_WORKSPACE": str(tmp_path),
        "PALIER_RECORDS_URL": f"sqlite:///{tmp_path / 'records.db'}",
        "ELASTICSEARCH_URL": f"http://127.0.0.1:{NOBODY}",
    }.items():
        monkeypatch.setenv(name, value)
    records = Records(Settings().database_url)
    asked = LedgerRow("req-1", NOW, "key-1", "r-gone", None, "champion", "fr", "Prix ?", "9 €", "reader", 0.9, False)
    records.append_request(replace(asked, index="passages-a-b", citations=[cited("fr/menu"), cited("fr/horaires")]))
    records.close()
    trace("req-1", as_json=True)
    sources = json.loads(capsys.readouterr().out)["sources"]
    assert [source["file"] for source in sources] == ["documents/fr/menu.pdf", "documents/fr/horaires.md"]
    assert [(source["start_line"], source["end_line"]) for source in sources] == [(3, 5), (3, 5)]


def cited(document_id: str) -> dict[str, Any]:
    return {
        "document_id": document_id,
        "revision": "a" * 12,
        "passage_id": f"{document_id}#1",
        "quote": "Une pizza coûte 9 €.",
        "start_line": 3,
        "end_line": 5,
    }


def test_the_key_of_this_machine_is_kept_where_no_folder_was(tmp_path: Path) -> None:
    settings = Settings(state_dir=tmp_path / "state", records_url=f"sqlite:///{tmp_path / 'records.db'}")
    assert local_key(settings) == local_key(settings)
    assert (tmp_path / "state" / "local-api-key").stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("text", [None, "{", '["question"]', "\xff"])
def test_a_file_of_questions_that_is_none_is_named(tmp_path: Path, text: str | None) -> None:
    file = tmp_path / "questions.jsonl"
    if text is not None:
        file.write_bytes(text.encode("latin-1"))
    with pytest.raises(InputError, match=r"questions\.jsonl"):
        _ask_file(Settings(state_dir=tmp_path, gateway_port=NOBODY), file, "palier", 1)


def test_a_gateway_that_is_not_there_is_told_at_once(tmp_path: Path) -> None:
    with pytest.raises(ServiceError, match="palier services up"):
        wait_until_ready(Settings(state_dir=tmp_path, gateway_port=NOBODY))


def test_the_doctor_looks_at_the_disk_where_state_will_be_kept(tmp_path: Path) -> None:
    findings = _findings(Settings(state_dir=tmp_path / "not" / "yet" / "there"))
    assert "GB of disk free" in findings[-1]["what"]


def test_an_empty_address_leaves_the_embedded_search_node_in_place(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ELASTICSEARCH_URL", "")
    assert [spec.name for spec in specs(Settings(), ("search",))] == ["search"]
