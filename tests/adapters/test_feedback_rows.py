"""From a real ledger into a workspace: no personal data passes; an erasure reaches the next version, and the old."""

import json
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from palier.adapters.feedback_labels import write_labels
from palier.adapters.feedback_rows import draw_feedback, read_examples, read_judged, read_labels
from palier.adapters.feedback_versions import drop, versions_holding
from palier.adapters.records import Records
from palier.adapters.versioning import commit, init_workspace, run_dvc, snapshot
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


SECRET = "When does my neighbour the baker in Leeds close?"
PIPELINE = """
stages:
  collect-feedback:
    cmd: "true"
    outs: [data/feedback/examples.jsonl, data/feedback/labels.jsonl, data/feedback/report.json]
  record-outcomes:
    cmd: "true"
    outs: [data/outcomes]
"""
"""The two stages that write users' words; the tests run them here, and `dvc commit` takes what they wrote."""


@pytest.fixture
def records(tmp_path: Path) -> Records:
    return Records(f"sqlite:///{tmp_path / 'records.db'}")


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    """One document without golden questions."""
    place = Workspace(tmp_path / "ws")
    write_corpus(place)
    return place


def write_corpus(place: Workspace) -> None:
    passage = Passage("p1", "en/leeds", "en", "Leeds", "", TEXT, 1, 1)
    write_jsonl(place.corpus / "passages.jsonl", [asdict(passage)])
    write_jsonl(place.corpus / "golden.jsonl", [])
    write_json(place.corpus / "manifest.json", {"revision": "r1"})


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


def test_a_row_names_the_key_that_asked_beside_the_one_that_judged(records: Records, workspace: Workspace) -> None:
    """An admin may judge another's answer; rows of before, without it, are still read."""
    records.add_feedback(asked(records, 1, "When does Leeds close?"), "key-admin", 1, None, None, NOW)
    draw(records, workspace)
    (row,) = read_judged(workspace)
    assert (row.asked_by, row.key_id) == ("key-1", "key-admin")
    write_jsonl(workspace.drawn_feedback / "rows.jsonl", [row.model_dump(mode="json", exclude={"asked_by"})])
    assert read_judged(workspace) == [row.model_copy(update={"asked_by": None})]


def test_the_ledger_knows_what_was_asked_and_said_by_an_erased_key(records: Records) -> None:
    """Its requests, others' words on them, and its own words on others'; of a request all that was said of it."""
    asked(records, 1, "When does Leeds close?")
    asked(records, 2, "When does Leeds open?", key_id="key-2")
    asked(records, 3, "Has Leeds a car park?", key_id="key-3")
    for number, key_id in ((1, "key-admin"), (2, "key-1"), (3, "key-3")):
        records.add_feedback(f"req-{number}", key_id, 1, None, None, NOW)
    records.erase("key-1", NOW + timedelta(hours=1))
    assert records.words_of("key-1") == {("req-1", "key-1"), ("req-1", "key-admin"), ("req-2", "key-1")}
    assert records.words_of("req-2") == {("req-2", "key-2"), ("req-2", "key-1")}


def test_separators_of_lines_within_a_text_are_no_line_ends(records: Records, workspace: Workspace) -> None:
    """U+2028, U+2029 and U+0085 stand raw in JSON: in a question, in a document."""
    question = "When\u2028does\u2029Leeds\u0085close?"
    passage = Passage("p1", "en/leeds", "en", "Leeds", "", f"Opening hours:\u2028{TEXT}", 1, 1)
    write_jsonl(workspace.corpus / "passages.jsonl", [asdict(passage)])
    records.add_feedback(asked(records, 1, question), "key-1", 1, None, None, NOW)
    draw(records, workspace)
    collect_feedback.run(params(), workspace.root)
    assert [example.question for example in read_examples(workspace)] == [question]
    assert [label.question for label in read_labels(workspace)] == [question]


def test_a_cached_answer_is_drawn_under_the_rung_that_gave_it_first(records: Records, workspace: Workspace) -> None:
    """As its ledger row tells since the gateway keeps it; of rows of before the rung is not known, and is counted."""
    again = {"rung": "cache", "score": 0.9, "cost_nanousd": 0, "latency_ms": 0.0, "accepted": True}
    asked(records, 1, "When does Leeds close?", rung="cache", attempts=[again | {"first_rung": "reader"}])
    asked(records, 2, "At what o'clock is Leeds shut?", rung="cache", attempts=[again])
    for number in (1, 2):
        records.add_feedback(f"req-{number}", "key-1", 1, None, None, NOW)
    draw(records, workspace)
    assert [row.rung for row in read_judged(workspace)] == ["reader", "cache"]
    result = collect_feedback.run(params(), workspace.root)
    assert [label.rung for label in read_labels(workspace)] == ["reader"]
    assert result.dropped == {"label of a cached answer whose rung is not known": 1}
    assert result.n_examples == 2


def test_what_ended_in_an_error_is_not_drawn(records: Records, workspace: Workspace) -> None:
    """Nobody was given that answer, whatever they think of it."""
    asked(records, 1, "When does Leeds close?", error="deadline")
    records.add_feedback("req-1", "key-1", 1, "18:30", None, NOW)
    assert draw(records, workspace).n_rows == 0


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


@pytest.fixture
def versions(tmp_path: Path) -> Workspace:
    """Real git and DVC, with the two stages that write users' words; one document without golden questions."""
    root = tmp_path / "versions"
    init_workspace(root, repository_root())
    place = Workspace(root)
    (root / "dvc.yaml").write_text(PIPELINE, encoding="utf-8")
    write_corpus(place)
    return place


def collect(records: Records, workspace: Workspace, *, records_outcomes: bool = True, commits: bool = True) -> None:
    """As the command does, or as one that dies before its commit; outcomes are the labels' questions alone."""
    draw(records, workspace)
    collect_feedback.run(params(), workspace.root)
    if records_outcomes:
        workspace.outcomes.mkdir(parents=True, exist_ok=True)
        write_json(workspace.outcomes / "rungs.json", {})
        rows = [{"query_id": label.id, "query": label.question} for label in read_labels(workspace)]
        write_labels(workspace.outcomes, pd.DataFrame(rows))
    snapshot(workspace.root, ["feedback"])
    run_dvc(["commit", "--force"], workspace.root)
    if commits:
        commit(workspace.root, "Collect feedback")


def in_cache(workspace: Workspace, text: str) -> list[Path]:
    """Files of DVC's cache in which ``text`` stands; these tables are not compressed."""
    files = [path for path in (workspace.root / ".dvc" / "cache" / "files").rglob("*") if path.is_file()]
    return [path for path in files if text.encode() in path.read_bytes()]


def empty_in_cache(workspace: Workspace) -> list[Path]:
    files = (workspace.root / ".dvc" / "cache" / "files").rglob("*")
    return [path for path in files if path.is_file() and not path.read_bytes()]


def test_dropping_reaches_the_labels_of_outcomes_and_nothing_that_others_share(
    records: Records, versions: Workspace
) -> None:
    """The table lies in a folder, which DVC lists; an empty set of examples is one file of many versions, and stays."""
    collect(records, versions)
    n_empty = len(empty_in_cache(versions))
    asked(records, 1, SECRET)
    records.add_feedback("req-1", "key-1", -1, None, None, NOW)
    collect(records, versions)
    assert len(in_cache(versions, SECRET)) == 3  # rows, labels, outcomes; no example: its file is the empty one
    asked(records, 2, "When does Leeds close?", key_id="key-2")
    for number in (1, 2):
        records.add_feedback(f"req-{number}", f"key-{number}", 1, None, None, NOW)
    collect(records, versions)
    assert len(in_cache(versions, SECRET)) == 7
    records.erase("key-1", NOW + timedelta(hours=1))
    collect(records, versions)
    found = versions_holding(versions.root, "key-1")
    assert (len(found), drop(found)) == (2, 7)
    assert in_cache(versions, SECRET) == []
    assert len(in_cache(versions, "When does Leeds close?")) == 4
    assert len(empty_in_cache(versions)) == n_empty == 1


def test_outcomes_that_lag_behind_an_erasure_are_found_once_they_are_replaced(
    records: Records, versions: Workspace
) -> None:
    """The version after the erasure has clean rows, and still the labels of before; then their rows are dropped, and
    the ledger knows what they were about."""
    asked(records, 1, SECRET)
    records.add_feedback("req-1", "key-1", 1, None, None, NOW)
    collect(records, versions)
    records.erase("key-1", NOW + timedelta(hours=1))
    collect(records, versions, records_outcomes=False)
    drop(versions_holding(versions.root, "key-1"))
    assert len(in_cache(versions, SECRET)) == 1  # of the present version
    collect(records, versions)
    assert drop(versions_holding(versions.root, "key-1", records.words_of("key-1"))) == 1
    assert in_cache(versions, SECRET) == []


def test_an_erasure_finds_what_another_key_judged_and_what_no_commit_names(
    records: Records, versions: Workspace
) -> None:
    """An admin judged key-1's answer; a run died between its snapshot and its commit."""
    asked(records, 1, SECRET)
    records.add_feedback("req-1", "key-admin", 1, None, None, NOW)
    collect(records, versions)
    records.add_feedback("req-1", "key-admin", None, "closes at 18:30", None, NOW + timedelta(minutes=1))
    collect(records, versions, commits=False)
    records.erase("key-1", NOW + timedelta(hours=1))
    collect(records, versions)
    found = versions_holding(versions.root, "key-1")
    assert [bool(version.commit) for version in found] == [True, False]
    assert [version.commit for version in versions_holding(versions.root, "key-admin")] == [found[0].commit, ""]
    drop(found)
    assert in_cache(versions, SECRET) == []
    assert versions_holding(versions.root, "key-1") == []
