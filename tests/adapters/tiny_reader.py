"""A real reader that is small: a BERT of two narrow layers with both heads, and windows of numbers to train it on."""

import numpy as np
import torch
from transformers import BertConfig, BertModel

from palier.adapters.reader_windows import Window
from palier.adapters.torch_reader import NONE, SPAN, SpanReader, TrainingWindow

N_WORDS, HIDDEN = 50, 16


def tiny_reader(*, dropout: float = 0.0) -> SpanReader:
    """The same weights each time."""
    config = BertConfig(
        vocab_size=N_WORDS,
        hidden_size=HIDDEN,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=32,
        hidden_dropout_prob=dropout,
        attention_probs_dropout_prob=0.0,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        return SpanReader(BertModel(config, add_pooling_layer=False), HIDDEN)


def tiny_windows(n: int) -> list[TrainingWindow]:
    """``n`` windows of three words of a question and eight of a passage; every second one has no answer."""
    rng = np.random.default_rng(1)
    return [_window(rng, has_answer=index % 2 == 0) for index in range(n)]


def _window(rng: np.random.Generator, *, has_answer: bool) -> TrainingWindow:
    offsets = np.full((14, 2), -1, dtype=np.int64)
    offsets[5:13] = [(6 * i, 6 * i + 5) for i in range(8)]
    types = np.repeat(np.array([0, 1], dtype=np.int64), [5, 9])
    window = Window(rng.integers(N_WORDS, size=14), types, offsets)
    place = (int(rng.integers(5, 13)),)
    return TrainingWindow(window, place, place, SPAN) if has_answer else TrainingWindow(window, (0,), (0,), NONE)
