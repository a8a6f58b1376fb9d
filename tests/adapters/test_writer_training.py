"""The writer's training loop, with a model of two narrow layers: a kill loses nothing, and going on costs little."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from palier.adapters.writer_adapter import with_lora
from palier.adapters.writer_rows import WriterRow
from palier.adapters.writer_training import WriterPlan, train_writer

pytestmark = pytest.mark.model

SIZES = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 2}


def narrow_model():
    torch.manual_seed(1)
    return with_lora(LlamaForCausalLM(LlamaConfig(vocab_size=64, num_key_value_heads=2, **SIZES)), rank=4, seed=1)


def rows_of(epoch: int) -> list[WriterRow]:
    """Four or five rows, other ones in each epoch."""
    rng = np.random.default_rng(epoch)
    return [WriterRow(tuple(rng.integers(64, size=9)), tuple(rng.integers(64, size=3))) for _ in range(4 + epoch % 2)]


def plan_of(n_steps: int) -> WriterPlan:
    return WriterPlan(learning_rate=1e-3, batch_size=2, n_steps=n_steps, seed=1, checkpoint_steps=1, n_threads=1)


def test_a_step_whose_check_was_killed_is_told_again(tmp_path: Path) -> None:
    """What `on_step` leaves is there for each step."""
    model, told = narrow_model(), []

    def killed_after_one(step: int) -> None:
        if step == 2:
            raise KeyboardInterrupt
        told.append(step)

    checkpoint = tmp_path / "checkpoint.safetensors"
    with pytest.raises(KeyboardInterrupt):
        train_writer(model, rows_of, plan_of(3), checkpoint, lambda *_: None, killed_after_one)
    train_writer(model, rows_of, plan_of(3), checkpoint, lambda *_: None, told.append)
    assert told == [1, 2, 3]


@pytest.mark.parametrize("killed_at", [5, 6, 8])
def test_a_resumed_run_makes_no_rows_of_the_epochs_behind_it(tmp_path: Path, killed_at: int) -> None:
    """Epochs of two and three steps end behind 2, 5 and 7: killed at an end, behind one, and in the last epoch."""
    whole = narrow_model()
    train_writer(whole, rows_of, plan_of(9), tmp_path / "whole.safetensors", lambda *_: None)
    asked: list[int] = []

    def noted(epoch: int) -> Sequence[WriterRow]:
        asked.append(epoch)
        return rows_of(epoch)

    def killed(done: int, _total: int, _what: str) -> None:
        if done == killed_at:
            raise KeyboardInterrupt

    checkpoint = tmp_path / "checkpoint.safetensors"
    with pytest.raises(KeyboardInterrupt):
        train_writer(narrow_model(), noted, plan_of(9), checkpoint, killed)
    asked.clear()
    resumed = narrow_model()
    position = train_writer(resumed, noted, plan_of(9), checkpoint, lambda *_: None)
    assert (position.step, asked) == (9, list(range({5: 2, 6: 2, 8: 3}[killed_at], 4)))
    for one, other in zip(whole.parameters(), resumed.parameters(), strict=True):
        assert torch.equal(one, other)
