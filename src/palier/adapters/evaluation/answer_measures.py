"""What a rung's answers are worth: every measure of the report, over any set of outcome rows, with its interval.

Knows outcome tables (`record-outcomes` and its kind) and no model. Chance is one seed: the same table gives the same
intervals. The price: each measure is resampled by itself, so two of them cannot be compared pair by pair here.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from palier.adapters.evaluation.generation_scores import corpus_bleu, generation_scores
from palier.domain.bootstrap import Interval, mean_interval, statistic_interval
from palier.domain.text_metrics import best_exact_match, no_answer_f1, repetition_rate

Measures = Mapping[str, Interval | None]
"""By name; None where there is no row to measure on."""

NAMES = {
    "f1": "F1\u00a0↑",
    "share_answered": "Share answered",
    "em": "Exact match\u00a0↑",
    "no_answer_f1": "No-answer F1\u00a0↑",
    "quality": "Quality (F1, or 1 for a right “no answer”)\u00a0↑",
    "citation_correct": "Citation is the gold passage\u00a0↑",
    "bleu": "BLEU (sentence, 0–1)\u00a0↑",
    "rouge_l": "ROUGE-L\u00a0↑",
    "meteor": "METEOR (exact and stem)\u00a0↑",
    "repetition": "Repeated 3-grams\u00a0↓",
    "cost_usd": "Cost, USD per 1,000 questions\u00a0↓",
    "latency_ms": "Latency, ms\u00a0↓",
}
"""Measure by measure, as the page says it, and whether more or less is better. F1 and share answered stand side by
side: one is bought with the other.
"""


@dataclass(frozen=True)
class Sampling:
    """How intervals are drawn."""

    seed: int
    samples: int

    @property
    def rng(self) -> np.random.Generator:
        """A fresh generator in the same state."""
        return np.random.default_rng(self.seed)

    def mean(self, values: object) -> Interval | None:
        """The mean of what is a number, with its interval; None where nothing is."""
        data = np.asarray(values, dtype=np.float64)
        data = data[~np.isnan(data)]
        return mean_interval(data, self.rng, self.samples) if data.size else None


def with_scores(table: pd.DataFrame) -> pd.DataFrame:
    """``table`` with the columns em, bleu, rouge_l, meteor and repetition, for each answer by itself.

    EM and the generation scores are NaN for questions without an answer, repetition for abstentions.
    """
    rows = [_scores(row) for row in table.to_dict("records")]
    names = ["em", "bleu", "rouge_l", "meteor", "repetition"]
    return table.reset_index(drop=True).join(pd.DataFrame(rows, columns=names))


def measures(table: pd.DataFrame, sampling: Sampling) -> Measures:
    """All measures of ``table``, one rung's rows as `with_scores` gives them back.

    EM, F1 and the generation scores count answerable questions, an abstention as 0; citations count answers to
    answerable questions.
    """
    answerable = table[table["answerable"]]
    said = table["answer"] != ""
    found = {name: sampling.mean(answerable[name]) for name in ("em", "bleu", "rouge_l", "meteor")}
    return {
        "em": found.pop("em"),
        "f1": sampling.mean(answerable["correct"]),
        "share_answered": sampling.mean(answerable["answer"] != ""),
        "no_answer_f1": _no_answer(table, sampling),
        "quality": sampling.mean(table["correct"]),
        "citation_correct": sampling.mean(table["cites_gold"].astype(float)),
        **found,
        "repetition": sampling.mean(table.loc[said, "repetition"]),
        "cost_usd": sampling.mean(table["cost_nanousd"] / 1e9),
        "latency_ms": sampling.mean(table["latency_ms"].astype(float)),
    }


def bleu_of_all(table: pd.DataFrame) -> float | None:
    """Corpus BLEU, 0..100, over the rows that have a reference; None where none has."""
    rows = [(answer, json.loads(told)) for answer, told in zip(table["answer"], table["reference"], strict=True)]
    known = [(answer, references) for answer, references in rows if references]
    return corpus_bleu([answer for answer, _ in known], [references for _, references in known]) if known else None


def by_language(
    table: pd.DataFrame, languages: Sequence[str], measure: Callable[[pd.DataFrame], Measures]
) -> dict[str, Measures]:
    """``measure`` of all rows and of each language that has rows, side by side."""
    parts = {"all": table, **{lang: table[table["lang"] == lang] for lang in languages}}
    return {name: measure(part) for name, part in parts.items() if len(part)}


def _scores(row: Mapping[Any, Any]) -> dict[str, float]:
    answer, lang = str(row["answer"]), row["lang"]
    references = json.loads(row["reference"])
    found = {"repetition": repetition_rate(answer) if answer else float("nan")}
    if not references:
        return found
    scores = generation_scores(answer, references, lang)
    return found | {
        "em": best_exact_match(answer, references, lang) if answer else 0.0,
        "bleu": scores.bleu,
        "rouge_l": scores.rouge_l,
        "meteor": scores.meteor,
    }


def _no_answer(table: pd.DataFrame, sampling: Sampling) -> Interval | None:
    """None where every question has an answer: there is nothing to abstain from."""
    silent, none = (table["answer"] == "").to_numpy(), ~table["answerable"].to_numpy(dtype=bool)
    if not none.any():
        return None

    def f1(rows: NDArray[np.int64]) -> float:
        return no_answer_f1(silent[rows].tolist(), none[rows].tolist())

    return statistic_interval(len(table), f1, sampling.rng, sampling.samples)
