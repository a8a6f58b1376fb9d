"""Outcome files in the contract's form, as arrays, and what can be seen in their texts.

Any models, with or without answer texts, latencies and confidences. A column `choice` is never read: it would
know that a task is multiple choice. Price paid: queries that lack an outcome of any model are left out (and
counted).
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from palier.adapters.beliefs.learning import Outcomes
from palier.adapters.catalogue import load_catalogue, resolve
from palier.domain.beliefs import believer
from palier.domain.beliefs.believer import Seen
from palier.errors import InputError
from palier.settings import Settings

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
MAX_TOKENS = 128
BATCH = 32


@dataclass(frozen=True)
class Recorded(Outcomes):
    """n questions, M models by rising mean cost; ``cost`` in USD, (n, M); ``answers`` empty strings where none."""

    query_ids: Sequence[str]
    models: Sequence[str]
    confidence: Floats | None = None
    split: NDArray[np.str_] | None = None
    n_left_out: int = 0


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
        asked["query"].astype(str).tolist(),
        np.where(pd.isna(answers), "", answers).astype(str).astype(object),
        correct,
        wide("cost_usd").astype(np.float64),
        [str(key) for key in asked.index],
        [str(model) for model in models],
        confidence,
        split,
        n_all - n,
    )


def see(data: Recorded) -> Seen:
    """All that is looked at in texts, and confidences where the file tells them; done once for all splits."""
    seen = believer.see(data.queries, data.answers.tolist(), embed(data.queries))
    if data.confidence is None:
        return seen
    return replace(seen, answer=np.concatenate([seen.answer, data.confidence[:, :, None]], axis=2))


def embed(texts: Sequence[str]) -> Floats:
    """Unit vectors (n, 384) of a frozen MiniLM, kept beside Palier's state by the hash of the texts."""
    digest = hashlib.sha256("\0".join(texts).encode("utf-8")).hexdigest()[:24]
    kept = Settings().state_dir / "bench" / f"embedding-float32-{digest}.npy"
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
    model = AutoModel.from_pretrained(folder, dtype=torch.float32).eval()
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
