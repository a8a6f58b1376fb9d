"""Outcome rows as one table: what each rung said to each question, beside what the question asked and what is right.

The same columns whether the outcomes were recorded by `record-outcomes` or asked for this report, so that every measure
runs over both. Knows no model. The price: a question's columns are repeated for each rung.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pandas as pd

from palier.adapters.outcome_recorder import quality, query_row
from palier.domain.answering import AskedQuestion, Hit, Question, RungAnswer

Answers = Callable[[Question, Sequence[Hit]], RungAnswer]


def outcome_table(asked: Sequence[AskedQuestion], rows: Sequence[Mapping[str, Any]]) -> pd.DataFrame:
    """Outcome ``rows`` joined with their questions; an empty table of the right columns without rows."""
    queries = pd.DataFrame(map(query_row, asked))
    if not rows:
        return queries.head(0).assign(model=[], answer=[], correct=[], cites_gold=[], cost_nanousd=[], latency_ms=[])
    return pd.DataFrame(rows).merge(queries, on="query_id", validate="many_to_one")


def baseline_table(name: str, answers: Answers, asked: Sequence[AskedQuestion]) -> pd.DataFrame:
    """What a baseline says to each question; it costs nothing that would be worth measuring."""
    rows = [_baseline_row(name, item, answers(item.question, item.hits)) for item in asked]
    return outcome_table(asked, rows)


def _baseline_row(name: str, item: AskedQuestion, answer: RungAnswer) -> dict[str, Any]:
    gold = set(item.row.get("passage_ids") or ())
    cited = {citation.passage_id for citation in answer.citations}
    return {
        "query_id": item.row["id"],
        "model": name,
        "answer": answer.text,
        "correct": quality(item.row, answer.text),
        "cites_gold": float(bool(gold & cited)) if gold and answer.text else None,
        "cost_nanousd": answer.cost_nanousd,
        "latency_ms": answer.latency_ms,
    }
