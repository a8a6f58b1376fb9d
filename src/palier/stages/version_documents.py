"""Stage `version-documents`: documents and golden questions pass the data gate and become passages on disk.

Every finding is collected before anything is refused, so that one run tells all there is to mend. Files are written
only after the gate: a refused run leaves the last good corpus as it is. What is left out of a good run stands in
`dead_letters.jsonl` with its reason. Nothing here reads the clock, and the same documents give the same bytes. The
price: all documents are read and cut again each time (seconds per thousand).
"""

import hashlib
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

from palier.adapters.documents_folder import FolderReading, Rejected, read_documents
from palier.adapters.workspace import Workspace, write_json, write_jsonl
from palier.domain.documents import Document, Passage
from palier.domain.golden import (
    GoldenQuestion,
    gold_passages,
    is_stale,
    parse_rows,
    row_findings,
    set_findings,
)
from palier.domain.near_duplicates import mark_near_duplicates
from palier.domain.passages import split_document
from palier.errors import DataGateError
from palier.params import Params

MAX_STALE_SHARE = 0.2
"""More golden rows than this without their quote mean a wrong folder, not documents that moved on."""
FINDINGS_SHOWN = 20

Progress = Callable[[int, int, str], None]


@dataclass(frozen=True, slots=True)
class VersionedDocuments:
    """What the corpus holds; ``warnings`` are for people, ``metrics`` for tracking."""

    revision: str
    n_documents: int
    n_passages: int
    n_golden: int
    rejected: tuple[Rejected, ...] = ()
    stale: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    metrics: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class _Golden:
    """Golden rows that hold, ids of those that have gone stale, and what is wrong with the files."""

    rows: list[GoldenQuestion]
    stale: list[str]
    findings: list[str]


def run(params: Params, workspace: Path, progress: Progress = lambda *_: None) -> VersionedDocuments:
    """Check the documents and golden questions of ``workspace`` and write ``data/corpus``.

    Raises DataGateError listing every finding (the first 20, and how many more).
    """
    place, limits = Workspace(workspace), params.version_documents
    reading = FolderReading()  # without retrieval no answer rests on a document
    if params.retrieval.searches:
        reading = read_documents(place.documents, params.languages, limits.max_document_bytes)
    golden = _read_golden(place.golden, params, {item.document_id: item.text for item in reading.documents})
    _gate(reading, golden, params)
    passages: list[Passage] = []
    for done, document in enumerate(reading.documents, 1):
        passages += split_document(document, limits.passage_words, params.languages, overlap_words=limits.overlap_words)
        progress(done, len(reading.documents), "split documents into passages")
    return _write(place, reading, golden, mark_near_duplicates(passages))


def corpus_revision(documents: Sequence[Document]) -> str:
    """Hex sha256 over (document_id, sha256) of all documents in order of their ids."""
    pairs = sorted((document.document_id, document.sha256) for document in documents)
    return hashlib.sha256("".join(f"{key}\0{digest}\n" for key, digest in pairs).encode()).hexdigest()


def _read_golden(folder: Path, params: Params, texts: Mapping[str, str]) -> _Golden:
    rows, findings = [], []
    for path in sorted(folder.glob("*.jsonl")) if folder.is_dir() else ():
        try:
            parsed, wrong = parse_rows(path.read_text(encoding="utf-8-sig"), f"golden/{path.name}")
        except UnicodeDecodeError as error:
            parsed, wrong = [], [f"golden/{path.name}: is not UTF-8 at byte {error.start}"]
        rows += [row for row in parsed if row.lang in params.languages]
        findings += wrong
    findings += [finding for row in rows for finding in row_findings(row)] + set_findings(rows)
    stale = [row.id for row in rows if params.retrieval.searches and is_stale(row, texts.get(row.document_id))]
    fresh = [row for row in rows if row.id not in set(stale)]
    return _Golden(fresh, stale, [*findings, *_amount_findings(len(fresh), len(stale), params)])


def _amount_findings(n_fresh: int, n_stale: int, params: Params) -> list[str]:
    findings = []
    least = params.version_documents.min_golden_questions
    if n_fresh < least:
        findings.append(
            f"golden questions: {n_fresh} that hold, version_documents.min_golden_questions asks for {least}"
        )
    if n_stale > MAX_STALE_SHARE * (n_fresh + n_stale):
        findings.append(
            f"golden questions: {n_stale} of {n_fresh + n_stale} quote what their document does not hold; "
            "correct quotes and document ids"
        )
    return findings


def _gate(reading: FolderReading, golden: _Golden, params: Params) -> None:
    findings = list(golden.findings)
    if reading.bad_share > params.version_documents.max_bad_share:
        findings = [f"documents/{item.path}: {item.reason}" for item in reading.rejected] + findings
    if not reading.documents and params.retrieval.searches:
        findings.append("no document can be used")
    if not findings:
        return
    shown = "\n".join(f"  {finding}" for finding in findings[:FINDINGS_SHOWN])
    more = f"\n  ... and {len(findings) - FINDINGS_SHOWN} more" if len(findings) > FINDINGS_SHOWN else ""
    raise DataGateError(
        f"The data gate refuses: {len(findings)} finding(s), "
        f"{len(reading.rejected)} of {len(reading.documents) + len(reading.rejected)} files cannot be used "
        f"(version_documents.max_bad_share is {params.version_documents.max_bad_share}).\n{shown}{more}\n"
        "Mend or remove what is named, then run `palier version-documents` again."
    )


def _write(
    place: Workspace, reading: FolderReading, golden: _Golden, passages: Sequence[Passage]
) -> VersionedDocuments:
    rows = _with_passages(golden.rows, passages)
    result = VersionedDocuments(
        revision=corpus_revision(reading.documents),
        n_documents=len(reading.documents),
        n_passages=len(passages),
        n_golden=len(rows),
        rejected=tuple(reading.rejected),
        stale=tuple(golden.stale),
        warnings=(*_warnings(reading, golden, rows), *_contradictions(reading.documents, passages)),
        metrics=_metrics(reading, golden, passages, rows),
    )
    write_jsonl(place.corpus / "documents.jsonl", (_document_row(document) for document in reading.documents))
    write_jsonl(place.corpus / "passages.jsonl", (asdict(passage) for passage in passages))
    write_jsonl(place.corpus / "golden.jsonl", (row.model_dump(mode="json") for row in rows))
    write_jsonl(place.corpus / "dead_letters.jsonl", (asdict(item) for item in reading.rejected))
    write_json(place.corpus / "manifest.json", asdict(result))  # last: it vouches for the others
    return result


def _document_row(document: Document) -> dict[str, object]:
    """Without its blocks: they say the text over again."""
    return {key: value for key, value in asdict(replace(document, blocks=())).items() if key != "blocks"}


def _with_passages(rows: Sequence[GoldenQuestion], passages: Sequence[Passage]) -> list[GoldenQuestion]:
    by_document: dict[str, list[Passage]] = {}
    for passage in passages:
        by_document.setdefault(passage.document_id, []).append(passage)
    return [
        row.model_copy(update={"passage_ids": gold_passages(row, by_document.get(row.document_id, []))}) for row in rows
    ]


def _warnings(reading: FolderReading, golden: _Golden, rows: Sequence[GoldenQuestion]) -> list[str]:
    warnings = [f"documents/{item.path} is left out: it {item.reason}" for item in reading.rejected]
    if golden.stale:
        warnings.append(
            f"{len(golden.stale)} golden question(s) left out, their quote has left the document: "
            + ", ".join(golden.stale)
        )
    unplaced = [row.id for row in rows if row.answerable and not row.passage_ids]
    if unplaced:
        warnings.append(f"quotes that lie in no passage, so of no use for retrieval: {', '.join(unplaced)}")
    return warnings


def _contradictions(documents: Sequence[Document], passages: Sequence[Passage]) -> Iterator[str]:
    """Which of two dates is wrong only people know: both stay, and the passage holds on no day until one is mended."""
    paths = {document.document_id: document.path for document in documents}
    for passage in passages:
        if passage.holds_on_no_day:
            yield (
                f"documents/{paths[passage.document_id]}, lines {passage.start_line} to {passage.end_line}: valid from "
                f"{passage.valid_from} until {passage.valid_until}, so on no day, and never found "
                "(retrieval.only_valid); correct one of the dates: one is the front matter's, the other stands there"
            )


def _metrics(
    reading: FolderReading, golden: _Golden, passages: Sequence[Passage], rows: Sequence[GoldenQuestion]
) -> dict[str, float]:
    words = [len(passage.text.split()) for passage in passages]
    languages = Counter(f"n_documents_{document.lang}" for document in reading.documents)
    splits = Counter(f"n_golden_{row.split}" for row in rows)
    return {
        "n_documents": len(reading.documents),
        "n_rejected": len(reading.rejected),
        "n_passages": len(passages),
        "words_per_passage": round(sum(words) / max(1, len(words)), 1),
        "n_near_duplicates": sum(passage.duplicate_of is not None for passage in passages),
        "n_with_validity": sum(bool(passage.valid_from or passage.valid_until) for passage in passages),
        "n_golden": len(rows),
        "n_golden_stale": len(golden.stale),
        **languages,
        **splits,
    }
