"""The writer's training loop, with a model of two narrow layers: a kill loses nothing."""

from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from palier.adapters.writer_adapter import with_lora
from palier.adapters.writer_rows import WriterRow
from palier.adapters.writer_training import WriterPlan, train_writer

pytestmark = pytest.mark.model


def test_a_step_whose_check_was_killed_is_told_again(tmp_path: Path) -> None:
    """What `on_step` leaves is there for each step."""
    sizes = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 2}
    torch.manual_seed(1)
    model = with_lora(LlamaForCausalLM(LlamaConfig(vocab_size=64, num_key_value_heads=2, **sizes)), rank=4, seed=1)
    rng = np.random.default_rng(1)
    rows = [WriterRow(tuple(rng.integers(64, size=9)), tuple(rng.integers(64, size=3))) for _ in range(4)]
    plan = WriterPlan(learning_rate=1e-3, batch_size=2, n_steps=3, seed=1, checkpoint_steps=1, n_threads=1)
    told: list[int] = []

    def killed_after_one(step: int) -> None:
        if step == 2:
            raise KeyboardInterrupt
        told.append(step)

    checkpoint = tmp_path / "checkpoint.safetensors"
    with pytest.raises(KeyboardInterrupt):
        train_writer(model, lambda _epoch: rows, plan, checkpoint, lambda *_: None, killed_after_one)
    train_writer(model, lambda _epoch: rows, plan, checkpoint, lambda *_: None, told.append)
    assert told == [1, 2, 3]
