"""What people think of answers, as outcome rows that the scorer learns from beside the golden ones.

A thumb judges a text, and the scorer needs the numbers behind a text, which the ledger does not keep: so the rung is
asked again, and the label counts only if the rung still says the same. Heavy rungs are not asked: that would cost money
for a weak label. The price: after new weights or documents, labels of changed answers are lost; and nothing of it is
remembered, since an erasure could not find it there, so each run asks again.
"""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from palier.adapters.outcome_recorder import Recorder
from palier.domain.answering import AskedQuestion, Question, Retriever, Rung
from palier.domain.feedback import AnswerLabel
from palier.domain.feedback_corpus import same_answer
from palier.params import HeavyRung, Params

LABEL_ROWS = "labels.parquet"
Progress = Callable[[int, int, str], None]


def record_labels(
    params: Params,
    labels: Sequence[AnswerLabel],
    retriever: Retriever,
    rungs: Sequence[tuple[Rung, Sequence[str]]],
    recorder: Recorder,
    progress: Progress,
) -> pd.DataFrame:
    """Outcome rows with the quality that people gave (`correct`) and how many said so (`label_weight`).

    ``rungs`` are those that stay on the ladder, with their languages; an empty table when no label fits.
    """
    rows: list[dict[str, Any]] = []
    for rung, languages in rungs:
        own = [label for label in labels if label.rung == rung.name and label.lang in languages]
        if not own or isinstance(params.ladder.rungs[rung.name], HeavyRung):
            continue
        asked = [_asked(label, retriever, params.retrieval.k) for label in own]
        given = recorder.record(rung, asked, progress, remembers=False)
        rows += [_labelled(row, label) for row, label in zip(given, own, strict=True) if _is_same(row, label)]
    return pd.DataFrame(rows)


def write_labels(folder: Path, table: pd.DataFrame) -> None:
    """Beside the outcomes; no file where there is no label."""
    path = folder / LABEL_ROWS
    if table.empty:
        path.unlink(missing_ok=True)
    else:
        table.to_parquet(path, index=False)


def read_label_rows(folder: Path, thumb_weight: float) -> pd.DataFrame:
    """What `write_labels` wrote, each row's `label_weight` times ``thumb_weight``; empty where nothing was written."""
    path = folder / LABEL_ROWS
    if thumb_weight == 0 or not path.is_file():
        return pd.DataFrame()
    table = pd.read_parquet(path)
    return table.assign(label_weight=table["label_weight"] * thumb_weight)


def _asked(label: AnswerLabel, retriever: Retriever, k: int) -> AskedQuestion:
    question = Question(label.question, label.lang)
    row = {"id": label.id, "lang": label.lang, "answers": [label.answer] if label.answer else []}
    return AskedQuestion(row, question, retriever.search(question, k))


def _is_same(row: Mapping[str, Any], label: AnswerLabel) -> bool:
    return same_answer(row["answer"], [label.answer], label.lang)


def _labelled(row: Mapping[str, Any], label: AnswerLabel) -> dict[str, Any]:
    told = {"correct": label.quality, "label_weight": label.weight, "labelled_by": "feedback", "split": "feedback"}
    return {**row, **told, "lang": label.lang, "query": label.question, "document_id": label.document_id}
