"""Recorded outcomes as what beliefs are learnt from, and what was learnt as tables that other stages read.

Validation rows teach, each judged by models that have not seen its document; all other rows are judged by the models
that will be in use. Price paid: a question that some rung was not asked belongs to no set, so beliefs are learnt only
where every rung answered every question.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from palier.adapters.beliefs.learners import Folds
from palier.adapters.beliefs.learning import Beliefs, Outcomes, Progress, in_use, learn_beliefs
from palier.domain.beliefs.believer import Believer, see
from palier.domain.beliefs.chances import Floats
from palier.domain.cascade.search import COMPLETE_DEPTH
from palier.domain.scoring import TextEncoder

MIN_QUESTIONS = 200
"""Fewer validation questions leave the scorer its few numbers: words and neighbours would be chance."""
AT_ONCE = 100


@dataclass(frozen=True)
class BeliefTables:
    """``scores``: query_id, model, score, promise. ``beliefs``: query_id, seen (a set's name), model, belief."""

    believer: Believer
    scores: pd.DataFrame
    beliefs: pd.DataFrame


def why_not_learnt(table: pd.DataFrame) -> str | None:
    """Why these outcomes are not enough to learn beliefs from; None when they are."""
    n_rungs, n_queries = table["model"].nunique(), table["query_id"].nunique()
    taught = table[table["split"] == "validation"]
    n_taught = taught["query_id"].nunique()
    if n_taught < MIN_QUESTIONS:
        return f"{n_taught} validation questions, at least {MIN_QUESTIONS} are needed"
    if taught["document_id"].nunique() < 2:
        return "all validation questions are of one document, and none is judged by what has seen its own"
    if n_rungs < 2:
        return "one rung has nothing to be compared with"
    if len(table) != n_rungs * n_queries:
        return f"{n_rungs * n_queries - len(table)} outcomes are missing: not every rung answered every question"
    return None


def learn_from_outcomes(table: pd.DataFrame, encoder: TextEncoder, seed: int, progress: Progress) -> BeliefTables:
    """Learn from rows that `why_not_learnt` has nothing against: query_id, model, answer, correct, cost_nanousd, query,
    split, document_id."""
    rungs = tuple(str(name) for name in table.groupby("model")["cost_nanousd"].mean().sort_values(kind="stable").index)
    asked = table.drop_duplicates("query_id").set_index("query_id")
    ids = asked.index.tolist()
    queries = [str(query) for query in asked["query"]]

    def wide(column: str) -> NDArray[Any]:
        return (
            table.pivot(index="query_id", columns="model", values=column).reindex(index=ids, columns=rungs).to_numpy()
        )

    outcomes = Outcomes(
        queries, wide("answer").astype(object), wide("correct").astype(np.float64), wide("cost_nanousd").astype(float)
    )
    seen = see(queries, outcomes.answers.tolist(), _embedded(queries, encoder, progress))
    teaching = np.flatnonzero((asked["split"] == "validation").to_numpy())
    groups = np.unique(asked["document_id"].astype(str).to_numpy(), return_inverse=True)[1]
    folds = Folds.drawn(len(ids), teaching, np.random.default_rng(seed), groups=groups, as_served=True)
    learnt = learn_beliefs(outcomes, seen, folds, seed, progress)
    return BeliefTables(
        in_use(learnt, rungs),
        _long(ids, rungs, {"score": learnt.scorer, "promise": learnt.prior}),
        _sets(ids, rungs, learnt),
    )


def _embedded(queries: list[str], encoder: TextEncoder, progress: Progress) -> Floats:
    """(n, d)."""
    vectors = []
    for start in range(0, len(queries), AT_ONCE):
        vectors.append(encoder.embed(queries[start : start + AT_ONCE]))
        progress(min(start + AT_ONCE, len(queries)), len(queries), "questions embedded")
    return np.concatenate(vectors).astype(np.float64)


def _long(ids: list[str], rungs: tuple[str, ...], columns: Mapping[str, Floats]) -> pd.DataFrame:
    """(n, R) matrices as columns, a row for each question and rung."""
    keys = {"query_id": np.repeat(ids, len(rungs)), "model": np.tile(rungs, len(ids))}
    return pd.DataFrame({**keys, **{name: matrix.ravel() for name, matrix in columns.items()}})


def _sets(ids: list[str], rungs: tuple[str, ...], learnt: Beliefs) -> pd.DataFrame:
    """What is believed of every set of two rungs and more that a complete search asks about."""
    sizes = range(2, min(COMPLETE_DEPTH, len(learnt.useful)) + 1)
    parts = []
    for some in (some for size in sizes for some in combinations(learnt.useful, size)):
        names = tuple(rungs[rung] for rung in some)
        part = _long(ids, names, {"belief": learnt.posterior(frozenset(some))})
        parts.append(part.assign(seen=" + ".join(names)))
    return pd.concat(parts, ignore_index=True)


def beliefs_of(beliefs: pd.DataFrame, ids: list[str], rungs: tuple[str, ...]) -> dict[frozenset[int], Floats]:
    """The table ``beliefs`` as arrays for the questions ``ids``, by the places of the rungs in ``rungs``; in a set,
    rising."""
    place = {name: at for at, name in enumerate(rungs)}
    found = {}
    for _, part in beliefs.groupby("seen"):
        names = sorted(part["model"].unique(), key=place.__getitem__)
        told = part.pivot(index="query_id", columns="model", values="belief").reindex(index=ids, columns=names)
        found[frozenset(place[name] for name in names)] = told.to_numpy(dtype=np.float64)
    return found
