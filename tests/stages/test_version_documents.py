"""The data gate tells all findings at once, and what passes it is written whole and the same each time."""

import json
from pathlib import Path
from typing import Any

import pytest

from palier.errors import DataGateError
from palier.params import Params, load_params
from palier.settings import repository_root
from palier.stages.version_documents import run

DOCUMENT = "# Page {i}\n\nPizza number {i} costs {i}.50 on Mondays.\n"


def params(**limits: Any) -> Params:
    loaded = load_params(repository_root() / "params.yaml")
    limits = {"min_golden_questions": 0, **limits}
    return loaded.model_copy(update={"version_documents": loaded.version_documents.model_copy(update=limits)})


def golden_row(i: int, **changes: Any) -> dict[str, Any]:
    return {
        "id": f"en-{i}",
        "lang": "en",
        "question": f"What does pizza number {i} cost?",
        "answers": [f"{i}.50"],
        "document_id": f"en/page-{i}",
        "quote": f"Pizza number {i} costs {i}.50 on Mondays.",
        "answerable": True,
        "kind": "fact",
        "split": "train",
    } | changes


def write_golden(workspace: Path, rows: list[dict[str, Any]]) -> None:
    (workspace / "golden").mkdir(exist_ok=True)
    text = "".join(json.dumps(row) + "\n" for row in rows)
    (workspace / "golden" / "en.jsonl").write_text(text, encoding="utf-8")


@pytest.fixture
def workspace(tmp_path: Path) -> Path:
    (tmp_path / "documents" / "en").mkdir(parents=True)
    for i in range(10):
        (tmp_path / "documents" / "en" / f"page-{i}.md").write_text(DOCUMENT.format(i=i), encoding="utf-8")
    write_golden(tmp_path, [golden_row(i) for i in range(10)])
    return tmp_path


def corpus_bytes(workspace: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in (workspace / "data" / "corpus").iterdir()}


def test_the_corpus_holds_documents_passages_and_golden_questions_with_their_passages(workspace: Path):
    result = run(params(), workspace)
    assert (result.n_documents, result.n_passages, result.n_golden) == (10, 10, 10)
    passages = {json.loads(line)["passage_id"] for line in corpus_bytes(workspace)["passages.jsonl"].splitlines()}
    golden = [json.loads(line) for line in corpus_bytes(workspace)["golden.jsonl"].splitlines()]
    assert all(len(row["passage_ids"]) == 1 and row["passage_ids"][0] in passages for row in golden)
    assert json.loads(corpus_bytes(workspace)["manifest.json"])["revision"] == result.revision


def test_the_same_documents_give_the_same_bytes_and_any_change_another_revision(workspace: Path):
    first, before = run(params(), workspace), corpus_bytes(workspace)
    assert run(params(), workspace) == first
    assert corpus_bytes(workspace) == before
    (workspace / "documents/en/page-3.md").write_text("# Page 3\n\nClosed.\n", encoding="utf-8")
    assert run(params(), workspace).revision != first.revision


def test_a_golden_question_whose_quote_left_the_document_is_stale_not_wrong(workspace: Path):
    (workspace / "documents/en/page-3.md").write_text("# Page 3\n\nPizza 3 is gone.\n", encoding="utf-8")
    result = run(params(), workspace)
    assert result.stale == ("en-3",)
    assert result.n_golden == 9
    assert any("en-3" in warning for warning in result.warnings)


def test_too_many_stale_questions_are_refused(workspace: Path):
    for i in range(3):
        (workspace / f"documents/en/page-{i}.md").write_text(f"# Page {i}\n\nGone.\n", encoding="utf-8")
    with pytest.raises(DataGateError, match="3 of 10 quote"):
        run(params(), workspace)


def test_few_bad_documents_are_left_out_and_told(workspace: Path):
    (workspace / "documents/en/bad.md").write_bytes(b"caf\xe9")
    result = run(params(max_bad_share=0.2), workspace)
    assert [item.path for item in result.rejected] == ["en/bad.md"]
    manifest = json.loads(corpus_bytes(workspace)["manifest.json"])
    assert manifest["rejected"][0]["path"] == "en/bad.md"


def test_the_gate_tells_every_finding_at_once_and_leaves_the_old_corpus(workspace: Path):
    run(params(), workspace)
    before = corpus_bytes(workspace)
    for i in range(3):
        (workspace / f"documents/en/bad-{i}.md").write_bytes(b"\xff")
    write_golden(workspace, [golden_row(0), golden_row(0), golden_row(1, answers=["9.99"])])
    with pytest.raises(DataGateError) as refused:
        run(params(), workspace)
    message = str(refused.value)
    for finding in ("en/bad-0.md", "en/bad-1.md", "en/bad-2.md", "occurs 2 times", "'9.99'"):
        assert finding in message
    assert corpus_bytes(workspace) == before


def test_at_most_twenty_findings_are_shown_and_the_rest_counted(workspace: Path):
    for i in range(30):
        (workspace / f"documents/en/bad-{i:02}.md").write_bytes(b"\xff")
    with pytest.raises(DataGateError, match=r"30 finding[\s\S]*and 10 more") as refused:
        run(params(), workspace)
    assert str(refused.value).count("is not UTF-8") == 20


def test_too_few_golden_questions_are_refused(workspace: Path):
    with pytest.raises(DataGateError, match="10 that hold"):
        run(params(min_golden_questions=11), workspace)


def test_golden_questions_of_a_language_not_asked_for_are_left_out(workspace: Path):
    rows = [golden_row(i) for i in range(9)] + [golden_row(9, lang="fr")]
    write_golden(workspace, rows)
    only_english = params().model_copy(update={"languages": ("en",)})
    assert run(only_english, workspace).n_golden == 9


def test_what_is_left_out_stands_in_the_dead_letters_with_reason_size_and_hash(workspace: Path):
    (workspace / "documents/en/bad.csv").write_text("a,b\n1,2,3\n", encoding="utf-8")
    run(params(max_bad_share=0.2), workspace)
    (letter,) = (json.loads(line) for line in corpus_bytes(workspace)["dead_letters.jsonl"].splitlines())
    assert (letter["path"], letter["size"], len(letter["sha256"])) == ("en/bad.csv", 10, 64)
    assert "line 2 has 3 fields" in letter["reason"]
    (workspace / "documents/en/bad.csv").unlink()
    run(params(), workspace)
    assert corpus_bytes(workspace)["dead_letters.jsonl"] == b""


def test_near_duplicates_are_marked_and_dates_of_validity_written(workspace: Path):
    text = " ".join(f"word{chr(97 + i % 26)}{chr(97 + i // 26)}" for i in range(60))
    for name, more in (("copy-a", ""), ("copy-b", " Finally.")):
        page = f"---\ntitle: {name}\nvalid_until: 2027-01-31\n---\n\n{text}{more}\n"
        (workspace / f"documents/en/{name}.md").write_text(page, encoding="utf-8")
    run(params(), workspace)
    rows = [json.loads(line) for line in corpus_bytes(workspace)["passages.jsonl"].splitlines()]
    by_document = {row["document_id"]: row for row in rows}
    first, second = by_document["en/copy-a"], by_document["en/copy-b"]
    assert (first["duplicate_of"], second["duplicate_of"]) == (None, first["passage_id"])
    assert first["valid_until"] == "2027-01-31"
    documents = [json.loads(line) for line in corpus_bytes(workspace)["documents.jsonl"].splitlines()]
    assert all("blocks" not in row for row in documents)


def test_a_passage_whose_own_date_contradicts_its_documents_is_told_with_both_dates_and_the_remedy(workspace: Path):
    """It keeps both, so that search finds it on no day: which one is wrong is for people to say."""
    page = "---\ntitle: Launch\nvalid_from: 2026-06-01\n---\n\nThe launch price is valid until 31 March 2026.\n"
    (workspace / "documents/en/launch.md").write_text(page, encoding="utf-8")
    (warning,) = run(params(), workspace).warnings
    assert warning.startswith("documents/en/launch.md, lines 3 to 6: valid from 2026-06-01 until 2026-03-31")
    assert "never found" in warning
    assert "correct one of the dates" in warning
    rows = [json.loads(line) for line in corpus_bytes(workspace)["passages.jsonl"].splitlines()]
    (launch,) = (row for row in rows if row["document_id"] == "en/launch")
    assert (launch["valid_from"], launch["valid_until"]) == ("2026-06-01", "2026-03-31")
    (workspace / "documents/en/launch.md").write_text(page.replace("06-01", "03-31"), encoding="utf-8")
    assert run(params(), workspace).warnings == (), "one day is a validity"
