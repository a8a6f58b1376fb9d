"""Public question sets as rows, by split: what all starter models here are trained on and measured with."""

import gzip
import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from palier.adapters.reading_texts import read_texts
from palier.domain.documents import Lang, sha256_text
from palier.domain.title_split import title_split

FILES = (
    "squad11_dev_en.jsonl.gz",
    "squad20_dev_en.jsonl.gz",
    "piaf11_fr.jsonl.gz",
    "nq_open_oracle_en.jsonl.gz",
)

WRITTEN = Path(__file__).parent / "reading_examples"
TEXTS: dict[str, Lang] = {
    "fr.txt": "fr",
    "en.txt": "en",
    "fr_more.txt": "fr",
    "fr_later.txt": "fr",
    "en_later.txt": "en",
    "fr_as_asked.txt": "fr",
    "en_as_asked.txt": "en",
}
QUESTIONS: dict[str, Lang] = {"piaf.tsv": "fr", "piaf_more.tsv": "fr", "squad.tsv": "en", "natural_questions.tsv": "en"}
"""More questions about passages of the public sets."""

READ_BEFORE = ("fr.txt", "en.txt", "piaf.tsv")
"""What the reader's steps 8 to 10, the verifier and the guard read."""

UNREAD: dict[str, Lang] = {"en_unread.txt": "en", "fr_unread.txt": "fr"}
"""Texts that no reader, writer or verifier is trained on: the scorer learns from what a reader says to what it has not
read."""

Row = dict[str, Any]


def read_rows(folder: Path, splits: Sequence[str]) -> list[Row]:
    """Rows of ``splits``, each with its file as ``domain``; of SQuAD 2.0 only the unanswerable ones (the others stand
    in SQuAD 1.1).
    """
    rows = []
    for name in FILES:
        with gzip.open(folder / name, "rt", encoding="utf-8") as lines:
            found = [json.loads(line) for line in lines]
        only_unanswerable = name.startswith("squad20")
        rows += [
            row | {"domain": name}
            for row in found
            if title_split(row["title"]) in splits and not (only_unanswerable and row["answers"])
        ]
    return rows


def written_rows(data: Path, names: Sequence[str] = READ_BEFORE) -> list[Row]:
    """Rows written for this project, to train on only: those of ``names``, of `TEXTS` and of `QUESTIONS`.

    `reading_examples/README.md` tells their form. A question whose passage is not among the training titles of the
    ``data`` at hand is left out.
    """
    texts = [asdict(row) for name in names if name in TEXTS for row in read_texts(WRITTEN / name, TEXTS[name])]
    return texts + _questions(data, [name for name in names if name in QUESTIONS])


def _questions(data: Path, names: Sequence[str]) -> list[Row]:
    passages = {(row["lang"], row["passage_id"]): row for row in read_rows(data, ["train"])} if names else {}
    rows = []
    for name in names:
        for line in (WRITTEN / name).read_text(encoding="utf-8").rstrip("\n").split("\n"):
            passage, question, answer = line.split("\t")
            if source := passages.get((QUESTIONS[name], passage)):
                asked = {"id": sha256_text(f"{passage}\n{question}")[:16], "question": question.strip()}
                answers = [answer.strip()] if answer.strip() else []
                rows.append({**source, **asked, "answers": answers, "answerable": bool(answers)})
    return rows


def content_of(row: Row, *, with_title: bool) -> str:
    """The passage as models will see passages: under its title, or bare."""
    title = str(row["title"]).replace("_", " ")
    return f"{title}\n{row['context']}" if with_title else str(row["context"])
