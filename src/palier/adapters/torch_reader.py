"""The reader as torch sees it: a BERT encoder, a span head over its tokens, and a head that says of what kind the
answer is (none here, a span, or a whole list or table).

"No answer" is the span that starts and ends at [CLS], as in Devlin et al. 2018, section 4.3. An answer that stands
several times in a passage has several right spans: the loss is the marginal likelihood over them (Clark and Gardner
2018, section 2.2), so nobody has to say which one was meant. Dropout of attention is off: with it torch leaves the
fused attention and a step takes thrice as long; that of states costs 5 % and may be asked for.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from transformers import BertModel

from palier.adapters.reader_windows import Window, WindowCutter, padded
from palier.domain.reading_tasks import ReadingTask

NONE, SPAN, BLOCK = 0, 1, 2
KINDS = 3
IMPOSSIBLE = -1e4  # added to the logit of a token that cannot be part of an answer


@dataclass(frozen=True, slots=True)
class TrainingWindow:
    """A window with its targets: the tokens at which a right answer starts and ends."""

    window: Window
    starts: tuple[int, ...]
    ends: tuple[int, ...]
    kind: int


class SpanReader(nn.Module):  # type: ignore[misc] # torch comes without types here
    """Encoder and both heads; all outputs are float32 logits."""

    def __init__(self, encoder: nn.Module, hidden: int) -> None:
        super().__init__()
        self.encoder = encoder
        self.span_head = nn.Linear(hidden, 2)
        self.kind_head = nn.Linear(hidden, KINDS)

    def forward(
        self, input_ids: Tensor, attention_mask: Tensor, token_type_ids: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Start and end logits, both (batch, tokens), and kind logits (batch, 3)."""
        states = self.encoder(
            input_ids=input_ids, attention_mask=attention_mask, token_type_ids=token_type_ids
        ).last_hidden_state
        spans = self.span_head(states).float()  # (batch, tokens, 2)
        kinds = self.kind_head(states[:, 0]).float()
        return spans[..., 0], spans[..., 1], kinds


def bare_reader(base: Path, seed: int, *, dropout: float = 0.0) -> SpanReader:
    """A reader on the untouched encoder of ``base``; the heads start from ``seed``; ``dropout`` is that of states."""
    encoder = BertModel.from_pretrained(
        base,
        add_pooling_layer=False,
        dtype=torch.float32,
        hidden_dropout_prob=dropout,
        attention_probs_dropout_prob=0.0,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return SpanReader(encoder, int(encoder.config.hidden_size))


def training_windows(cutter: WindowCutter, task: ReadingTask) -> list[TrainingWindow]:
    """Windows that hold a right span; of an unanswerable task its first window, marked as none."""
    windows = cutter.windows(task.question, task.content)
    if not task.spans:
        return [TrainingWindow(windows[0], (0,), (0,), NONE)]
    kind = BLOCK if task.is_block else SPAN
    found = [(window, _token_spans(window, task.spans)) for window in windows]
    return [
        TrainingWindow(window, tuple(s for s, _ in spans), tuple(e for _, e in spans), kind)
        for window, spans in found
        if spans
    ]


def _token_spans(window: Window, spans: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
    """Character spans as (first, last) token positions; spans that this window does not hold in full are left out."""
    inside = np.flatnonzero(window.in_passage)
    if not len(inside):
        return []
    begins, ends = window.offsets[inside, 0], window.offsets[inside, 1]
    tokens = []
    for start, end in spans:
        first = int(np.searchsorted(ends, start, side="right"))
        last = int(np.searchsorted(begins, end, side="left")) - 1
        if begins[0] <= start and end <= ends[-1] and 0 <= first <= last < len(inside):
            tokens.append((int(inside[first]), int(inside[last])))
    return tokens


@dataclass(frozen=True, slots=True)
class Batch:
    """What one step reads: the padded inputs and the targets as masks."""

    inputs: dict[str, Tensor]  # each (batch, tokens)
    possible: Tensor  # (batch, tokens), true where an answer may be: the passage and [CLS]
    starts: Tensor  # (batch, tokens), true at right starts
    ends: Tensor
    kinds: Tensor  # (batch,)


def batch_of(rows: Sequence[TrainingWindow]) -> Batch:
    """Rows of training windows as tensors."""
    inputs = padded([row.window for row in rows])
    shape = inputs["input_ids"].shape
    possible, starts, ends = (np.zeros(shape, dtype=bool) for _ in range(3))
    for index, row in enumerate(rows):
        possible[index, : len(row.window.ids)] = row.window.in_passage
        starts[index, list(row.starts)] = True
        ends[index, list(row.ends)] = True
    possible[:, 0] = True
    return Batch(
        inputs={name: torch.from_numpy(array) for name, array in inputs.items()},
        possible=torch.from_numpy(possible),
        starts=torch.from_numpy(starts),
        ends=torch.from_numpy(ends),
        kinds=torch.tensor([row.kind for row in rows]),
    )


def masked_inputs(batch: Batch, share: float, mask_id: int, rng: np.random.Generator) -> dict[str, Tensor]:
    """The batch's inputs with ``share`` of the passage tokens hidden, answers and marks excepted."""
    chance: NDArray[np.bool_] = rng.random(tuple(batch.possible.shape)) < share
    within = batch.starts.int().cumsum(1) > (batch.ends.int().cumsum(1) - batch.ends.int())
    hide = torch.from_numpy(chance) & batch.possible & ~within
    hide[:, 0] = False
    return {**batch.inputs, "input_ids": batch.inputs["input_ids"].masked_fill(hide, mask_id)}


def reader_loss(outputs: tuple[Tensor, Tensor, Tensor], batch: Batch) -> Tensor:
    """Mean over rows of the span loss (start and end averaged) plus half the loss of the kind."""
    start, end, kind = outputs
    span = (_marginal(start, batch.starts, batch.possible) + _marginal(end, batch.ends, batch.possible)) / 2
    return span.mean() + 0.5 * nn.functional.cross_entropy(kind, batch.kinds)


def _marginal(logits: Tensor, right: Tensor, possible: Tensor) -> Tensor:
    logits = logits.masked_fill(~possible, IMPOSSIBLE)
    return logits.logsumexp(1) - logits.masked_fill(~right, 2 * IMPOSSIBLE).logsumexp(1)
