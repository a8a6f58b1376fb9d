"""Stage `train-scorer`: learn from recorded outcomes how far each rung's answers can be trusted.

Validation rows only, by folds of whole documents: each validation row's score comes from heads that never saw its
document, so that `tune-cascade` may choose thresholds on the same rows. The heads that are kept are fitted on all
validation rows; test rows get their scores from those.

What people thought of answers in use (thumbs and corrections, about documents that measure nothing) is learned too, as
weak labels: each counts `thumb_weight` of a golden one.

Where rungs answer without passages, and there are questions enough, what is believed of their answers is learnt from
the answers' words and from how they agree (`palier.domain.beliefs`), and takes the place of the heads.

Beside the heads of the ladder's rungs there is one for answers from elsewhere (`/v1/score`). All begin at the starter's
heads. The guard is made here as well: the starter's weights, its thresholds raised as far as golden questions ask.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.metrics import roc_auc_score

from palier.adapters.beliefs.from_outcomes import BeliefTables, learn_from_outcomes, why_not_learnt
from palier.adapters.beliefs.store import BELIEFS_FILE, save_believer
from palier.adapters.catalogue import resolve
from palier.adapters.feedback_labels import read_label_rows
from palier.adapters.golden_guard import make_guard
from palier.adapters.onnx_encoder import OnnxEncoder
from palier.adapters.scorer_training import fit_head, fold_of
from palier.adapters.workspace import Workspace, write_json, write_text
from palier.domain.calibration import calibration_error, calibration_error_by_chance
from palier.domain.scoring import (
    AGREEMENT,
    ALL_FEATURES,
    ANY_RUNG,
    FEATURES,
    LogisticHead,
    ScorerWeights,
    agreement_features,
    as_outsider,
)
from palier.errors import IntegrityError, NotReadyError
from palier.params import Params


@dataclass(frozen=True)
class ScorerResult:
    """`auc` and `ece` are out of fold, over the validation outcomes of all rungs."""

    n_rows: int
    metrics: Mapping[str, float]


def run(params: Params, root: Path, progress: Callable[[int, int, str], None]) -> ScorerResult:
    """Write models/scorer/scorer.json, models/guard/guard.json and data/scores/scores.parquet; where beliefs are learnt
    also models/scorer/beliefs.safetensors and data/scores/beliefs.parquet."""
    workspace = Workspace(root)
    table = load_outcomes(workspace)
    validation = table[table["split"] == "validation"].reset_index(drop=True)
    if validation.empty:
        raise NotReadyError(
            "The outcomes hold no validation question, and the scorer learns from no others: mark golden questions "
            "`split: validation`, then `palier version-documents` and `palier record-outcomes`."
        )
    labels = read_label_rows(workspace.outcomes, params.train_scorer.thumb_weight)
    weights = fit_scorer(pd.concat([validation, labels]), params)
    learnt = _learn_beliefs(params, workspace, table, progress)
    if learnt is None:
        others = table[table["split"] != "validation"].reset_index(drop=True)
        scores = [_out_of_fold(validation, labels, params, progress), predict_scores(weights, others)]
        scored = pd.concat([validation, others])[["query_id", "model"]].assign(score=np.concatenate(scores))
    else:
        scored = learnt.scores
    _write(workspace, weights, scored, learnt)
    judged = validation.merge(scored, on=["query_id", "model"], validate="one_to_one")
    metrics = scorer_metrics(judged["score"].to_numpy(), judged["correct"].to_numpy())
    metrics |= make_guard(params, workspace)
    write_json(workspace.scorer / "metrics.json", metrics)
    return ScorerResult(len(validation), metrics)


def _out_of_fold(
    validation: pd.DataFrame, labels: pd.DataFrame, params: Params, progress: Callable[[int, int, str], None]
) -> NDArray[np.float64]:
    """(n): each validation row's score by heads that have not seen its document."""
    n_folds = params.train_scorer.folds
    folds = fold_of(validation["document_id"].tolist(), n_folds, np.random.default_rng(params.seed))
    scores = np.zeros(len(validation))
    for fold in range(n_folds):
        heads = fit_scorer(pd.concat([validation[folds != fold], labels]), params)
        scores[folds == fold] = predict_scores(heads, validation[folds == fold])
        progress(fold + 1, n_folds, "out-of-fold scores")
    return scores


def _learn_beliefs(
    params: Params, workspace: Workspace, table: pd.DataFrame, progress: Callable[[int, int, str], None]
) -> BeliefTables | None:
    """None where answers rest on passages, or where there is too little to learn from."""
    if params.retrieval.searches:
        return None
    if reason := why_not_learnt(table):
        progress(1, 1, f"beliefs are not learnt: {reason}")
        return None
    return learn_from_outcomes(table, OnnxEncoder(workspace.encoder), params.seed, progress)


def load_outcomes(workspace: Workspace) -> pd.DataFrame:
    """Outcomes joined with their questions; NotReadyError before `record-outcomes`."""
    path = workspace.outcomes / "outcomes.parquet"
    if not path.is_file():
        raise NotReadyError(f"{path} is not there yet: run `palier record-outcomes` first.")
    queries = pd.read_parquet(workspace.outcomes / "queries.parquet")
    return pd.read_parquet(path).merge(queries, on="query_id", validate="many_to_one")


def scorer_metrics(scores: NDArray[np.float64], quality: NDArray[np.float64]) -> dict[str, float]:
    """AUC against "quality of at least one half", and ECE against quality with its part by chance."""
    good = quality >= 0.5
    metrics = {
        "scorer.ece": calibration_error(scores, quality),
        "scorer.ece_by_chance": calibration_error_by_chance(scores, quality),
    }
    if good.any() and not good.all():
        metrics["scorer.auc"] = float(roc_auc_score(good, scores))
    return metrics


def fit_scorer(table: pd.DataFrame, params: Params) -> ScorerWeights:
    """Heads for each rung of ``table`` and for ANY_RUNG, for answers and for abstentions.

    An answer of a later rung is learnt from twice: as if it were alone, and beside those of cheaper rungs. With
    `hear_earlier` off both are the same.
    """
    starter = starter_scorer(params)
    hears = params.train_scorer.hear_earlier
    alone, heard = vectors_of(table, heard=False), vectors_of(table, heard=hears)
    spoke, quality = (table["answer"] != "").to_numpy(), table["correct"].to_numpy(dtype=np.float64)
    counts = _counts(table)
    rungs = table["model"].to_numpy(dtype=str)
    heads: dict[bool, dict[str, LogisticHead]] = {True: {}, False: {}}
    for answered in (True, False):
        known = (starter.answered if answered else starter.abstained) if starter else {}
        for rung in dict.fromkeys(rungs.tolist()):
            rows = (rungs == rung) & (spoke == answered)
            both = np.concatenate([alone[rows], heard[rows]])
            prior = known.get(_kind(rung, params))
            # Each row stands there twice, so what holds the weights is doubled too.
            twice = 2.0 * params.train_scorer.regularisation
            head = fit_head(both, np.tile(quality[rows], 2), twice, prior, np.tile(counts[rows], 2))
            heads[answered][rung] = head.model_copy(update={"n_rows": int(rows.sum())})
        rows = spoke == answered
        held = params.train_scorer.regularisation
        outside = as_outsider(alone[rows])
        heads[answered][ANY_RUNG] = fit_head(outside, quality[rows], held, known.get(ANY_RUNG), counts[rows])
    return ScorerWeights(hears_earlier=hears, answered=heads[True], abstained=heads[False])


def _counts(table: pd.DataFrame) -> NDArray[np.float64]:
    """For how many rows each row counts: one, where nobody said that its label is weak (a thumb, a judge)."""
    if "label_weight" not in table:
        return np.ones(len(table))
    return table["label_weight"].fillna(1.0).to_numpy(dtype=np.float64)


def starter_scorer(params: Params) -> ScorerWeights | None:
    """What the params name to begin from; IntegrityError when it was made for other features."""
    if params.train_scorer.starter is None:
        return None
    path = resolve(params.train_scorer.starter) / "scorer.json"
    weights = ScorerWeights.model_validate_json(path.read_text(encoding="utf-8"))
    if weights.features != ALL_FEATURES:
        raise IntegrityError(f"{path} was made for other features. Make it again, or set train_scorer.starter to null.")
    return weights


def vectors_of(table: pd.DataFrame, *, heard: bool) -> NDArray[np.float64]:
    """ALL_FEATURES of each row, shape (n, len(ALL_FEATURES)); with ``heard``, beside all cheaper rungs' answers.

    Raises NotReadyError for outcomes that an older version recorded.
    """
    width = -1 if len(table) else len(FEATURES)
    recorded = np.array(table["features"].tolist(), dtype=np.float64).reshape(len(table), width)
    if recorded.shape[1] != len(FEATURES):
        raise NotReadyError(
            f"The outcomes hold {recorded.shape[1]} numbers for each answer, and the scorer reads {len(FEATURES)}. "
            "Record them again: `palier record-outcomes` (answers are remembered)."
        )
    beside = np.zeros((len(table), len(AGREEMENT)))
    if heard:
        for place, (answer, lang, earlier) in enumerate(_heard_before(table)):
            beside[place] = agreement_features(answer, earlier, lang)
    return np.concatenate([recorded.reshape(len(table), len(FEATURES)), beside], axis=1)


def _heard_before(table: pd.DataFrame) -> list[tuple[str, Any, list[str]]]:
    """Each row's answer, its language, and the answers of the rungs that cost less on average."""
    costs = table.groupby("model")["cost_nanousd"].mean().sort_values(kind="stable")
    order = {str(rung): place for place, rung in enumerate(costs.index)}
    said: dict[str, dict[str, str]] = {}
    columns = [table["query_id"].tolist(), table["model"].tolist(), table["answer"].tolist()]
    for query, rung, answer in zip(*columns, strict=True):
        said.setdefault(query, {})[rung] = answer
    return [
        (answer, lang, [said[query][name] for name in order if order[name] < order[rung] and name in said[query]])
        for query, rung, answer, lang in zip(*columns, table["lang"].tolist(), strict=True)
    ]


def _kind(rung: str, params: Params) -> str:
    """The starter's name for a rung of the ladder: readers have one head, whatever else answers has ANY_RUNG's."""
    known = params.ladder.rungs.get(rung)
    return known.kind if known is not None and known.kind == "reader" else ANY_RUNG


def predict_scores(weights: ScorerWeights, table: pd.DataFrame) -> NDArray[np.float64]:
    """The score of each outcome of ``table``, beside those of cheaper rungs where ``weights`` hear them.

    A rung that nothing was learnt of has ANY_RUNG's head, which sees what it learnt from: no signal of ours.
    """
    vectors = vectors_of(table, heard=weights.hears_earlier)
    rows = zip(table["answer"], table["model"], vectors, strict=True)
    return np.array(
        [_expected(weights.answered if answer else weights.abstained, rung, vector) for answer, rung, vector in rows]
    )


def _expected(heads: Mapping[str, LogisticHead], rung: str, vector: NDArray[np.float64]) -> float:
    return heads[rung].predict(vector) if rung in heads else heads[ANY_RUNG].predict(as_outsider(vector))


def _write(workspace: Workspace, weights: ScorerWeights, scored: pd.DataFrame, learnt: BeliefTables | None) -> None:
    write_text(workspace.scorer / "scorer.json", weights.model_dump_json(indent=1) + "\n")
    workspace.scores.mkdir(parents=True, exist_ok=True)
    scored.to_parquet(workspace.scores / "scores.parquet", index=False)
    if learnt is None:  # what an earlier run learnt was about other outcomes
        (workspace.scorer / BELIEFS_FILE).unlink(missing_ok=True)
        (workspace.scores / "beliefs.parquet").unlink(missing_ok=True)
    else:
        save_believer(learnt.believer, workspace.scorer / BELIEFS_FILE)
        learnt.beliefs.to_parquet(workspace.scores / "beliefs.parquet", index=False)
