"""Writing exercises as tokens: a prompt as llama.cpp will put it (the model's own chat template), and its answer.

Knows the base's tokenizer and template, nothing of weights. A row that would read more than it may is cut nowhere but
left out: an answer must not be learnt from half of its evidence.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from palier.domain.writing_tasks import WritingTask

IGNORED = -100


@dataclass(frozen=True, slots=True)
class WriterRow:
    """One exercise: ``prompt`` and ``target`` are token ids, the target ends with the end-of-turn token."""

    prompt: tuple[int, ...]
    target: tuple[int, ...]

    def __len__(self) -> int:
        return len(self.prompt) + len(self.target)


@dataclass(frozen=True, slots=True)
class WriterBatch:
    """Rows padded at the right: ``ids`` (n, longest), and ``labels`` of the same shape, IGNORED but for the targets.

    No attention mask is needed: a causal model never looks at what comes after.
    """

    ids: Tensor
    labels: Tensor


class RowMaker:
    """Makes rows with the tokenizer of ``gguf``; half a minute to load, for a GGUF holds its vocabulary as text."""

    def __init__(self, gguf: Path, max_tokens: int) -> None:
        from transformers import AutoTokenizer  # seconds to import: only where a writer is trained

        self.tokenizer = AutoTokenizer.from_pretrained(str(gguf.parent), gguf_file=gguf.name)
        self._max_tokens = max_tokens

    def row(self, task: WritingTask) -> WriterRow | None:
        """The task as tokens; None when it is longer than allowed."""
        target = (*self._ids(task.target), self.tokenizer.eos_token_id)
        row = WriterRow(self.prompt(task), target)
        return row if len(row) <= self._max_tokens else None

    def prompt(self, task: WritingTask) -> tuple[int, ...]:
        """The tokens that the model reads before it writes."""
        text = self.tokenizer.apply_chat_template(task.messages(), tokenize=False, add_generation_prompt=True)
        return self._ids(text)

    def rows(self, tasks: Sequence[WritingTask]) -> list[WriterRow]:
        """All tasks that are short enough."""
        return [row for task in tasks if (row := self.row(task)) is not None]

    def _ids(self, text: str) -> tuple[int, ...]:
        return tuple(self.tokenizer(text, add_special_tokens=False).input_ids)


def batch_of(rows: Sequence[WriterRow], pad_id: int = 0) -> WriterBatch:
    """One batch of ``rows``."""
    longest = max(len(row) for row in rows)
    ids = torch.full((len(rows), longest), pad_id, dtype=torch.long)
    labels = torch.full((len(rows), longest), IGNORED, dtype=torch.long)
    for i, row in enumerate(rows):
        ids[i, : len(row)] = torch.tensor(row.prompt + row.target)
        labels[i, len(row.prompt) : len(row)] = torch.tensor(row.target)
    return WriterBatch(ids, labels)
