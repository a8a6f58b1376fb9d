"""The writer as torch knows it: the catalogue's GGUF with its weights unpacked, and the low-rank change that tuning
learns (LoRA, Hu et al. 2021).

What is kept of a tuned writer is that change alone, half precision, in the form of `palier.adapters.low_rank`. Merged
into the base it gives plain weights again, and a change on top of a change is one with the sum of both ranks. Price:
the base's weights were rounded once, to Q4_1, before we ever saw them.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors.torch import load_file
from torch import Tensor

from palier.adapters.low_rank import merge_pressed
from palier.adapters.torch_precision import fast_dtype
from palier.errors import IntegrityError, NotReadyError

if TYPE_CHECKING:
    from transformers import LlamaForCausalLM

STARTER_FILE = "adapter.safetensors"
TUNED_LAYERS = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
_LORA = "base_model.model."


def gguf_of(folder: Path) -> Path:
    """The one GGUF file of ``folder``; NotReadyError when there is none."""
    found = sorted(folder.glob("*.gguf"))
    if not found:
        raise NotReadyError(f"No GGUF file in {folder}. Name a model of models.yaml that has one as train_writer.base.")
    return found[0]


def load_base(gguf: Path, change: Mapping[str, Tensor] | None = None) -> "LlamaForCausalLM":
    """The model of ``gguf`` in single precision, with ``change`` merged in; seconds, for every weight is unpacked.

    Raises IntegrityError when the change was made for another base.
    """
    from transformers import AutoModelForCausalLM  # seconds to import: only where a writer is trained

    model = AutoModelForCausalLM.from_pretrained(
        str(gguf.parent), gguf_file=gguf.name, dtype=torch.float32, attn_implementation="eager"
    )  # eager: the backward pass of torch's fused attention is slow on a processor
    if change:
        try:
            merge_pressed(model.state_dict(), change)
        except (KeyError, RuntimeError) as error:
            raise IntegrityError(f"The writer's starter does not fit the base {gguf}: {error}") from error
    return model


def starter_change(starter: Path | None) -> dict[str, Tensor]:
    """What ``starter`` changes in its base; nothing where there is no starter."""
    return load_file(starter / STARTER_FILE) if starter else {}


def with_lora(model: "LlamaForCausalLM", rank: int, seed: int) -> PeftModel:
    """``model``, in `fast_dtype`, with fresh LoRA matrices in every linear layer of every block; only they train,
    in single precision. ``model`` itself is changed.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        config = LoraConfig(
            r=rank, lora_alpha=2 * rank, lora_dropout=0.0, target_modules=list(TUNED_LAYERS), bias="none"
        )
        return get_peft_model(model.to(fast_dtype()), config, autocast_adapter_dtype=True)


def learnt_change(model: PeftModel) -> dict[str, Tensor]:
    """What the LoRA matrices of ``model`` add to its base, as half-precision factors."""
    scale = model.peft_config["default"].lora_alpha / model.peft_config["default"].r
    kept = {}
    for name, parameter in model.named_parameters():
        if ".lora_" not in name:
            continue
        stem, _, rest = name.removeprefix(_LORA).partition(".lora_")
        factor = parameter.detach() * (scale if rest.startswith("B") else 1.0)
        kept[f"{stem}.weight.{'up' if rest.startswith('B') else 'down'}"] = factor.half().contiguous()
    return kept


def learn_on(model: PeftModel, change: Mapping[str, Tensor]) -> None:
    """Set the LoRA matrices of ``model`` to ``change``, as `learnt_change` gave it; IntegrityError when names or shapes
    (the rank) do not fit.
    """
    known = {name: tensor.shape for name, tensor in learnt_change(model).items()}
    if known != {name: tensor.shape for name, tensor in change.items()}:
        raise IntegrityError("The change to go on from was made for another base or with another rank (--rank).")
    scale = model.peft_config["default"].lora_alpha / model.peft_config["default"].r
    for name, parameter in model.named_parameters():
        if ".lora_" in name:
            stem, _, rest = name.removeprefix(_LORA).partition(".lora_")
            end, factor = ("up", scale) if rest.startswith("B") else ("down", 1.0)
            parameter.data.copy_(change[f"{stem}.weight.{end}"].float() / factor)


def both_changes(first: Mapping[str, Tensor], second: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The sum of two changes as one; ranks add up."""
    kept = {**first, **second}
    for name in first.keys() & second.keys():
        kept[name] = torch.cat([first[name], second[name]], dim=1 if name.endswith(".up") else 0)
    return kept
