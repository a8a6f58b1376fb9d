"""The samples hold what `samples/README.md` promises, and the test split is the one that was frozen.

The digest is computed here, over the rows as data: spacing and order of lines in the files may change, a word may not.
"""

import hashlib
import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import get_args

import pytest

from palier.domain.golden import GoldenQuestion, Kind, Split, is_stale, parse_rows, row_findings, set_findings

SAMPLES = Path(__file__).parents[2] / "samples"
LANGS = ("en", "fr")


def documents(folder: str) -> dict[str, str]:
    """Text of each document under ``folder`` by its id."""
    place = SAMPLES / folder
    return {
        path.relative_to(place).with_suffix("").as_posix(): path.read_text(encoding="utf-8")
        for path in sorted(place.rglob("*.md"))
    }


def golden(folder: str) -> list[GoldenQuestion]:
    """All rows of ``folder``, English first; a line that is no golden question fails."""
    rows = []
    for lang in LANGS:
        found, findings = parse_rows(
            (SAMPLES / folder / f"{lang}.jsonl").read_text(encoding="utf-8"), f"{folder}/{lang}.jsonl"
        )
        assert findings == []
        rows += found
    return rows


def frozen_lines() -> Iterator[str]:
    """The rows of the test split as canonical JSON, English before French, each by id."""
    for lang in LANGS:
        lines = (SAMPLES / "golden" / f"{lang}.jsonl").read_text(encoding="utf-8").split("\n")
        rows = [row for line in lines if line.strip() and (row := json.loads(line))["split"] == "test"]
        for row in sorted(rows, key=lambda item: item["id"]):
            yield json.dumps(row, sort_keys=True, ensure_ascii=False, separators=(",", ":")) + "\n"


def test_the_test_split_is_the_frozen_one() -> None:
    """Not one word of a test question, answer or quote changes without the digest being changed too."""
    digest = hashlib.sha256("".join(frozen_lines()).encode()).hexdigest()
    frozen = (SAMPLES / "golden" / "test-split.sha256").read_text(encoding="ascii").strip()
    assert digest == frozen, f"the test split has changed: its digest is {digest}, frozen was {frozen}"


def test_documents_are_many_and_in_both_languages() -> None:
    """At least 120 documents, neither language under 45 %."""
    counts = Counter(document_id.split("/")[0] for document_id in documents("documents"))
    assert set(counts) == set(LANGS)
    assert counts.total() >= 120
    assert min(counts.values()) >= 0.45 * counts.total(), counts


def test_golden_questions_are_many_and_some_not_answerable() -> None:
    """At least 400 rows, 15 % of them (3 points either way) without an answer in the documents."""
    rows = golden("golden")
    assert len(rows) >= 400
    share = sum(not row.answerable for row in rows) / len(rows)
    assert 0.12 <= share <= 0.18, share


def test_questions_are_not_made_from_one_template() -> None:
    """No three opening words begin more than one question in twenty."""
    rows = golden("golden")
    opening, n = Counter(tuple(row.question.casefold().split()[:3]) for row in rows).most_common(1)[0]
    assert n <= 0.05 * len(rows), f"{n} of {len(rows)} questions begin with {' '.join(opening)!r}"


@pytest.mark.parametrize("lang", LANGS)
@pytest.mark.parametrize("split", get_args(Split))
def test_each_split_has_each_kind(lang: str, split: str) -> None:
    """Whatever is tuned, trained or measured meets every kind of question in both languages."""
    kinds = {row.kind for row in golden("golden") if row.split == split and row.lang == lang}
    assert kinds == set(get_args(Kind))


@pytest.mark.parametrize("folder", ["golden", "golden_v2"])
def test_rows_hold_by_themselves_and_together(folder: str) -> None:
    """No row contradicts itself, no id is told twice, no document has questions in two splits."""
    rows = golden(folder)
    assert [finding for row in rows for finding in row_findings(row)] == []
    assert set_findings(rows) == []


@pytest.mark.parametrize("folder", ["golden", "golden_v2"])
def test_quotes_stand_in_their_documents(folder: str) -> None:
    """Each row names a document of its language that holds every piece of its quote."""
    texts = documents("documents") | (documents("documents_v2") if folder == "golden_v2" else {})
    rows = golden(folder)
    assert [row.id for row in rows if is_stale(row, texts.get(row.document_id))] == []
    assert [row.id for row in rows if not row.document_id.startswith(f"{row.lang}/")] == []


def test_version_two_changes_about_a_tenth_of_the_documents() -> None:
    """Between 5 and 15 % of the documents are replaced or new, and each one really differs."""
    old, new = documents("documents"), documents("documents_v2")
    assert 0.05 <= len(new) / len(old) <= 0.15
    assert [document_id for document_id, text in new.items() if old.get(document_id) == text] == []


def test_version_two_answers_every_question_that_it_makes_stale() -> None:
    """A question whose quote is gone from the second version has its new answer there, in the same split."""
    texts = documents("documents") | documents("documents_v2")
    renewed = {row.id: row for row in golden("golden_v2")}
    rows = golden("golden")
    stale = {row.id for row in rows if is_stale(row, texts.get(row.document_id))}
    assert stale - set(renewed) == set()
    assert [row.id for row in rows if row.id in renewed and renewed[row.id].split != row.split] == []
