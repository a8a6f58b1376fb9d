"""What another weight of retrieval would have given the reader rungs: for choosing `retrieval_weight` of `params.yaml`.

Every passage is read once per question, and the readings are ordered anew for each weight. Never run on test titles: a
weight chosen there would have seen what it is measured on.
"""

from collections.abc import Mapping, Sequence
from typing import Protocol

import numpy as np

from palier.adapters.onnx_reader import OnnxReader
from palier.domain.answering import Hit, Question

WEIGHTS = (0.0, 0.5, 1.0, 2.0, 3.0, 4.0, 6.0, 8.0, 12.0, 16.0, 24.0, 1000.0)


class AskedQuestion(Protocol):
    """A question with what was retrieved for it, and the worth of an answer to it."""

    @property
    def question(self) -> Question: ...

    @property
    def hits(self) -> Sequence[Hit]: ...

    def quality(self, text: str) -> float:
        """Token F1, or 1 for a right "no answer"."""
        ...


def scan_retrieval_weights(
    reader: OnnxReader, asked: Sequence[AskedQuestion], n_passages: Mapping[str, int]
) -> dict[str, dict[str, float]]:
    """Mean quality by rung ({name: passages that it reads}) and weight, "no answer" said below the same threshold.

    Empty without a rung that reads.
    """
    if not n_passages:
        return {}
    worth = {name: np.zeros((len(asked), len(WEIGHTS))) for name in n_passages}
    for row, entry in enumerate(asked):
        hits = entry.hits[: max(n_passages.values())]
        readings = reader.read(entry.question.standalone, [hit.passage.content for hit in hits])
        for name, n in n_passages.items():
            near = [reading for reading in readings if reading.passage_index < n]
            for column, weight in enumerate(WEIGHTS):
                best = max(near, key=lambda r: r.margin + weight * hits[r.passage_index].score, default=None)
                said = best is not None and best.margin >= reader.config.null_threshold
                worth[name][row, column] = entry.quality(best.text if best and said else "")
    return {
        name: {f"{weight:g}": round(float(mean), 4) for weight, mean in zip(WEIGHTS, values.mean(axis=0), strict=True)}
        for name, values in worth.items()
    }
