"""The training loop of the reader: steps, a linear decay, and a checkpoint from which a killed run goes on.

What it refuses to know: where the rows come from and what is done with the model. Chance is a function of the seed,
the epoch and the step alone, so a resumed run takes the very steps that the killed one would have taken (on the same
machine). A run may also end by the clock (`max_seconds`); such a run's last digits depend on how fast its machine was.
"""

import json
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from palier.adapters.torch_precision import autocast
from palier.adapters.torch_reader import (
    SpanReader,
    TrainingWindow,
    batch_of,
    masked_inputs,
    reader_loss,
)
from palier.adapters.workspace import write_json
from palier.errors import ParamsError

Progress = Callable[[int, int, str], None]
WARMUP_SHARE = 0.06
POOL_BATCHES = 20  # batches are formed from rows of like length within pools of this many


@dataclass(frozen=True, slots=True)
class TrainingPlan:
    """How to train. ``n_steps`` may be more than ``max_seconds`` allow: the decay follows whichever ends first."""

    learning_rate: float
    batch_size: int
    n_steps: int
    seed: int
    mask_id: int
    mask_share: float = 0.05
    weight_decay: float = 0.01
    max_seconds: float = math.inf
    checkpoint_steps: int = 200
    n_threads: int = 2
    """Parts of a batch that go through the model side by side. They meet once a step: threads inside each operation
    would meet hundreds of times, and on a machine where others work too each meeting waits for the slower one."""


@dataclass(slots=True)
class Position:
    """Where a run stands; ``seconds`` counts training over all restarts.

    ``epoch_start`` is the first step of ``epoch``: with both, a run goes on without the rows of the epochs before.
    """

    step: int = 0
    seconds: float = 0.0
    epoch: int = 0
    epoch_start: int = 0


def train_reader(
    model: SpanReader,
    epoch_rows: Callable[[int], Sequence[TrainingWindow]],
    plan: TrainingPlan,
    checkpoint: Path,
    progress: Progress,
    on_epoch: Callable[[int, SpanReader], None] = lambda _epoch, _model: None,
) -> Position:
    """Train ``model`` in place, going on from ``checkpoint`` when it exists; says where the run ended.

    ``epoch_rows(epoch)`` gives the rows of an epoch, the same for the same number. ``on_epoch`` is called after each,
    before the checkpoint that lies behind it: a run killed between the two calls it again, rather than never. The
    checkpoint is left in place: whoever keeps the result removes it.
    """
    torch.set_num_threads(1)
    optimizer = torch.optim.AdamW(
        _decay_groups(model, plan.weight_decay), lr=plan.learning_rate, betas=(0.9, 0.98), fused=True
    )
    position = load_checkpoint(checkpoint, model, optimizer) if checkpoint.is_file() else Position()
    resumed_from, started = position.seconds, time.monotonic()
    model.train()
    with ThreadPoolExecutor(plan.n_threads) as workers:
        for step, epoch, ends_epoch, rows in _schedule(epoch_rows, plan, position):
            position.seconds = resumed_from + time.monotonic() - started
            done = max(step / plan.n_steps, position.seconds / plan.max_seconds)
            if done >= 1:
                break
            loss = _one_step(model, optimizer, rows, plan, (step, done), workers)
            position.step = step + 1
            if ends_epoch:
                model.eval()
                on_epoch(epoch, model)
                model.train()
                position.epoch, position.epoch_start = epoch + 1, position.step
            if position.step % plan.checkpoint_steps == 0 or ends_epoch:
                save_checkpoint(checkpoint, model, optimizer, position)
            progress(position.step, plan.n_steps, _report(plan, loss, epoch, done, position.seconds))
    model.eval()
    return position


def _one_step(
    model: SpanReader,
    optimizer: torch.optim.Optimizer,
    rows: Sequence[TrainingWindow],
    plan: TrainingPlan,
    place: tuple[int, float],
    workers: ThreadPoolExecutor,
) -> float:
    """The loss of step ``place[0]``, after its update at the learning rate that ``place[1]`` (0..1 done) asks for."""
    step, done = place
    for group in optimizer.param_groups:
        group["lr"] = plan.learning_rate * min(1.0, (done + 1e-3) / WARMUP_SHARE) * (1 - done)
    optimizer.zero_grad()
    torch.manual_seed(plan.seed * 1_000_003 + step)  # dropout, where the model has any, resumes as well
    parts = [rows[part :: plan.n_threads] for part in range(plan.n_threads)]
    jobs = [
        workers.submit(_backward, model, part, len(part) / len(rows), (plan.seed, 1, step, index), plan)
        for index, part in enumerate(parts)
        if part
    ]
    loss = sum(job.result() for job in jobs)
    torch.nn.utils.clip_grad_norm_([p for p in model.parameters() if p.requires_grad], 1.0)
    optimizer.step()
    return loss


def _backward(
    model: SpanReader, rows: Sequence[TrainingWindow], share: float, seed: tuple[int, ...], plan: TrainingPlan
) -> float:
    """Add ``share`` of the gradient of ``rows`` to the model's; torch locks each sum, and two have no order."""
    batch = batch_of(rows)
    inputs = masked_inputs(batch, plan.mask_share, plan.mask_id, np.random.default_rng(seed))
    with autocast():
        outputs = model(**inputs)
    loss = reader_loss(outputs, batch) * share
    loss.backward()
    return float(loss.item())


def _decay_groups(model: SpanReader, weight_decay: float) -> list[dict[str, object]]:
    trained = [(name, p) for name, p in model.named_parameters() if p.requires_grad]
    return [
        {"params": [p for _, p in trained if p.ndim >= 2], "weight_decay": weight_decay},
        {"params": [p for _, p in trained if p.ndim < 2], "weight_decay": 0.0},
    ]


def _schedule(
    epoch_rows: Callable[[int], Sequence[TrainingWindow]], plan: TrainingPlan, position: Position
) -> Iterator[tuple[int, int, bool, Sequence[TrainingWindow]]]:
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


def _batches(
    rows: Sequence[TrainingWindow], batch_size: int, rng: np.random.Generator
) -> list[Sequence[TrainingWindow]]:
    """Shuffled batches of rows of like length: padding costs steps, but sorting all of them would cost chance."""
    order = rng.permutation(len(rows))
    pool = batch_size * POOL_BATCHES
    batches = []
    for start in range(0, len(order), pool):
        alike = sorted(order[start : start + pool], key=lambda index: len(rows[index].window.ids))
        batches += [[rows[i] for i in alike[b : b + batch_size]] for b in range(0, len(alike), batch_size)]
    return [batches[i] for i in rng.permutation(len(batches))]


def _report(plan: TrainingPlan, loss: float, epoch: int, done: float, seconds: float) -> str:
    """Where the run is; the time left only where the clock ends it, for else the count of steps tells that."""
    report = f"epoch {epoch + 1}, loss {loss:.3f}"
    if math.isinf(plan.max_seconds):
        return report
    return f"{report}, about {seconds / max(done, 1e-6) * (1 - done) / 60:.1f} min left"


def refuse_another(checkpoint: Path, facts: Mapping[str, object]) -> None:
    """Raise ParamsError where ``checkpoint`` was left by a training of other ``facts``, naming those that differ.

    ``facts`` are what its steps follow from (JSON data, files by a hash of theirs). They are written beside the
    checkpoint before there is one. For runs whose checkpoint bears a name that their user chose: where the name is
    a hash of the facts, as in the stages, nothing needs refusing.
    """
    record = checkpoint.with_suffix(".json")
    if not checkpoint.is_file():
        write_json(record, facts)
        return
    found = json.loads(record.read_text(encoding="utf-8")) if record.is_file() else {}
    wanted = json.loads(json.dumps(facts))
    differing = [
        f"{name} was {found.get(name, 'not written down')!r}, now {wanted.get(name)!r}"
        for name in sorted(found.keys() | wanted.keys())
        if name not in found or found[name] != wanted.get(name)
    ]
    if differing:
        raise ParamsError(
            f"{checkpoint} is of another training ({'; '.join(differing)}): its weights would be taken for yours. "
            "Give another --work, or remove the file to begin anew."
        )


def save_checkpoint(path: Path, model: nn.Module, optimizer: torch.optim.Optimizer, position: Position) -> None:
    """Trained weights, the optimiser's moments and the position, written beside and then switched."""
    tensors: dict[str, Tensor] = {}
    for name, parameter in model.named_parameters():
        if not parameter.requires_grad:
            continue
        tensors[f"weight.{name}"] = parameter.detach()
        for moment, value in optimizer.state.get(parameter, {}).items():
            tensors[f"{moment}.{name}"] = value
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".partial")
    save_file(tensors, partial, {name: repr(value) for name, value in asdict(position).items()})
    partial.replace(path)


def load_checkpoint(path: Path, model: nn.Module, optimizer: torch.optim.Optimizer) -> Position:
    """Put back what `save_checkpoint` wrote, into ``model`` and ``optimizer``; says where that run stood."""
    with safe_open(path, "pt") as stored:
        meta = stored.metadata()
        names = set(stored.keys())
        for name, parameter in model.named_parameters():
            if not parameter.requires_grad:
                continue
            parameter.data.copy_(stored.get_tensor(f"weight.{name}"))
            optimizer.state[parameter] = {
                moment: stored.get_tensor(f"{moment}.{name}")
                for moment in ("step", "exp_avg", "exp_avg_sq")
                if f"{moment}.{name}" in names
            }
    # A checkpoint from before epochs were written down is gone on from by way of all of them.
    epoch, epoch_start = int(meta.get("epoch", 0)), int(meta.get("epoch_start", 0))
    return Position(int(meta["step"]), float(meta["seconds"]), epoch, epoch_start)
