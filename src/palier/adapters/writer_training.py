"""The training loop of the writer: LoRA steps, a linear decay, and a checkpoint from which a killed run goes on.

The loss counts the answer's tokens only, and the vocabulary is multiplied out at their places only (it is a quarter of
the model). The low-rank matrices are added to the weights once a step, not to the activations in every layer: on a
processor what is done to each activation costs more than the products, and the gradient is the same. Chance is a
function of the seed, the epoch and the step alone, as in the reader's loop, so that a resumed run takes the very steps
that the killed one would have taken. It refuses to know where the rows come from.
"""

import math
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from peft.tuners.lora import LoraLayer
from torch.func import functional_call
from torch.nn.functional import cross_entropy

from palier.adapters.reader_training import POOL_BATCHES, WARMUP_SHARE, Position, load_checkpoint, save_checkpoint
from palier.adapters.writer_rows import IGNORED, WriterRow, batch_of

if TYPE_CHECKING:
    from peft import PeftModel

Progress = Callable[[int, int, str], None]
PART_TOKENS = 2048  # that go through the model together


@dataclass(frozen=True, slots=True)
class WriterPlan:
    """How to train. ``n_steps`` may be more than ``max_seconds`` allow: the decay follows whichever ends first."""

    learning_rate: float
    batch_size: int
    n_steps: int
    seed: int
    max_seconds: float = math.inf
    checkpoint_steps: int = 50
    n_threads: int = 2
    """Of torch, inside each operation: one set of weights is merged a step, so parts of a batch cannot go apart."""


def train_writer(
    model: "PeftModel",
    epoch_rows: Callable[[int], Sequence[WriterRow]],
    plan: WriterPlan,
    checkpoint: Path,
    progress: Progress,
    on_step: Callable[[int], None] = lambda _step: None,
) -> Position:
    """Train the LoRA matrices of ``model`` in place, going on from ``checkpoint`` when it exists; says where it ended.

    ``epoch_rows(epoch)`` gives the rows of an epoch, the same for the same number; ``on_step`` is called after each
    step with its number, before the checkpoint that lies behind it (as the reader's ``on_epoch``), and its time is not
    counted. The checkpoint is left in place.
    """
    torch.set_num_threads(plan.n_threads)
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=plan.learning_rate, betas=(0.9, 0.98), weight_decay=0.0)
    position = load_checkpoint(checkpoint, model, optimizer) if checkpoint.is_file() else Position()
    model.train()
    for step, epoch, ends_epoch, rows in _schedule(epoch_rows, plan, position):
        done = max(step / plan.n_steps, position.seconds / plan.max_seconds)
        if done >= 1:
            break
        started = time.monotonic()
        for group in optimizer.param_groups:
            group["lr"] = plan.learning_rate * min(1.0, (done + 1e-3) / WARMUP_SHARE) * (1 - done)
        loss = _one_step(model, optimizer, trained, rows)
        position.step, position.seconds = step + 1, position.seconds + time.monotonic() - started
        on_step(position.step)
        if ends_epoch:
            position.epoch, position.epoch_start = epoch + 1, position.step
        if position.step % plan.checkpoint_steps == 0 or position.step == plan.n_steps:
            save_checkpoint(checkpoint, model, optimizer, position)
        progress(position.step, plan.n_steps, _report(plan, loss, epoch, done, position.seconds))
    model.eval()
    return position


def _one_step(
    model: "PeftModel",
    optimizer: torch.optim.Optimizer,
    trained: Sequence[torch.nn.Parameter],
    rows: Sequence[WriterRow],
) -> float:
    """The loss before the update."""
    optimizer.zero_grad()
    with own_adapter_off(model):
        loss = backward(model, rows)
    torch.nn.utils.clip_grad_norm_(trained, 1.0)
    optimizer.step()
    return loss


def backward(model: "PeftModel", rows: Sequence[WriterRow]) -> float:
    """Add the gradient of the mean loss of ``rows`` to the low-rank matrices; the loss.

    A long batch goes through the model in parts: all that it leaves in memory would be gigabytes.
    """
    decoder = model.get_base_model().model
    merged = merged_weights(decoder)
    weights = {name: weight.detach().requires_grad_() for name, weight in merged.items()}
    total = 0.0
    n_parts = min(len(rows), -(-len(rows) * max(map(len, rows)) // PART_TOKENS))
    for part in (rows[i::n_parts] for i in range(n_parts)):
        loss = writer_loss(decoder, weights, part) * len(part) / len(rows)
        loss.backward()
        total += float(loss.item())
    torch.autograd.backward(list(merged.values()), [weights[name].grad for name in merged])
    return total


def writer_loss(decoder: torch.nn.Module, weights: dict[str, torch.Tensor], rows: Sequence[WriterRow]) -> torch.Tensor:
    """Mean negative log-likelihood of the target tokens of ``rows``, each row counting as much as any other.

    ``weights`` stand in for those of the same names in ``decoder``.
    """
    batch = batch_of(rows)
    inputs = {"input_ids": batch.ids[:, :-1], "use_cache": False}
    states = functional_call(decoder, weights, kwargs=inputs).last_hidden_state
    wanted = batch.labels[:, 1:]
    chosen = wanted != IGNORED
    logits = states[chosen] @ decoder.embed_tokens.weight.T
    losses = cross_entropy(logits.float(), wanted[chosen], reduction="none")
    n_tokens = chosen.sum(1)
    shares = (1.0 / (n_tokens * len(rows))).repeat_interleave(n_tokens)
    return (losses * shares).sum()


def merged_weights(decoder: torch.nn.Module) -> dict[str, torch.Tensor]:
    """Every tuned layer's weight with its low-rank change added, by the name that the frozen one has in ``decoder``.

    Only while the adapter is off (`own_adapter_off`): else the layers would add it a second time.
    """
    merged = {}
    for name, layer in decoder.named_modules():
        if not isinstance(layer, LoraLayer):
            continue
        frozen, scale = layer.get_base_layer().weight, layer.scaling["default"]
        change = layer.lora_B["default"].weight @ layer.lora_A["default"].weight
        merged[f"{name}.base_layer.weight"] = (frozen.float() + scale * change).to(frozen.dtype)
    return merged


@contextmanager
def own_adapter_off(model: "PeftModel") -> Iterator[None]:
    """While steps are taken: PEFT's layers are plain ones, and the low-rank matrices still learn."""
    model.base_model.disable_adapter_layers()
    for parameter in (p for name, p in model.named_parameters() if ".lora_" in name):
        parameter.requires_grad_(True)
    try:
        yield
    finally:
        model.base_model.enable_adapter_layers()


def _schedule(
    epoch_rows: Callable[[int], Sequence[WriterRow]], plan: WriterPlan, position: Position
) -> Iterator[tuple[int, int, bool, Sequence[WriterRow]]]:
    """(step, epoch, is last of its epoch, rows) from ``position`` on, over as many epochs as the plan has steps."""
    first_step, step, epoch = position.step, position.epoch_start, position.epoch
    while step < plan.n_steps:
        batches = _batches(epoch_rows(epoch), plan.batch_size, np.random.default_rng((plan.seed, 0, epoch)))
        for index, rows in enumerate(batches):
            if step >= first_step:
                yield step, epoch, index == len(batches) - 1, rows
            step += 1
            if step >= plan.n_steps:
                return
        epoch += 1


def _batches(rows: Sequence[WriterRow], batch_size: int, rng: np.random.Generator) -> list[Sequence[WriterRow]]:
    """Shuffled batches of rows of like length, formed within pools so that chance keeps its part."""
    order = rng.permutation(len(rows))
    pool = batch_size * POOL_BATCHES
    batches: list[Sequence[WriterRow]] = []
    for start in range(0, len(order), pool):
        alike = sorted(order[start : start + pool], key=lambda index: len(rows[index]))
        batches += [[rows[i] for i in alike[b : b + batch_size]] for b in range(0, len(alike), batch_size)]
    return [batches[i] for i in rng.permutation(len(batches))]


def _report(plan: WriterPlan, loss: float, epoch: int, done: float, seconds: float) -> str:
    """Where the run is; the time left only where the clock ends it, for else the count of steps tells that."""
    report = f"epoch {epoch + 1}, loss {loss:.3f}"
    if math.isinf(plan.max_seconds) or not done:
        return report
    return f"{report}, about {seconds / done * (1 - done) / 60:.1f} min left"
