"""Stage `train-scorer`: learn from recorded outcomes how far each rung's answers can be trusted.

Validation rows only, by folds of whole documents: each validation row's score comes from heads that never saw its
document, so that `tune-cascade` may choose thresholds on the same rows. The heads that are kept are fitted on all
validation rows; test rows get their scores from those.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.metrics import roc_auc_score

from palier.adapters.scorer_training import fit_head, fold_of
from palier.adapters.workspace import Workspace, write_json, write_text
from palier.domain.scoring import LogisticHead, ScorerWeights
from palier.errors import NotReadyError
from palier.params import Params

N_BINS = 10


@dataclass(frozen=True)
class ScorerResult:
    """`auc` and `ece` are out of fold, over the validation outcomes of all rungs."""

    n_rows: int
    metrics: Mapping[str, float]


def run(params: Params, root: Path, progress: Callable[[int, int, str], None]) -> ScorerResult:
    """Write models/scorer/scorer.json and data/scores/scores.parquet."""
    workspace = Workspace(root)
    table = load_outcomes(workspace)
    rng = np.random.default_rng(params.seed)
    validation = table[table["split"] == "validation"].reset_index(drop=True)
    folds = fold_of(validation["document_id"].tolist(), params.train_scorer.folds, rng)
    scores = np.zeros(len(validation))
    for fold in range(params.train_scorer.folds):
        heads = _fit(validation[folds != fold], params)
        scores[folds == fold] = _predict(heads, validation[folds == fold])
        progress(fold + 1, params.train_scorer.folds, "out-of-fold scores")
    weights = _fit(validation, params)
    others = table[table["split"] != "validation"].reset_index(drop=True)
    _write(
        workspace,
        weights,
        pd.concat([validation, others]),
        np.concatenate([scores, _predict(weights, others)]),
    )
    metrics = scorer_metrics(scores, validation["correct"].to_numpy())
    write_json(workspace.scorer / "metrics.json", metrics)
    return ScorerResult(len(validation), metrics)


def load_outcomes(workspace: Workspace) -> pd.DataFrame:
    """Outcomes joined with their questions; NotReadyError before `record-outcomes`."""
    path = workspace.outcomes / "outcomes.parquet"
    if not path.is_file():
        raise NotReadyError(f"{path} is not there yet: run `palier record-outcomes` first.")
    queries = pd.read_parquet(workspace.outcomes / "queries.parquet")
    return pd.read_parquet(path).merge(queries, on="query_id", validate="many_to_one")


def scorer_metrics(scores: NDArray[np.float64], quality: NDArray[np.float64]) -> dict[str, float]:
    """AUC against "quality of at least one half", and the expected calibration error against quality."""
    good = quality >= 0.5
    metrics = {"scorer.ece": calibration_error(scores, quality)}
    if good.any() and not good.all():
        metrics["scorer.auc"] = float(roc_auc_score(good, scores))
    return metrics


def calibration_error(scores: NDArray[np.float64], quality: NDArray[np.float64]) -> float:
    """ECE over bins of equal count: mean distance between mean score and mean quality, weighted by rows."""
    bins = np.array_split(np.argsort(scores, kind="stable"), min(N_BINS, max(1, len(scores) // 10)))
    gaps = [abs(scores[rows].mean() - quality[rows].mean()) * len(rows) for rows in bins if len(rows)]
    return float(sum(gaps) / len(scores))


def _fit(table: pd.DataFrame, params: Params) -> ScorerWeights:
    heads: dict[bool, dict[str, LogisticHead]] = {True: {}, False: {}}
    for rung, group in table.groupby("model"):
        for answered in (True, False):
            rows = group[(group["answer"] != "") == answered]
            matrix = np.array(rows["features"].tolist(), dtype=np.float64)
            head = fit_head(matrix, rows["correct"].to_numpy(), params.train_scorer.regularisation)
            heads[answered][str(rung)] = head
    return ScorerWeights(answered=heads[True], abstained=heads[False])


def _predict(weights: ScorerWeights, table: pd.DataFrame) -> NDArray[np.float64]:
    def score(answer: str, rung: str, vector: NDArray[np.float64]) -> float:
        return (weights.answered if answer else weights.abstained)[rung].predict(np.asarray(vector))

    rows = zip(table["answer"], table["model"], table["features"], strict=True)
    return np.array([score(answer, rung, vector) for answer, rung, vector in rows])


def _write(workspace: Workspace, weights: ScorerWeights, table: pd.DataFrame, scores: NDArray[np.float64]) -> None:
    write_text(workspace.scorer / "scorer.json", weights.model_dump_json(indent=1) + "\n")
    workspace.scores.mkdir(parents=True, exist_ok=True)
    frame = pd.DataFrame({"query_id": table["query_id"], "model": table["model"], "score": scores})
    frame.to_parquet(workspace.scores / "scores.parquet", index=False)
