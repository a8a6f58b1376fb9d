"""What the encoder is tuned on in a workspace: its golden questions, and what its documents say in both languages.

Only questions of the `train` split. Passages carry no label, so every document that has a version in the other language
teaches which words of the two mean the same: a passage is to be found by its counterpart, by each sentence of it, and
by the questions asked about it.
"""

from collections import defaultdict
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from palier.adapters.encoder_training import TrainingPassage
from palier.domain.baselines import sentences
from palier.domain.documents import Passage
from palier.domain.golden import GoldenQuestion
from palier.domain.parallel_passages import parallel_passages

_MIN_WORDS = 4
"""Of a sentence that is to find a passage; fewer say too little."""


def encoder_rows(
    golden: Sequence[GoldenQuestion], passages: Sequence[Passage], vectors: NDArray[np.float32]
) -> list[TrainingPassage]:
    """Passages with the questions of the `train` split that they answer, and with what says the same elsewhere.

    ``vectors`` (n, dimensions) are the passages', as the encoder sees them before it is tuned.
    """
    contents = {item.passage_id: item.content for item in passages}
    asked: dict[str, list[str]] = defaultdict(list)
    for row in golden:
        if row.split == "train":
            for key in row.passage_ids:
                if key in contents:
                    asked[key].append(row.asked().standalone)
    questions = {key: tuple(found) for key, found in asked.items()}
    for english, french in parallel_passages(passages, vectors):
        asked[english.passage_id] += _said_by(french, questions)
        asked[french.passage_id] += _said_by(english, questions)
    return [TrainingPassage(contents[key], tuple(dict.fromkeys(found))) for key, found in asked.items()]


def _said_by(passage: Passage, questions: dict[str, tuple[str, ...]]) -> list[str]:
    """The whole passage, each of its sentences, and the questions about it."""
    long_enough = [piece for piece in sentences(passage.text) if len(piece.split()) >= _MIN_WORDS]
    return [passage.content, *long_enough, *questions.get(passage.passage_id, ())]
