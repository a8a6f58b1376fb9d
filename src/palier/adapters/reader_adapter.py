"""What is kept of a trained reader beside its base: low-rank changes of weights (LoRA, Hu et al. 2021), and the heads.

Two ways to get them. While tuning on a team's questions, PEFT trains low-rank matrices and the base stays as it is.
The committed starter was trained in full and then pressed: each changed weight matrix is replaced by the best
approximation of low rank (a truncated singular value decomposition), small vectors are kept as they are. Both are
safetensors files; both merge into plain weights, so that serving knows nothing of them.
"""

from pathlib import Path

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors.torch import load_file, save_file
from torch import Tensor

from palier.adapters.low_rank import merge_pressed, press
from palier.adapters.torch_reader import SpanReader, bare_reader
from palier.errors import IntegrityError

STARTER_FILE = "adapter.safetensors"
HEADS_FILE = "heads.safetensors"
TUNED_LAYERS = ("query", "key", "value", "dense")
HEADS = ("span_head.", "kind_head.")


def starter_reader(base: Path, starter: Path | None, seed: int) -> SpanReader:
    """The reader that training starts from: ``starter`` merged into the encoder of ``base``, or the bare encoder.

    Raises IntegrityError when the starter was made for another base.
    """
    model = bare_reader(base, seed)
    if starter is not None:
        try:
            merge_pressed(model.state_dict(), load_file(starter / STARTER_FILE))
        except (KeyError, RuntimeError) as error:
            problem = IntegrityError(f"{starter / STARTER_FILE} does not fit the base {base}: {error}")
            raise problem from error
    return model


def press_reader(model: SpanReader, base: Path, rank: int) -> dict[str, Tensor]:
    """The change of ``model`` against ``base`` as half-precision tensors; heads are kept whole."""
    return press(bare_reader(base, 0).state_dict(), model.state_dict(), rank, whole=HEADS)


def with_lora(model: SpanReader, rank: int, seed: int) -> SpanReader:
    """``model`` with fresh LoRA matrices in every attention and feed-forward layer; only they and the heads train."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        config = LoraConfig(
            r=rank, lora_alpha=2 * rank, lora_dropout=0.0, target_modules=list(TUNED_LAYERS), bias="none"
        )
        model.encoder = get_peft_model(model.encoder, config)
    return model


def drawn_back(model: SpanReader, start: SpanReader, share: float) -> SpanReader:
    """``model``, tuned from ``start`` with LoRA, changed in place to stand ``share`` (0..1) of the way from it.

    What training on a few hundred questions takes from the knowledge of other texts comes back before what it
    brought goes (WiSE-FT, Wortsman et al. 2022).
    """
    origin = start.state_dict()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lora_B" in name:  # the change is a product of two matrices: one of them scales it
                parameter.mul_(share)
            elif name.startswith(HEADS):
                parameter.lerp_(origin[name], 1 - share)
    return model


def save_lora(model: SpanReader, folder: Path) -> None:
    """PEFT's adapter files, and the heads beside them."""
    encoder = _peft(model)
    encoder.save_pretrained(str(folder))
    heads = {name: tensor for name, tensor in model.state_dict().items() if name.startswith(HEADS)}
    save_file(heads, folder / HEADS_FILE)


def merged(model: SpanReader) -> SpanReader:
    """``model`` with its LoRA matrices added into plain weights."""
    model.encoder = _peft(model).merge_and_unload()
    return model


def _peft(model: SpanReader) -> PeftModel:
    if not isinstance(model.encoder, PeftModel):
        raise TypeError(f"This reader has no LoRA adapter but a plain {type(model.encoder).__name__}.")
    return model.encoder
