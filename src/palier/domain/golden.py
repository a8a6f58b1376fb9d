"""Golden questions: what a team knows the right answer to, and how far a row can be trusted.

Pure: rows come in as text, findings go out as sentences. The room refuses rows that break the form or contradict
themselves; a row whose quote has left its document is not wrong but *stale*, since documents change and questions
lag behind. Price: a quote is compared without markup, case and white space, so a row that differs only in those passes.
"""

import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from palier.domain.answering import Question, Turn
from palier.domain.documents import Lang, Passage

Kind = Literal["fact", "list", "two_facts", "follow_up", "false_premise", "unanswerable"]
Split = Literal["train", "validation", "test"]
PIECES = " [...] "
"""Joins the pieces of a quote that do not follow each other in the document."""
ITEMS = "; "
"""Joins the items of an answer that is a list, or two facts."""

_MARKUP = re.compile(r"[*_`|#>~]")
_SPACE = re.compile(r"\s+")


class GoldenTurn(BaseModel):
    """A message before the question."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    role: Literal["user", "assistant"]
    content: str


class GoldenQuestion(BaseModel):
    """One row of ``golden/<lang>.jsonl``; ``passage_ids`` is filled in when documents are versioned."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    id: str = Field(min_length=1)
    lang: Lang
    question: str = Field(min_length=1)
    answers: tuple[str, ...]
    document_id: str
    quote: str
    answerable: bool
    kind: Kind
    split: Split
    history: tuple[GoldenTurn, ...] = ()
    passage_ids: tuple[str, ...] = ()

    def asked(self) -> Question:
        """The row as a question to the platform."""
        return Question(self.question, self.lang, tuple(Turn(turn.role, turn.content) for turn in self.history))

    def answer_items(self, answer: str) -> list[str]:
        """The parts of ``answer`` that must each stand in the quote."""
        return answer.split(ITEMS) if self.kind in {"list", "two_facts"} else [answer]


def plain(text: str) -> str:
    """``text`` without markup, case and surplus white space, for comparing."""
    return _SPACE.sub(" ", _MARKUP.sub(" ", unicodedata.normalize("NFKC", text))).strip().casefold()


def parse_rows(text: str, origin: str) -> tuple[list[GoldenQuestion], list[str]]:
    """The rows of a JSON-lines text, and one finding for each line that is not a golden question."""
    rows, findings = [], []
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip():
            continue
        try:
            rows.append(GoldenQuestion.model_validate_json(line))
        except ValidationError as error:
            findings += [f"{origin} line {number}: {_why(dict(item))}" for item in error.errors()]
    return rows, findings


def row_findings(row: GoldenQuestion) -> list[str]:
    """What contradicts itself within one row."""
    return [f"{row.id}: {finding}" for finding in _contradictions(row)]


def set_findings(rows: Sequence[GoldenQuestion]) -> list[str]:
    """What is wrong between rows: ids told twice, and a document whose questions stand in two splits."""
    ids = Counter(row.id for row in rows)
    splits: defaultdict[str, set[str]] = defaultdict(set)
    for row in rows:
        splits[row.document_id].add(row.split)
    return [
        *(f"{row_id}: this id occurs {n} times" for row_id, n in ids.items() if n > 1),
        *(
            f"{document_id}: its questions stand in {' and '.join(sorted(names))}, so training would see the test"
            for document_id, names in splits.items()
            if len(names) > 1
        ),
    ]


def is_stale(row: GoldenQuestion, document_text: str | None) -> bool:
    """True when the document is gone, or no longer holds every piece of the quote."""
    if document_text is None:
        return True
    text = plain(document_text)
    return not all(plain(piece) in text for piece in _pieces(row))


def gold_passages(row: GoldenQuestion, passages: Sequence[Passage]) -> tuple[str, ...]:
    """Ids of the passages (of the row's document, in order) that hold the quote or pieces of it.

    A quote that runs over the end of a passage belongs to every passage it touches; one that stands in a heading, to
    the passages under it. Empty for a row without a quote.
    """
    found = {key for piece in _pieces(row) for key in _holders(plain(piece), passages)}
    return tuple(passage.passage_id for passage in passages if passage.passage_id in found)


def _holders(piece: str, passages: Sequence[Passage]) -> list[str]:
    texts = [plain(passage.text) for passage in passages]
    whole = [p.passage_id for p, text in zip(passages, texts, strict=True) if piece in text]
    return whole or _touched(piece, passages, texts) or _under_heading(piece, passages)


def _touched(piece: str, passages: Sequence[Passage], texts: Sequence[str]) -> list[str]:
    """The passages that a piece running over several covers, found in their texts laid end to end."""
    at = " ".join(texts).find(piece)
    if at < 0:
        return [p.passage_id for p, text in zip(passages, texts, strict=True) if _overlap(piece, text) >= 40]
    touched, start = [], 0
    for passage, text in zip(passages, texts, strict=True):
        if start < at + len(piece) and at < start + len(text):
            touched.append(passage.passage_id)
        start += len(text) + 1
    return touched


def _overlap(piece: str, text: str) -> int:
    """Characters of ``piece`` whose beginning ends ``text``, or whose end begins it.

    Needed where a heading or a repeated table header stands between two passages that a quote runs over.
    """
    ends = (n for n in range(min(len(piece), len(text)), 0, -1) if text.endswith(piece[:n]))
    begins = (n for n in range(min(len(piece), len(text)), 0, -1) if text.startswith(piece[-n:]))
    return max(next(ends, 0), next(begins, 0))


def _under_heading(piece: str, passages: Sequence[Passage]) -> list[str]:
    return [passage.passage_id for passage in passages if piece in plain(passage.content)]


def _pieces(row: GoldenQuestion) -> list[str]:
    return row.quote.split(PIECES) if row.quote else []


def _contradictions(row: GoldenQuestion) -> Iterator[str]:
    if bool(row.answers) != row.answerable:
        yield f"answerable is {row.answerable}, but it has {len(row.answers)} answer(s)"
    if row.kind == "follow_up" and not row.history:
        yield "a follow_up needs a history"
    if not row.answerable and row.quote:
        yield "not answerable, but it has a quote"
    if row.answerable and not all(plain(piece) for piece in row.quote.split(PIECES)):
        yield "answerable, but its quote, or a piece of it, is empty"
    quote = plain(row.quote)
    for answer in row.answers if row.quote else ():
        for item in row.answer_items(answer):
            if not plain(item) or plain(item) not in quote:
                yield f"the answer {item!r} does not stand in the quote"


def _why(item: Mapping[str, object]) -> str:
    place = ".".join(str(part) for part in item["loc"]) if item["loc"] else ""  # type: ignore[attr-defined]
    return f"{place}: {item['msg']}" if place else str(item["msg"])
