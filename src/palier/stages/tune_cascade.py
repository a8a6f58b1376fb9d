"""Stage `tune-cascade`: choose the cascade from recorded outcomes and out-of-fold scores, for the budget.

Validation rows only: test rows stay untouched for `evaluate-release`. The choice itself is made in
`palier.domain.cascade`; this stage reads, says what the owner asks for in rungs and nano-dollars, writes, and has
the front drawn.
"""

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from palier.adapters.beliefs.from_outcomes import beliefs_of
from palier.adapters.pareto_plot import Axes, PlotPoint, draw_pareto
from palier.adapters.workspace import Workspace, write_json
from palier.domain.answering import Cascade
from palier.domain.cascade.optimise import Tuned, reference_rung, tune
from palier.domain.cascade.outcomes import OutcomeTable
from palier.domain.cascade.search import Constraints
from palier.domain.money import NANOUSD_PER_USD
from palier.errors import InputError, NotReadyError, ParamsError
from palier.params import Params

Progress = Callable[[int, int, str], None]
N_STEPS = 3


@dataclass(frozen=True)
class TuneResult:
    """The chosen cascade, what it promises, and why it was chosen; costs in nano-dollars per question."""

    cascade: Cascade
    reference_rung: str
    reference_cost_nanousd: int
    guarantee: Mapping[str, Any]
    expected: Mapping[str, Any]
    reason: str
    metrics: Mapping[str, float]


def run(params: Params, root: Path, progress: Progress) -> TuneResult:
    """Write data/cascade/{cascade.json, metrics.json, front.png, front.svg}.

    Raises NotReadyError before `record-outcomes` and `train-scorer`, and ParamsError, naming the constraints to blame,
    when no cascade keeps them all.
    """
    workspace = Workspace(root)
    table = load_table(workspace, "validation")
    progress(1, N_STEPS, f"{table.n_rows} validation questions, {table.n_rungs} rungs")
    chosen = _tune(params, table)
    if chosen.cascade is None:
        raise ParamsError(f"tune_cascade: {chosen.reason}")
    progress(2, N_STEPS, chosen.reason)
    result = TuneResult(
        chosen.cascade,
        chosen.reference,
        chosen.reference_cost_nanousd,
        asdict(chosen.guarantee),
        {name: asdict(estimate) for name, estimate in chosen.expected.items()},
        chosen.reason,
        _metrics(chosen),
    )
    _write(workspace, table, chosen, result)
    progress(N_STEPS, N_STEPS, "front drawn")
    return result


def load_table(workspace: Workspace, split: str) -> OutcomeTable:
    """Recorded outcomes and scores of one split as arrays, rungs by rising mean cost."""
    outcomes = _read(workspace.outcomes / "outcomes.parquet", "record-outcomes")
    queries = _read(workspace.outcomes / "queries.parquet", "record-outcomes")
    scores = _read(workspace.scores / "scores.parquet", "train-scorer")
    queries = queries[queries["split"] == split].sort_values("query_id")
    rows = outcomes[outcomes["query_id"].isin(queries["query_id"])]
    if rows.empty:
        raise InputError(f"No {split} outcomes: mark golden questions as {split} and record outcomes again.")
    joined = rows.merge(scores, on=["query_id", "model"], how="left", validate="one_to_one")
    if joined["score"].isna().any():
        raise NotReadyError("Some outcomes have no score: run `palier train-scorer` first.")
    table = _as_table(queries, joined, split)
    told = workspace.scores / "beliefs.parquet"
    if "promise" not in joined or not told.is_file():
        return table
    return _with_beliefs(table, joined, pd.read_parquet(told))


def _with_beliefs(table: OutcomeTable, joined: pd.DataFrame, beliefs: pd.DataFrame) -> OutcomeTable:
    """The table with what `train-scorer` found rungs to promise, and answers to be believed beside others."""
    ids, rungs = list(table.query_ids), list(table.rungs)
    promise = joined.pivot(index="query_id", columns="model", values="promise").reindex(index=ids, columns=rungs)
    asked = beliefs[beliefs["query_id"].isin(ids)]
    found = beliefs_of(asked, ids, table.rungs)
    if promise.isna().any(axis=None) or any(np.isnan(told).any() for told in found.values()):
        raise NotReadyError("Some outcomes have no promise or no belief: run `palier train-scorer` first.")
    return replace(table, promise=promise.to_numpy(dtype=np.float64), beliefs=found)


def _as_table(queries: pd.DataFrame, joined: pd.DataFrame, split: str) -> OutcomeTable:
    rungs = joined.groupby("model")["cost_nanousd"].mean().sort_values().index
    ids = queries["query_id"].tolist()

    def wide(column: str) -> np.ndarray[Any, np.dtype[np.float64]]:
        table = joined.pivot(index="query_id", columns="model", values=column)
        return table.reindex(index=ids, columns=rungs).to_numpy(dtype=np.float64)

    unanswerable = ~queries["answerable"].to_numpy(dtype=bool) if "answerable" in queries else None
    return OutcomeTable(
        query_ids=[str(query_id) for query_id in ids],
        rungs=tuple(str(rung) for rung in rungs),
        quality=wide("correct"),
        cost_nanousd=np.nan_to_num(wide("cost_nanousd")).astype(np.int64),
        score=np.nan_to_num(wide("score")),
        latency_ms=np.nan_to_num(wide("latency_ms")) if _knows_latency(joined) else None,
        languages=queries["lang"].to_numpy(dtype=str),
        split=np.full(len(ids), split),
        abstain_quality=None if unanswerable is None else unanswerable.astype(np.float64),
    )


def _knows_latency(joined: pd.DataFrame) -> bool:
    """Outcomes that were recorded elsewhere may not tell how long an answer took, or not of every rung."""
    return "latency_ms" in joined and bool(joined["latency_ms"].notna().all())


def _tune(params: Params, table: OutcomeTable) -> Tuned:
    asked = params.tune_cascade
    return tune(
        table,
        budget_nanousd=asked.budget_nanousd,
        margin=asked.margin,
        confidence=asked.confidence,
        max_depth=asked.max_depth,
        rng=np.random.default_rng(params.seed),
        constraints=_constraints(params, table),
    )


def _constraints(params: Params, table: OutcomeTable) -> Constraints:
    """What the owner asks for beside the budget; ParamsError for a rung that the ladder does not have."""
    asked, banned = params.tune_cascade, dict[str, tuple[str, ...]]()
    for lang, rungs in asked.forbidden.items():
        for rung in rungs:
            if rung not in params.ladder.rungs and rung not in table.rungs:
                raise ParamsError(
                    f"tune_cascade.forbidden.{lang}: no rung {rung!r}; the ladder has {', '.join(params.ladder.rungs)}."
                )
            if rung in table.rungs:  # one that failed its probation is reached by nobody
                banned[rung] = (*banned.get(rung, ()), lang)
    top = {} if asked.max_top_share is None else {table.rungs[reference_rung(table)]: asked.max_top_share}
    return Constraints(latency_p95_ms=asked.max_latency_ms_p95, max_share=top, forbidden=banned)


def _read(path: Path, made_by: str) -> pd.DataFrame:
    if not path.is_file():
        raise NotReadyError(f"{path} is not there yet: run `palier {made_by}` first.")
    return pd.read_parquet(path)


def _metrics(chosen: Tuned) -> dict[str, float]:
    """What is worth following from run to run; cross-fitted figures where there are enough rows."""
    metrics = {
        "n_questions": float(chosen.reference_quality.n),
        "reference_quality": chosen.reference_quality.value,
        "reference_cost_nanousd": float(chosen.reference_cost_nanousd),
        "guarantee_met": float(chosen.guarantee.met),
        "difference": chosen.guarantee.difference,
        "difference_bound": chosen.guarantee.bound,
    }
    if chosen.quality is not None and chosen.cost is not None:
        metrics["expected_quality"] = chosen.quality.value
        metrics["expected_cost_nanousd"] = chosen.cost.value
        metrics["expected_saving"] = 1 - chosen.cost.value / max(1, chosen.reference_cost_nanousd)
    if chosen.top_share is not None:
        metrics["expected_top_share"] = chosen.top_share
    if chosen.latency_p95_ms is not None:
        metrics["expected_latency_p95_ms"] = chosen.latency_p95_ms
    return metrics


def _write(workspace: Workspace, table: OutcomeTable, chosen: Tuned, result: TuneResult) -> None:
    front = [
        {
            "cost_nanousd": point.cost_nanousd,
            "quality": point.quality,
            "chain": [table.rungs[rung] for rung in point.chain],
            "thresholds": list(point.thresholds),
            "by_beliefs": point.believed,
            "routed": point.routed,
        }
        for point in chosen.front
    ]
    content = {
        "cascade": result.cascade.model_dump(mode="json"),
        "status": chosen.status,
        "reference_rung": result.reference_rung,
        "reference_cost_nanousd": result.reference_cost_nanousd,
        "guarantee": result.guarantee,
        "expected": result.expected,
        "reason": result.reason,
        "front": front,
    }
    write_json(workspace.cascade / "cascade.json", content)
    write_json(workspace.cascade / "metrics.json", result.metrics)
    _draw_front(workspace.cascade, table, chosen)


def _draw_front(folder: Path, table: OutcomeTable, chosen: Tuned) -> None:
    """Quality against cost, on these rows: the front, each rung alone, and the chosen point."""
    points = [_dot(point.cost_nanousd, point.quality) for point in chosen.front]
    for rung, name in enumerate(table.rungs):
        points.append(_dot(table.mean_cost(rung), float(np.nanmean(table.quality[:, rung])), name))
    if chosen.point is not None:
        points.append(_dot(chosen.point.cost_nanousd, chosen.point.quality, "chosen"))
    draw_pareto(
        points, Axes("Cascades for the recorded outcomes", "USD per 1,000 questions", "quality"), folder, "front"
    )


def _dot(cost_nanousd: float, quality: float, name: str = "") -> PlotPoint:
    return PlotPoint(cost_nanousd * 1000 / NANOUSD_PER_USD, quality, name)
