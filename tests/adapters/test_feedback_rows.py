"""From a real ledger into a workspace: no personal data passes; an erasure reaches the next version, and the old."""

import json
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from palier.adapters.feedback_rows import draw_feedback, read_examples, read_judged, read_labels
from palier.adapters.feedback_versions import drop, versions_holding
from palier.adapters.records import Records
from palier.adapters.versioning import commit, init_workspace, snapshot
from palier.adapters.workspace import Workspace, write_json, write_jsonl
from palier.domain.documents import Passage
from palier.domain.ledger import LedgerRow
from palier.errors import NotReadyError
from palier.params import Params, load_params
from palier.settings import repository_root
from palier.stages import collect_feedback

NOW = datetime(2026, 5, 1, 12, tzinfo=UTC)
TEXT = "The shop in Leeds closes at 18:30 on Mondays. Its telephone is 01 42 68 53 00."
HEAVY = {
    "kind": "heavy",
    "provider": "openai",
    "model": "large",
    "passages": 2,
    "max_new_tokens": 50,
    "price": {"input_usd_per_million": 1.0, "output_usd_per_million": 2.0, "date": "2026-01-01"},
}


@pytest.fixture
def records(tmp_path: Path) -> Records:
    return Records(f"sqlite:///{tmp_path / 'records.db'}")


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    """One document without golden questions."""
    place = Workspace(tmp_path / "ws")
    passage = Passage("p1", "en/leeds", "en", "Leeds", "", TEXT, 1, 1)
    write_jsonl(place.corpus / "passages.jsonl", [asdict(passage)])
    write_jsonl(place.corpus / "golden.jsonl", [])
    write_json(place.corpus / "manifest.json", {"revision": "r1"})
    return place


def params(**changes: Any) -> Params:
    """The repository's, with a heavy rung, all documents for training, and ``changes`` of the section."""
    found = load_params(repository_root() / "params.yaml").model_dump(mode="json")
    found["ladder"]["rungs"]["heavy"] = HEAVY
    found["collect_feedback"] |= {"validation_percent": 0} | changes
    return Params.model_validate_json(json.dumps(found))


def asked(records: Records, number: int, question: str, **changes: Any) -> str:
    row = LedgerRow(
        request_id=f"req-{number}",
        created_at=NOW + timedelta(minutes=number),
        key_id="key-1",
        release_id="r-1",
        rollout_id=None,
        arm="champion",
        language="en",
        question=question,
        answer="18:30",
        rung="reader",
        score=0.9,
        abstained=False,
        citations=[{"document_id": "en/leeds", "passage_id": "p1", "quote": TEXT}],
    )
    values = asdict(row) | changes
    records.append_request(LedgerRow(**values))
    return row.request_id


def draw(records: Records, workspace: Workspace, days: int = 1, **changes: Any) -> Any:
    return draw_feedback(records, workspace, params(**changes), NOW + timedelta(days=days))


def test_judged_answers_are_drawn_once_with_the_last_word_of_each_key(records: Records, workspace: Workspace) -> None:
    """A rating and a correction of one key are one row; another key's word is another; unjudged answers are none."""
    first = asked(records, 1, "When does Leeds close?")
    asked(records, 2, "Nobody judged this?")
    records.add_feedback(first, "key-1", -1, None, None, NOW)
    records.add_feedback(first, "key-1", 1, None, "a comment", NOW + timedelta(minutes=1))
    records.add_feedback(first, "key-1", None, "18:30 on Mondays", None, NOW + timedelta(minutes=2))
    records.add_feedback(first, "key-2", -1, None, None, NOW)
    assert draw(records, workspace).n_rows == 2
    rows = read_judged(workspace)
    said = sorted((row.key_id, row.rating, row.correction) for row in rows)
    assert said == [("key-1", 1, "18:30 on Mondays"), ("key-2", -1, None)]
    assert rows[0].cited == (("en/leeds", "p1"),)


def test_no_personal_data_reaches_the_file_but_what_the_documents_say(records: Records, workspace: Workspace) -> None:
    """Of question, answer and correction; comments are not drawn at all."""
    number = asked(records, 1, "I am a@b.fr, +33 6 12 34 56 78: is Leeds at 01 42 68 53 00 open?", answer="Ask a@b.fr")
    records.add_feedback(number, "key-1", 1, "Card 4111 1111 1111 1111", "I live at 12 rue de la Paix", NOW)
    assert draw(records, workspace).removed == {"e-mail": 2, "phone": 1, "card": 1}
    text = (workspace.drawn_feedback / "rows.jsonl").read_text(encoding="utf-8")
    for secret in ("a@b.fr", "+33", "4111", "rue de la Paix"):
        assert secret not in text
    assert "01 42 68 53 00" in text


def test_heavy_answers_are_drawn_without_being_judged(records: Records, workspace: Workspace) -> None:
    """Those of rungs that the ladder calls heavy, up to so many; a judged one is not drawn twice."""
    for number in range(4):
        asked(records, number, f"When does Leeds close, part {number}?", rung="heavy")
    asked(records, 9, "And of a cheap rung?")
    records.add_feedback("req-0", "key-1", 1, None, None, NOW)
    draw(records, workspace)
    assert [(row.request_id, row.is_heavy, row.rating) for row in read_judged(workspace)] == [
        ("req-0", True, 1), ("req-1", True, None), ("req-2", True, None), ("req-3", True, None)
    ]  # fmt: skip
    assert draw(records, workspace, heavy_rows=2).n_rows == 3
    assert draw(records, workspace, heavy_rows=0).n_rows == 1


def test_what_is_old_or_in_another_language_is_not_drawn(records: Records, workspace: Workspace) -> None:
    """The window counts from now; texts past their time are blanked in the ledger itself."""
    asked(records, 1, "When does Leeds close?")
    asked(records, 2, "Wann schließt Leeds?", language="de")
    for number in (1, 2):
        records.add_feedback(f"req-{number}", "key-1", 1, None, None, NOW)
    assert draw(records, workspace).n_rows == 1
    assert draw(records, workspace, days=400).n_rows == 0
    assert draw(records, workspace, days=40, keep_text_days=30).n_forgotten == 2
    assert draw(records, workspace).n_rows == 0


def test_the_set_is_made_of_what_was_drawn_and_the_same_again(records: Records, workspace: Workspace) -> None:
    """Examples and labels that training reads, a report with the reasons, the same bytes each time."""
    asked(records, 1, "When does Leeds close?")
    asked(records, 2, "At what o'clock is Leeds shut?")
    records.add_feedback("req-1", "key-1", 1, None, None, NOW)
    records.add_feedback("req-2", "key-1", None, "19:30", None, NOW)
    with pytest.raises(NotReadyError, match="collect-feedback"):
        collect_feedback.run(params(), workspace.root)
    assert (read_examples(workspace), read_labels(workspace)) == ([], [])
    draw(records, workspace)
    result = collect_feedback.run(params(), workspace.root)
    assert (result.n_rows, result.n_examples, dict(result.dropped)) == (2, 1, {"in no current passage": 1})
    (example,) = read_examples(workspace)
    assert (example.answers, example.split, example.source) == (("18:30",), "train", "thumb")
    assert [label.quality for label in read_labels(workspace)] == [0.8]
    before = {path.name: path.read_bytes() for path in workspace.feedback.iterdir()}
    assert collect_feedback.run(params(), workspace.root).version == result.version
    assert {path.name: path.read_bytes() for path in workspace.feedback.iterdir()} == before
    assert json.loads(before["report.json"])["corpus_revision"] == "r1"
    assert b"key-1" not in before["examples.jsonl"] + before["labels.jsonl"]
    assert b"req-1" not in before["examples.jsonl"] + before["labels.jsonl"]


def test_an_erasure_leaves_the_next_version_and_names_the_older_ones(records: Records, tmp_path: Path) -> None:
    """Real git and DVC: the older version that holds the key is found by its commit, and dropped from the cache."""
    root = tmp_path / "versions"
    init_workspace(root, repository_root())
    workspace = Workspace(root)
    asked(records, 1, "When does Leeds close?")
    asked(records, 2, "When does Leeds open?", key_id="key-2")
    for number in (1, 2):
        records.add_feedback(f"req-{number}", f"key-{number}", 1, None, None, NOW)
    draw(records, workspace)
    snapshot(root, ["feedback"])
    old = commit(root, "Collect feedback")
    assert versions_holding(root, "key-1") == []  # only the present one does
    records.erase("key-1", NOW + timedelta(hours=1))
    draw(records, workspace)
    snapshot(root, ["feedback"])
    commit(root, "Collect feedback again")
    assert [row.key_id for row in read_judged(workspace)] == ["key-2"]
    for subject in ("key-1", "req-1"):
        (version,) = versions_holding(root, subject)
        assert version.commit == old
        (held,) = version.files
        assert b"key-1" in held.read_bytes()
    assert versions_holding(root, "key-3") == []
    assert drop([version]) == 1
    assert versions_holding(root, "key-1") == []
    assert not any(b"key-1" in path.read_bytes() for path in (root / ".dvc" / "cache").rglob("*") if path.is_file())
