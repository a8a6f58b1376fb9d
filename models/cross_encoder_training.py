"""What the scripts of both cross-encoders (reranker, verifier) share: pairs as tensors, the decay, the pressed form."""

import argparse
from collections.abc import Sequence
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

from palier.adapters.low_rank import press
from palier.adapters.onnx_cross_encoder import CONFIG, CrossEncoderConfig, PairCutter
from palier.adapters.torch_cross_encoder import bare_cross_encoder
from palier.adapters.torch_encoder import STARTER_FILE
from palier.adapters.workspace import write_json

WEIGHTS = "weights.safetensors"


def inputs_of(cutter: PairCutter, pairs: Sequence[tuple[str, str]]) -> dict[str, torch.Tensor]:
    """Padded token tensors, each (pairs, tokens), of (question, text) pairs."""
    windows = [cutter.pair(*pair) for pair in pairs]
    shape = (len(windows), max(len(window.ids) for window in windows))
    ids, types, mask = (torch.zeros(shape, dtype=torch.long) for _ in range(3))
    for row, window in enumerate(windows):
        n = len(window.ids)
        ids[row, :n], types[row, :n], mask[row, :n] = torch.tensor(window.ids), torch.tensor(window.type_ids), 1
    return {"input_ids": ids, "attention_mask": mask, "token_type_ids": types}


def learning_rate_share(step: int, n_steps: int) -> float:
    """The share of the learning rate: up over a twentieth of the steps, then down to zero."""
    warm_up = n_steps // 20
    return min((step + 1) / max(1, warm_up), (n_steps - step) / max(1, n_steps - warm_up))


def press_weights(args: argparse.Namespace, base: Path, weights: str = WEIGHTS) -> None:
    """Press ``weights`` of ``args.work`` against ``base``, to ``args.rank``, into ``args.out``."""
    before, after = bare_cross_encoder(base, args.layers, 0).state_dict(), load_file(args.work / weights)
    args.out.mkdir(parents=True, exist_ok=True)
    save_file(press(before, after, args.rank, whole=("head.",)), args.out / STARTER_FILE)
    write_json(args.out / CONFIG, CrossEncoderConfig(layers=args.layers).model_dump())
