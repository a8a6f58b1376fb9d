"""Draws judged answers from the ledger into the workspace, and takes personal data out on the way.

The only door between the ledger and a training set: what does not pass here is in no file that DVC keeps. Texts older
than `keep_text_days` are blanked in the ledger, and so is what arrived late under an erasure; what a killed run was
writing goes as well. What may be learned from the rows is not decided here, but by the stage, again for each corpus
revision. The price: a row keeps the ids of its request and of the keys that asked and judged (pseudonyms), so that
shares can be counted and erasures found in older versions.
"""

import json
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from palier.adapters.records import Records
from palier.adapters.workspace import Workspace, json_lines, read_jsonl, write_jsonl
from palier.domain.feedback import AnswerLabel, FeedbackExample, JudgedAnswer
from palier.domain.ledger import LedgerRow
from palier.domain.personal_data import Public, redact
from palier.params import HeavyRung, Params

ROWS = "rows.jsonl"
EXAMPLES = "examples.jsonl"
LABELS = "labels.jsonl"


@dataclass(frozen=True)
class Drawn:
    """``removed`` counts pieces of personal data by kind; ``n_forgotten`` requests lost their texts in the ledger."""

    n_rows: int
    removed: Mapping[str, int]
    n_forgotten: int


def draw_feedback(records: Records, workspace: Workspace, params: Params, now: datetime) -> Drawn:
    """Write feedback/rows.jsonl: one row for each (request, key that judged it), and each unjudged heavy answer."""
    _remove_unfinished(workspace)
    rules = params.collect_feedback
    oldest = None if rules.keep_text_days is None else now - timedelta(days=rules.keep_text_days)
    n_forgotten = records.forget_texts(oldest)
    since = now - timedelta(days=rules.window_days)
    judged = _judged(records, since)
    heavy = [name for name, rung in params.ladder.rungs.items() if isinstance(rung, HeavyRung)]
    spoken = {row["request_id"] for row in judged}
    unjudged = [
        _row(row, row.key_id, row.created_at)
        for row in records.answers_of_rungs(heavy, since, rules.heavy_rows)
        if row.request_id not in spoken
    ]
    removed: Counter[str] = Counter()
    public = Public(_document_texts(workspace))
    spoken_of = [row for row in [*judged, *unjudged] if row["lang"] in params.languages]
    rows = [_without_personal_data(row | {"is_heavy": row["rung"] in heavy}, public, removed) for row in spoken_of]
    rows.sort(key=lambda row: (row.at, row.request_id, row.key_id))
    write_jsonl(workspace.drawn_feedback / ROWS, (row.model_dump(mode="json") for row in rows))
    return Drawn(len(rows), dict(removed), n_forgotten)


def read_judged(workspace: Workspace) -> list[JudgedAnswer]:
    """The rows that were drawn; NotReadyError before `collect-feedback`."""
    rows = read_jsonl(workspace.drawn_feedback / ROWS, "collect-feedback")
    return [JudgedAnswer.model_validate_json(json.dumps(row)) for row in rows]


def read_examples(workspace: Workspace) -> list[FeedbackExample]:
    """What may be learned, training and validation rows; empty where feedback was never collected."""
    return [FeedbackExample.model_validate_json(line) for line in _lines(workspace.feedback / EXAMPLES)]


def read_labels(workspace: Workspace) -> list[AnswerLabel]:
    """How good people find answers; empty where feedback was never collected."""
    return [AnswerLabel.model_validate_json(line) for line in _lines(workspace.feedback / LABELS)]


def _remove_unfinished(workspace: Workspace) -> None:
    """What `write_text` left beside the files when it was killed: no later write would replace it."""
    for folder in (workspace.drawn_feedback, workspace.feedback):
        for left in folder.glob(".*.partial"):
            left.unlink(missing_ok=True)


def _judged(records: Records, since: datetime) -> list[dict[str, Any]]:
    """For each request and key the last rating and the last correction; a later word replaces an earlier one."""
    found: dict[tuple[str, str], dict[str, Any]] = {}
    for answer, said in records.judgements(since):
        about = (answer.request_id, said["key_id"])
        row = found.setdefault(about, _row(answer, said["key_id"], said["created_at"]))
        row |= {name: said[name] for name in ("rating", "correction") if said[name] is not None}
        row["at"] = said["created_at"].isoformat()
    return [row for row in found.values() if row.get("rating") is not None or row.get("correction") is not None]


def _row(answer: LedgerRow, key_id: str, at: datetime) -> dict[str, Any]:
    cited = [(item["document_id"], item["passage_id"]) for item in answer.citations if "document_id" in item]
    return {
        "request_id": answer.request_id,
        "key_id": key_id,
        "asked_by": answer.key_id,
        "at": at.isoformat(),
        "lang": answer.language,
        "question": answer.question,
        "answer": "" if answer.abstained else answer.answer,
        "rung": _rung_of(answer),
        "score": answer.score,
        "cited": cited,
    }


def _rung_of(answer: LedgerRow) -> str | None:
    """The rung whose answer it is: of one given again from memory, the rung that gave it first. Rows that the gateway
    wrote before it kept that name stay with `cache`."""
    return next((attempt["first_rung"] for attempt in answer.attempts if "first_rung" in attempt), answer.rung)


def _without_personal_data(row: Mapping[str, Any], public: Public, removed: Counter[str]) -> JudgedAnswer:
    texts = {}
    for name in ("question", "answer", "correction"):
        if row.get(name) is not None:
            redacted = redact(row[name], public)
            texts[name] = redacted.text
            removed.update(redacted.removed)
    return JudgedAnswer.model_validate({**row, **texts})


def _document_texts(workspace: Workspace) -> Iterable[str]:
    """What the documents say is public; before their first version, nothing is."""
    path = workspace.corpus / "passages.jsonl"
    return [json.loads(line)["text"] for line in _lines(path)]


def _lines(path: Path) -> list[str]:
    return json_lines(path) if path.is_file() else []
