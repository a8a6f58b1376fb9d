"""Public question sets as rows, by split: what all starter models here are trained on and measured with."""

import gzip
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from palier.domain.title_split import title_split

FILES = (
    "squad11_dev_en.jsonl.gz",
    "squad20_dev_en.jsonl.gz",
    "piaf11_fr.jsonl.gz",
    "nq_open_oracle_en.jsonl.gz",
)

Row = dict[str, Any]


def read_rows(folder: Path, splits: Sequence[str]) -> list[Row]:
    """Rows of ``splits``; of SQuAD 2.0 only the unanswerable ones (the others stand in SQuAD 1.1)."""
    rows = []
    for name in FILES:
        with gzip.open(folder / name, "rt", encoding="utf-8") as lines:
            found = [json.loads(line) for line in lines]
        only_unanswerable = name.startswith("squad20")
        rows += [
            row for row in found if title_split(row["title"]) in splits and not (only_unanswerable and row["answers"])
        ]
    return rows


def content_of(row: Row, *, with_title: bool) -> str:
    """The passage as models will see passages: under its title, or bare."""
    title = str(row["title"]).replace("_", " ")
    return f"{title}\n{row['context']}" if with_title else str(row["context"])
