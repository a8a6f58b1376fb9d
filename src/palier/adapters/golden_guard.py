"""The guard that a workspace releases: the starter's weights and classifier, with thresholds that its own golden
questions bear.

They are judged as the gateway would judge them, with their conversations, and as off topic only where it looks at that.
Golden questions are honest by definition: where the starter would refuse more of a language's validation questions
than `guard.max_refused`, its threshold rises until it does not. It never falls: a hundred questions say little of what
strangers will try.
"""

import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from palier.adapters.catalogue import resolve
from palier.adapters.guard_training import threshold_for
from palier.adapters.onnx_cross_encoder import cross_encoder_in
from palier.adapters.onnx_encoder import OnnxEncoder
from palier.adapters.outcome_recorder import turns_of
from palier.adapters.workspace import Workspace, write_text
from palier.domain.answering import Question
from palier.domain.documents import Lang
from palier.domain.guarding import LANGUAGES, Guard, GuardWeights, off_topic_score
from palier.errors import NotReadyError
from palier.params import Params

STARTER = "guard-starter"
BASE = "all-minilm-l6-v2"
"""What the starter's classifier is a change of, whatever encoder a workspace has."""
GUARD_FILE = "guard.json"
THRESHOLDS = ("attack_threshold", "topic_threshold")


def make_guard(params: Params, workspace: Workspace) -> dict[str, float]:
    """Write models/guard: guard.json, and the classifier as int8 ONNX where the starter has one.

    What comes back is the share of golden questions that is refused, by split, and each threshold: one golden question
    that looks like an attack may raise it so far that little is caught. Empty without a guard. Raises IntegrityError
    when the workspace's encoder has other dimensions than the starter was made for, and NotReadyError for outcomes that
    an older version recorded.
    """
    shutil.rmtree(workspace.guard, ignore_errors=True)
    workspace.guard.mkdir(parents=True, exist_ok=True)  # DVC waits for the folder, also where nothing guards
    if not params.guard.enabled:
        return {}
    queries = _recorded_queries(workspace)
    path = resolve(STARTER) / GUARD_FILE
    weights = GuardWeights.model_validate_json(path.read_text(encoding="utf-8"))
    if weights.classifier is not None:
        export_classifier(workspace.guard)
    questions = _questions(queries)
    guard = Guard(weights, OnnxEncoder(workspace.encoder), cross_encoder_in(workspace.guard))
    attack = np.array([guard.judge(question).score for question in questions])
    judges_topic = params.guard.off_topic and params.retrieval.searches
    topic = _topic_scores(weights, queries, questions) if judges_topic else np.zeros(len(queries))
    validation = (queries["split"] == "validation").to_numpy()
    langs = queries["lang"].to_numpy(dtype=str)
    raised = raise_thresholds(
        weights, attack[validation], topic[validation], langs[validation], params.guard.max_refused
    )
    write_text(workspace.guard / GUARD_FILE, raised.model_dump_json(indent=1) + "\n")
    refused = _refused(raised, attack, topic, langs)
    splits = queries["split"].to_numpy(dtype=str)
    told = {f"guard.refused.{name}": float(refused[splits == name].mean()) for name in np.unique(splits)}
    for name in THRESHOLDS:
        told |= {f"guard.{name}.{lang}": threshold for lang, threshold in getattr(raised, name).items()}
    return told


def export_classifier(folder: Path) -> None:
    """Write the starter's classifier into ``folder`` as int8 ONNX."""
    from palier.adapters.torch_cross_encoder import export_cross_encoder, starter_cross_encoder

    base = resolve(BASE)
    export_cross_encoder(starter_cross_encoder(base, resolve(STARTER)), base, folder)


def raise_thresholds(
    weights: GuardWeights,
    attack: NDArray[np.float64],
    topic: NDArray[np.float64],
    langs: NDArray[np.str_],
    max_refused: float,
) -> GuardWeights:
    """``weights`` with each language's thresholds no lower than honest scores allow; half of the share for each."""
    found: dict[str, dict[Lang, float]] = {name: {} for name in THRESHOLDS}
    for lang in LANGUAGES:
        for name, scores in zip(THRESHOLDS, (attack, topic), strict=True):
            known = getattr(weights, name).get(lang, 1.1)
            own = scores[langs == lang]
            found[name][lang] = max(known, threshold_for(own, max_refused / 2)) if len(own) else known
    return weights.model_copy(update=found)


def _recorded_queries(workspace: Workspace) -> pd.DataFrame:
    queries = pd.read_parquet(workspace.outcomes / "queries.parquet")
    if "history" not in queries:
        raise NotReadyError(
            "The outcomes do not hold the conversations before the golden questions, which the guard reads. Record "
            "them again: `palier record-outcomes` (answers are remembered)."
        )
    return queries


def _questions(queries: pd.DataFrame) -> list[Question]:
    columns = (queries["query"], queries["lang"], queries["history"])
    return [Question(text, lang, turns_of(history)) for text, lang, history in zip(*columns, strict=True)]


def _topic_scores(weights: GuardWeights, queries: pd.DataFrame, questions: Sequence[Question]) -> NDArray[np.float64]:
    rows = [np.asarray(row, dtype=np.float64) for row in queries["topic"]]
    return np.array([off_topic_score(weights, row, one) for row, one in zip(rows, questions, strict=True)])


def _refused(
    weights: GuardWeights, attack: NDArray[np.float64], topic: NDArray[np.float64], langs: NDArray[np.str_]
) -> NDArray[np.bool_]:
    by_text = attack >= np.array([weights.attack_threshold.get(lang, 1.1) for lang in langs.tolist()])
    by_topic = topic >= np.array([weights.topic_threshold.get(lang, 1.1) for lang in langs.tolist()])
    return np.asarray(by_text | by_topic)
