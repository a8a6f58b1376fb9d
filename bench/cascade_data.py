"""Outcome files in the contract's form, as arrays, and what can be seen in their texts.

Any models, with or without answer texts, latencies and confidences. A column `choice` is never read: it would
know that a task is multiple choice. Price paid: queries that lack an outcome of any model are left out (and
counted).
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from bench.cascade_features import agreement_matrix, answer_features, final_answer, query_features
from palier.adapters.catalogue import load_catalogue, resolve
from palier.errors import InputError
from palier.settings import Settings

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
MAX_TOKENS = 128
BATCH = 32


@dataclass(frozen=True)
class Recorded:
    """n questions, M models by rising mean cost; ``cost`` in USD, (n, M); ``answers`` empty strings where none."""

    query_ids: Sequence[str]
    queries: Sequence[str]
    models: Sequence[str]
    answers: NDArray[np.object_]
    correct: Floats
    cost: Floats
    confidence: Floats | None
    split: NDArray[np.str_] | None
    n_left_out: int

    @property
    def n_rows(self) -> int:
        return len(self.query_ids)

    @property
    def n_models(self) -> int:
        return len(self.models)


@dataclass(frozen=True)
class Seen:
    """Numbers seen in texts: ``query`` (n, q), ``embedding`` (n, 384), ``answer`` (n, M, a), ``same`` (n, M, M)."""

    query: Floats
    embedding: Floats
    answer: Floats
    same: Floats

    def take(self, rows: Ints) -> "Seen":
        return Seen(self.query[rows], self.embedding[rows], self.answer[rows], self.same[rows])


def read_recorded(outcomes: Path, queries: Path, max_queries: int | None, rng: np.random.Generator) -> Recorded:
    """The two files joined; InputError names what they lack."""
    asked, said = pd.read_parquet(queries), pd.read_parquet(outcomes)
    _require(asked, queries, ("query_id", "query"))
    _require(said, outcomes, ("query_id", "model", "correct", "cost_usd"))
    if said.duplicated(["query_id", "model"]).any():
        raise InputError(f"{outcomes} holds two outcomes of one model for one query: keep one.")
    said = said[said["query_id"].isin(asked["query_id"])]
    models = said.groupby("model")["cost_usd"].mean().sort_values(kind="stable").index
    complete = said.groupby("query_id")["model"].count()
    ids = asked.loc[asked["query_id"].map(complete) == len(models), "query_id"].drop_duplicates().to_numpy()
    if len(ids) < 100 or len(models) < 2:
        raise InputError(
            f"{outcomes}: {len(ids)} queries with outcomes of all {len(models)} models; at least 100 and 2 are needed."
        )
    if max_queries is not None and max_queries < len(ids):
        ids = np.sort(rng.choice(ids, max_queries, replace=False))
    return _arrays(asked.drop_duplicates("query_id").set_index("query_id").loc[ids], said, models, len(asked))


def _arrays(asked: pd.DataFrame, said: pd.DataFrame, models: pd.Index, n_all: int) -> Recorded:
    def wide(column: str) -> NDArray[Any]:
        return said.pivot(index="query_id", columns="model", values=column).reindex(asked.index)[models].to_numpy()

    correct = wide("correct").astype(np.float64)
    if not ((correct >= 0) & (correct <= 1)).all():
        raise InputError("`correct` must lie within 0..1 for every outcome.")
    n, shape = len(asked), correct.shape
    answers = wide("answer") if "answer" in said else np.full(shape, "", dtype=object)
    confidence = wide("confidence").astype(np.float64) if "confidence" in said else None
    split = asked["split"].to_numpy(dtype=str) if "split" in asked else None
    return Recorded(
        [str(key) for key in asked.index],
        asked["query"].astype(str).tolist(),
        [str(model) for model in models],
        np.where(pd.isna(answers), "", answers),
        correct,
        wide("cost_usd").astype(np.float64),
        confidence,
        split,
        n_all - n,
    )


def see(data: Recorded) -> Seen:
    """All that is looked at in texts; no label is read, so it is done once for all splits."""
    pairs = zip(data.queries, data.answers, strict=True)
    answer = np.array([[answer_features(query, str(one)) for one in row] for query, row in pairs])
    if data.confidence is not None:
        answer = np.concatenate([answer, data.confidence[:, :, None]], axis=2)
    finals = [[final_answer(str(one)) for one in row] for row in data.answers]
    query = np.array([query_features(one) for one in data.queries])
    return Seen(query, embed(data.queries), answer, agreement_matrix(finals))


def embed(texts: Sequence[str]) -> Floats:
    """Unit vectors (n, 384) of a frozen MiniLM, kept beside Palier's state by the hash of the texts."""
    digest = hashlib.sha256("\0".join(texts).encode("utf-8")).hexdigest()[:24]
    kept = Settings().state_dir / "bench" / f"embedding-{digest}.npy"
    if not kept.is_file():
        vectors = _embed(texts)
        kept.parent.mkdir(parents=True, exist_ok=True)
        partial = kept.with_suffix(".partial.npy")
        np.save(partial, vectors)
        partial.replace(kept)
    return np.asarray(np.load(kept), dtype=np.float64)


def _embed(texts: Sequence[str]) -> NDArray[np.float32]:
    import torch
    from transformers import AutoModel, AutoTokenizer

    torch.set_num_threads(1)
    catalogue = load_catalogue()
    assert "all-minilm-l6-v2" in catalogue
    settings = Settings()
    folder = resolve("all-minilm-l6-v2", cache=settings.state_dir / "models", hub_url=settings.hub_url)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModel.from_pretrained(folder, dtype=torch.bfloat16).eval()
    vectors = np.zeros((len(texts), model.config.hidden_size), dtype=np.float32)
    order = np.argsort([len(text) for text in texts], kind="stable")
    for start in range(0, len(texts), BATCH):
        rows = order[start : start + BATCH]
        batch = tokenizer(
            [texts[i] for i in rows], padding=True, truncation=True, max_length=MAX_TOKENS, return_tensors="pt"
        )
        with torch.inference_mode():
            hidden = model(**batch).last_hidden_state.float()
        weight = batch["attention_mask"].unsqueeze(-1).float()
        mean = (hidden * weight).sum(1) / weight.sum(1)
        vectors[rows] = torch.nn.functional.normalize(mean, dim=1).numpy()
    return vectors


def _require(frame: pd.DataFrame, path: Path, columns: Sequence[str]) -> None:
    missing = [column for column in columns if column not in frame]
    if missing:
        raise InputError(f"{path} lacks the column(s) {', '.join(missing)}; it has {', '.join(frame.columns)}.")
