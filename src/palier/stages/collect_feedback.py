"""Stage `collect-feedback`: what people said of answers, as far as it may be learned, becomes a training set.

Reads the rows that were drawn from the ledger (`adapters/feedback_rows.py`, the act before it) beside passages and
golden questions of the present corpus revision, so that a correction which the documents no longer support leaves the
set by itself. The rules stand in `domain/feedback.py`; a report says how many rows each of them kept out. The same
rows, corpus and params give the same bytes.
"""

import hashlib
import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from pydantic import BaseModel

from palier.adapters.corpus_files import load_corpus
from palier.adapters.feedback_rows import EXAMPLES, LABELS, read_judged
from palier.adapters.workspace import Workspace, read_json, write_json, write_jsonl
from palier.domain.feedback import Sifted, sift
from palier.domain.feedback_corpus import FeedbackCorpus
from palier.domain.personal_data import holds_placeholder
from palier.params import Params


@dataclass(frozen=True)
class CollectResult:
    """``version`` names the set by its content; ``dropped`` counts by reason, as in `Sifted`."""

    version: str
    n_rows: int
    n_examples: int
    n_labels: int
    dropped: Mapping[str, int]
    metrics: Mapping[str, float]


def run(params: Params, root: Path) -> CollectResult:
    """Write data/feedback/examples.jsonl, labels.jsonl and report.json.

    Raises NotReadyError before `version-documents`, and before anything was drawn.
    """
    workspace, rules = Workspace(root), params.collect_feedback
    rows = read_judged(workspace)
    passages, golden = load_corpus(workspace)
    corpus = FeedbackCorpus(
        list(passages.values()), golden, near=rules.near, validation_percent=rules.validation_percent
    )
    found = sift(rows, corpus, rules)
    n_redacted = sum(holds_placeholder(f"{row.question} {row.answer} {row.correction}") for row in rows)
    result = _result(found, n_redacted)
    write_jsonl(workspace.feedback / EXAMPLES, map(_dumped, found.examples))
    write_jsonl(workspace.feedback / LABELS, map(_dumped, found.labels))
    revision = read_json(workspace.corpus / "manifest.json", "version-documents")["revision"]
    counts = {name: n for name, n in result.metrics.items() if not name.startswith("dropped.")}
    report = {"version": result.version, "corpus_revision": revision, "dropped": result.dropped, **counts}
    write_json(workspace.feedback / "report.json", report)
    return result


def _result(found: Sifted, n_redacted: int) -> CollectResult:
    kept: Counter[str] = Counter()
    for example in found.examples:
        kept.update([f"examples.{example.source}", f"examples.{example.split}", f"examples.{example.lang}"])
    metrics = {
        "n_rows": float(found.n_rows),
        "n_rows_with_personal_data_removed": float(n_redacted),
        "n_examples": float(len(found.examples)),
        "n_labels": float(len(found.labels)),
        **{name: float(n) for name, n in sorted(kept.items())},
        **{f"dropped.{_slug(reason)}": float(n) for reason, n in sorted(found.dropped.items())},
    }
    return CollectResult(
        version=_version(found),
        n_rows=found.n_rows,
        n_examples=len(found.examples),
        n_labels=len(found.labels),
        dropped=dict(sorted(found.dropped.items())),
        metrics=metrics,
    )


def _version(found: Sifted) -> str:
    digest = hashlib.sha256()
    for row in (*found.examples, *found.labels):
        digest.update(row.model_dump_json().encode() + b"\n")
    return digest.hexdigest()


def _slug(reason: str) -> str:
    return re.sub(r"\W+", "_", reason)


def _dumped(row: BaseModel) -> dict[str, object]:
    return row.model_dump(mode="json")
