"""How much the gold answers surprise a writer: the perplexity of its GGUF file, computed in torch.

llama.cpp's server tells no probabilities of given text, so the same file is loaded by transformers, its weights
unpacked. Knows writing exercises and one file. The price: half a minute to read the file, and the unpacked weights are
rounded as served while the arithmetic is not.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from palier.adapters.evaluation.answer_measures import Sampling
from palier.domain.bootstrap import statistic_interval
from palier.domain.writing_tasks import WritingTask

if TYPE_CHECKING:
    from palier.adapters.writer_rows import WriterRow

MAX_TOKENS = 1024


@dataclass(frozen=True, slots=True)
class Perplexity:
    """exp of the mean negative log-likelihood per token of the answers, with a 95 % interval over answers."""

    value: float
    low: float
    high: float
    n_answers: int
    n_tokens: int


def gold_perplexity(gguf: Path, tasks: Sequence[WritingTask], sampling: Sampling) -> Perplexity | None:
    """The perplexity of the targets of ``tasks``, each after its evidence; None when no task fits the context."""
    from palier.adapters.writer_adapter import load_base
    from palier.adapters.writer_rows import RowMaker

    rows = RowMaker(gguf, MAX_TOKENS).rows(tasks)
    if not rows:
        return None
    model = load_base(gguf)
    return perplexity_of([_surprise(model, row) for row in rows], [len(row.target) for row in rows], sampling)


def perplexity_of(surprises: Sequence[float], n_tokens: Sequence[int], sampling: Sampling) -> Perplexity:
    """From the summed negative log-likelihood (nats) and the tokens of each answer."""
    nats, tokens = np.asarray(surprises), np.asarray(n_tokens)
    found = statistic_interval(
        len(nats), lambda rows: math.exp(nats[rows].sum() / tokens[rows].sum()), sampling.rng, sampling.samples
    )
    return Perplexity(found.value, found.low, found.high, len(nats), int(tokens.sum()))


def _surprise(model: object, row: "WriterRow") -> float:
    """Summed negative log-likelihood of the row's target, in nats."""
    import torch

    ids = torch.tensor([row.prompt + row.target])
    with torch.inference_mode():
        logits = model(input_ids=ids).logits[0, len(row.prompt) - 1 : -1]  # type: ignore[operator]
    wanted = ids[0, len(row.prompt) :]
    return float(torch.nn.functional.cross_entropy(logits.float(), wanted, reduction="sum"))
