"""A model trained in full, kept as a small change of its base: each changed matrix as its best approximation of low
rank (a truncated singular value decomposition), small vectors as they are.

Works on plain state dicts, so that reader, encoder and reranker share it. The price: what the dropped singular values
held is lost, so a pressed model is measured again before it is committed.
"""

from collections.abc import Mapping

import torch
from torch import Tensor


def press(
    before: Mapping[str, Tensor], after: Mapping[str, Tensor], rank: int, whole: tuple[str, ...] = ()
) -> dict[str, Tensor]:
    """The change from ``before`` to ``after`` as half-precision tensors; names that begin with one of ``whole`` are
    new weights and kept entirely.
    """
    kept: dict[str, Tensor] = {}
    for name, weight in after.items():
        if name.startswith(whole):
            kept[name] = weight
            continue
        change = weight - before[name]
        if not change.is_floating_point() or not bool(change.any()):
            continue
        if change.ndim == 2 and min(change.shape) > rank:
            left, values, right = torch.linalg.svd(change, full_matrices=False)
            root = values[:rank].sqrt()
            kept[f"{name}.up"] = left[:, :rank] * root
            kept[f"{name}.down"] = root[:, None] * right[:rank]
        else:
            kept[f"{name}.change"] = change
    return {name: tensor.half().contiguous() for name, tensor in kept.items()}


def merge_pressed(weights: Mapping[str, Tensor], pressed: Mapping[str, Tensor]) -> None:
    """Add a pressed change to ``weights``, in place; KeyError or RuntimeError when names or shapes do not fit."""
    with torch.no_grad():
        for name, tensor in pressed.items():
            if name.endswith(".down"):
                continue
            stem, _, ending = name.rpartition(".")
            if ending == "up":
                weights[stem].add_(tensor.float() @ pressed[f"{stem}.down"].float())
            elif ending == "change":
                weights[stem].add_(tensor.float())
            else:
                weights[name].copy_(tensor)
