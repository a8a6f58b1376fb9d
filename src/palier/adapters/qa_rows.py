"""Question-answer files as rows: JSON lines of SQuAD's, PIAF's or Natural Questions' kind, and their passages.

Knows the form and refuses a line that breaks it, by number; which rows are used for what is the caller's business.
The price: a file is read whole.
"""

import gzip
import json
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from palier.domain.documents import Lang, Passage, sha256_text
from palier.errors import InputError


@dataclass(frozen=True, slots=True)
class QaRow:
    """One row of a question-answer file; an empty ``question`` only adds its passage."""

    id: str
    lang: str
    title: str
    passage_id: str
    context: str
    question: str
    answers: tuple[str, ...]
    answerable: bool


def read_qa(path: Path) -> list[QaRow]:
    """All rows of a ``.jsonl`` or ``.jsonl.gz`` file; raises InputError naming the line that is not one."""
    rows = []
    for number, line in enumerate(_lines(path), 1):
        if not line.strip():
            continue
        try:
            raw = json.loads(line)
            rows.append(_qa_row(raw))
        except (ValueError, KeyError, TypeError) as error:
            raise InputError(
                f"{path} line {number} is no QA row ({type(error).__name__}: {error}). A row has id, lang, title, "
                "passage_id, context, question, answers, answerable."
            ) from error
    return rows


def passage_of(row: QaRow) -> Passage:
    """A row's context as a passage, its id a hash of what it says; the same for rows that share it."""
    title = row.title.replace("_", " ")
    key = sha256_text(f"{title}\n{row.context}")[:24]
    lang: Lang = "fr" if row.lang == "fr" else "en"
    return Passage(key, row.title or key, lang, title, "", row.context, 1, row.context.count("\n") + 1)


def _qa_row(raw: Mapping[str, Any]) -> QaRow:
    return QaRow(
        id=str(raw["id"]),
        lang=str(raw["lang"]),
        title=str(raw.get("title") or ""),
        passage_id=str(raw["passage_id"]),
        context=str(raw["context"]),
        question=str(raw.get("question") or ""),
        answers=_answers(raw.get("answers")),
        answerable=raw.get("answerable") is None or bool(raw["answerable"]),
    )


def _answers(raw: object) -> tuple[str, ...]:
    """Of a list, or of SQuAD's form, whose lists run side by side; a bare string would be read as its letters.

    An empty string is no answer: some files write [""] where there is none.
    """
    texts = raw["text"] if isinstance(raw, dict) else [] if raw is None else raw
    if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
        raise TypeError(
            f'answers is {str(raw)[:60]!r}, not a list of strings or {{"text": [...], "answer_start": [...]}}'
        )
    return tuple(text for text in texts if text.strip())


def _lines(path: Path) -> list[str]:
    try:
        raw = path.read_bytes()
        text = (gzip.decompress(raw) if path.suffix == ".gz" else raw).decode("utf-8")
    except (OSError, EOFError, zlib.error, UnicodeDecodeError) as error:
        raise InputError(f"{path} cannot be read: {error}. Give a .jsonl or .jsonl.gz file.") from error
    return text.split("\n")
