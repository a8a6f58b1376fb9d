"""Stage `evaluate-release`: what the chosen cascade is worth on the golden test questions.

Test rows only, after every choice was made. The same `climb` that the gateway runs goes over the recorded answers,
so that nothing is asked again and what is measured is what will be served.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from palier.adapters.evaluation.answer_measures import Sampling
from palier.adapters.evaluation.scorer_measures import auc_interval
from palier.adapters.workspace import Workspace, read_json, write_json
from palier.domain.answering import Cascade, Climb, Hit, Question, RungAnswer, climb
from palier.domain.bootstrap import mean_interval
from palier.errors import NotReadyError
from palier.params import Params
from palier.stages.train_scorer import load_outcomes, scorer_metrics


@dataclass(frozen=True)
class EvaluationResult:
    """Every metric with its 95 % interval, as in the manifest."""

    n_questions: int
    intervals: Mapping[str, Mapping[str, float]]

    @property
    def metrics(self) -> dict[str, float]:
        return {name: interval["value"] for name, interval in self.intervals.items()}


def run(params: Params, root: Path, progress: Callable[[int, int, str], None]) -> EvaluationResult:
    """Write data/evaluation/metrics.json and answers.parquet (one row per test question)."""
    workspace = Workspace(root)
    chosen = read_json(workspace.cascade / "cascade.json", "tune-cascade")
    table = _scored(workspace)
    test = table[table["split"] == "test"]
    if test.empty:
        raise NotReadyError("No golden test question is left: add some (split: test) and version the documents.")
    cascade = Cascade.model_validate(chosen["cascade"])
    answers = replay(test, cascade, read_beliefs(workspace, test["query_id"]) if cascade.by_beliefs else None)
    progress(len(answers), len(answers), "test questions")
    reference = test[test["model"] == chosen["reference_rung"]]
    intervals = _intervals(answers, reference, params)
    for rung, rows in test.groupby("model"):
        intervals |= _rung_intervals(str(rung), rows, params)
    intervals |= _scorer_intervals(test, params)
    workspace.evaluation.mkdir(parents=True, exist_ok=True)
    answers.to_parquet(workspace.evaluation / "answers.parquet", index=False)
    write_json(workspace.evaluation / "metrics.json", intervals)
    return EvaluationResult(len(answers), intervals)


Beliefs = Mapping[tuple[str, frozenset[str]], Mapping[str, float]]
"""What is believed of each rung's answer, by question and by the set of rungs that were seen."""


def read_beliefs(workspace: Workspace, asked: pd.Series) -> Beliefs:
    """What `train-scorer` found for the questions ``asked``; NotReadyError before it has."""
    path = workspace.scores / "beliefs.parquet"
    if not path.is_file():
        raise NotReadyError(f"{path} is not there, and the cascade climbs by beliefs: run `palier train-scorer` first.")
    told = pd.read_parquet(path)
    told = told[told["query_id"].isin(asked)]
    found: dict[tuple[str, frozenset[str]], Mapping[str, float]] = {}
    for _, part in told.groupby("seen"):
        by_rung = part.pivot(index="query_id", columns="model", values="belief")
        seen = frozenset(map(str, by_rung.columns))
        rows = zip(by_rung.index, by_rung.to_dict("records"), strict=True)
        found |= {(str(query), seen): {str(rung): float(value) for rung, value in row.items()} for query, row in rows}
    return found


def replay(table: pd.DataFrame, cascade: Cascade, beliefs: Beliefs | None = None) -> pd.DataFrame:
    """One row per question: the cascade's answer, rung, quality, cost and latency, from recorded outcomes.

    ``beliefs`` for a cascade that climbs by them.
    """
    rows = []
    for query_id, group in table.groupby("query_id", sort=True):
        recorded: dict[str, Any] = {str(row.model): row for row in group.itertuples(index=False)}
        rungs = {name: _Recorded(row) for name, row in recorded.items()}
        first = next(iter(recorded.values()))
        question = Question(first.query, first.lang)
        result = climb(question, (), cascade, rungs, _RecordedScorer(str(query_id), recorded, beliefs or {}))
        rows.append(_answer_row(str(query_id), first, recorded[result.final.answer.rung], result))
    return pd.DataFrame(rows)


class _Recorded:
    """A rung that says what it was recorded to say."""

    def __init__(self, row: Any) -> None:
        self.name = str(row.model)
        self._answer = RungAnswer(
            rung=self.name,
            text=row.answer,
            cost_nanousd=int(row.cost_nanousd),
            latency_ms=float(row.latency_ms),
        )

    def answer(self, question: Question, hits: Sequence[Hit]) -> RungAnswer:  # noqa: ARG002
        return self._answer


class _RecordedScorer:
    """The scores, promises and beliefs that `train-scorer` gave to one question's recorded answers."""

    def __init__(self, query_id: str, recorded: Mapping[str, Any], beliefs: Beliefs) -> None:
        self._query_id = query_id
        self._recorded = recorded
        self._beliefs = beliefs

    def score(
        self,
        question: Question,  # noqa: ARG002
        hits: Sequence[Hit],  # noqa: ARG002
        answer: RungAnswer,
        earlier: Sequence[RungAnswer],  # noqa: ARG002
    ) -> float:
        return float(self._recorded[answer.rung].score)

    def believe(self, question: Question, answers: Sequence[RungAnswer]) -> Sequence[float]:  # noqa: ARG002
        if len(answers) == 1:
            return [float(self._recorded[answers[0].rung].score)]
        believed = self._beliefs[self._query_id, frozenset(answer.rung for answer in answers)]
        return [float(believed[answer.rung]) for answer in answers]

    def promise(self, question: Question, rung: str) -> float:  # noqa: ARG002
        return float(self._recorded[rung].promise)


def _answer_row(query_id: str, first: Any, final: Any, result: Climb) -> dict[str, Any]:
    """An abstention is right where there is no answer, and worth nothing elsewhere."""
    quality = float(not first.answerable) if result.abstained else float(final.correct)
    return {
        "query_id": query_id,
        "lang": first.lang,
        "kind": first.kind,
        "answerable": bool(first.answerable),
        "rung": result.final.answer.rung,
        "answer": "" if result.abstained else result.final.answer.text,
        "answered": not result.abstained,
        "score": result.final.score,
        "f1": quality,
        "cites_gold": None if result.abstained else final.cites_gold,
        "retrieved_gold": bool(first.retrieved_gold),
        "cost_nanousd": result.cost_nanousd,
        "latency_ms": sum(attempt.answer.latency_ms for attempt in result.attempts),
    }


def _scored(workspace: Workspace) -> pd.DataFrame:
    scores = pd.read_parquet(workspace.scores / "scores.parquet")
    return load_outcomes(workspace).merge(scores, on=["query_id", "model"], validate="one_to_one")


def _intervals(answers: pd.DataFrame, reference: pd.DataFrame, params: Params) -> dict[str, dict[str, float]]:
    """The cascade's metrics over all test questions and per language, and its saving against the reference."""
    slices = {"": answers, **{f".{lang}": answers[answers["lang"] == lang] for lang in params.languages}}
    found: dict[str, dict[str, float]] = {}
    for suffix, rows in slices.items():
        if rows.empty:
            continue
        found[f"f1{suffix}"] = _interval(rows["f1"], params)
        found[f"share_answered{suffix}"] = _interval(rows["answered"], params)
    answerable = answers[answers["answerable"]]
    if len(answerable):
        found["f1.answerable"] = _interval(answerable["f1"], params)
        if params.retrieval.searches:
            found[f"recall_at_{params.retrieval.k}"] = _interval(answerable["retrieved_gold"], params)
    cited = answers["cites_gold"].dropna()
    if len(cited):
        found["citation_correct"] = _interval(cited, params)
    found["cost_usd"] = _interval(answers["cost_nanousd"] / 1e9, params)
    if answers["latency_ms"].notna().all():  # outcomes that were recorded elsewhere may not tell it
        found["latency_ms"] = _interval(answers["latency_ms"], params)
    paid = reference.set_index("query_id")["cost_nanousd"].reindex(answers["query_id"]).to_numpy(dtype=float)
    known = ~np.isnan(paid)  # recorded outcomes may lack some of the reference's answers
    if paid[known].sum() > 0:  # nothing can be saved against a reference that is free
        spent = answers["cost_nanousd"].to_numpy(dtype=float)
        found["saving"] = _ratio_interval(spent[known], paid[known], params)
    return found


def _rung_intervals(rung: str, rows: pd.DataFrame, params: Params) -> dict[str, dict[str, float]]:
    found = {
        f"{rung}.f1": _interval(rows["correct"], params),
        f"{rung}.share_answered": _interval(rows["answer"] != "", params),
        f"{rung}.cost_usd": _interval(rows["cost_usd"], params),
    }
    if rows["latency_ms"].notna().all():
        found[f"{rung}.latency_ms"] = _interval(rows["latency_ms"], params)
    return found


def _scorer_intervals(test: pd.DataFrame, params: Params) -> dict[str, dict[str, float]]:
    """AUC's interval is over resampled questions. Calibration errors have none, so theirs are of no width: a resample
    repeats rows, and seems worse calibrated than the rows are.
    """
    metrics = scorer_metrics(test["score"].to_numpy(), test["correct"].to_numpy())
    found = {f"test.{name}": {"value": v, "low": v, "high": v, "n": len(test)} for name, v in metrics.items()}
    if auc := auc_interval(test, Sampling(params.seed, params.evaluate_release.bootstrap_samples)):
        found["test.scorer.auc"] = asdict(auc)
    return found


def _interval(values: Any, params: Params) -> dict[str, float]:
    rng = np.random.default_rng(params.seed)
    array = np.asarray(values, dtype=np.float64)
    interval = mean_interval(array, rng, samples=params.evaluate_release.bootstrap_samples)
    return {"value": interval.value, "low": interval.low, "high": interval.high, "n": interval.n}


def _ratio_interval(paid: Any, reference: Any, params: Params) -> dict[str, float]:
    """1 - cost / reference cost, with a bootstrap over questions (both sums of one resample)."""
    rng = np.random.default_rng(params.seed)
    rows = rng.integers(0, len(paid), (params.evaluate_release.bootstrap_samples, len(paid)))
    savings = 1.0 - paid[rows].sum(axis=1) / np.maximum(1.0, reference[rows].sum(axis=1))
    low, high = np.quantile(savings, [0.025, 0.975])
    value = 1.0 - paid.sum() / max(1.0, reference.sum())
    return {"value": float(value), "low": float(low), "high": float(high), "n": len(paid)}
