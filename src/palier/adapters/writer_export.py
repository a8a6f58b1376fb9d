"""A tuned writer back to llama.cpp: the base's GGUF again, with merged weights in place of its own.

Everything that tuning leaves alone (vocabulary, chat template, embeddings, norms) is copied bit for bit; the rest is
rounded anew, to Q8_0, Q4_1 or Q4_0. llama.cpp keeps the rows of each attention head in another order than transformers
does, so those of q and k are regrouped. The price: weights that the base held in four bits are rounded twice.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import gguf
import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from palier.adapters.catalogue import sha256_file
from palier.errors import IntegrityError

QUANTISATIONS = ("Q4_0", "Q4_1", "Q8_0")
"""What a writer may be rounded to, smallest file first."""
_FILE_TYPES = {"Q4_0": 2, "Q4_1": 3, "Q8_0": 7}  # llama.cpp's `general.file_type`
_LAYERS = {
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}
_CONTAINER = "GGUF."  # fields of the file itself, which the writer makes anew


def export_writer(weights: Mapping[str, Tensor], base: Path, target: Path, quantisation: str) -> None:
    """Write ``target``: the GGUF ``base`` with the linear layers of ``weights`` (transformers' names), rounded.

    Its metadata name the sha256 of the base. Written beside and then renamed. Raises IntegrityError when a layer is
    missing or has another shape.
    """
    source = gguf.GGUFReader(base)
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = target.with_name(target.name + ".partial")
    made = gguf.GGUFWriter(partial, str(source.fields["general.architecture"].contents()))
    _copy_metadata(source, made, quantisation, sha256_file(base))
    heads = {name: int(_field(source, f"attention.head_count{suffix}")) for name, suffix in _HEADS.items()}
    for tensor in source.tensors:
        layer = _layer_name(tensor.name)
        if layer is None:
            made.add_tensor(tensor.name, tensor.data, raw_dtype=tensor.tensor_type)
            continue
        kind = gguf.GGMLQuantizationType[quantisation]
        rows = _fitting(weights, layer, tuple(int(n) for n in reversed(tensor.shape)), base)
        rows = regrouped(rows, heads[part]) if (part := tensor.name.split(".")[2]) in heads else rows
        made.add_tensor(tensor.name, gguf.quants.quantize(rows, kind), raw_dtype=kind)
    made.write_header_to_file()
    made.write_kv_data_to_file()
    made.write_tensors_to_file()
    made.close()
    partial.replace(target)


_HEADS = {"attn_q": "", "attn_k": "_kv"}


def regrouped(rows: NDArray[np.float32], n_heads: int) -> NDArray[np.float32]:
    """The rows of q or k as llama.cpp wants them: the two halves of each head's rotary pairs interleaved.

    ``rows`` is (heads x head size, inputs), halves one after the other as in transformers.
    """
    size = rows.shape[0] // n_heads
    return rows.reshape(n_heads, 2, size // 2, rows.shape[1]).swapaxes(1, 2).reshape(rows.shape)


def _layer_name(tensor: str) -> str | None:
    """transformers' name of a linear layer's weight; None for a tensor that tuning leaves alone."""
    block, _, rest = tensor.removeprefix("blk.").partition(".")
    layer = _LAYERS.get(rest.removesuffix(".weight")) if tensor.startswith("blk.") else None
    return f"model.layers.{block}.{layer}.weight" if layer else None


def _fitting(weights: Mapping[str, Tensor], layer: str, shape: tuple[int, ...], base: Path) -> NDArray[np.float32]:
    found = weights.get(layer)
    if found is None or tuple(found.shape) != shape:
        has = "nothing" if found is None else f"shape {tuple(found.shape)}"
        raise IntegrityError(
            f"{layer}: {base} needs shape {shape}, the tuned writer has {has}. Tune it from that base."
        )
    rows: NDArray[np.float32] = found.detach().float().numpy()
    return rows


def _copy_metadata(source: Any, made: Any, quantisation: str, base_sha256: str) -> None:
    for name, field in source.fields.items():
        if name.startswith(_CONTAINER) or name in ("general.architecture", "general.file_type"):
            continue
        made.add_key_value(name, field.contents(), field.types[0], field.types[-1] if len(field.types) > 1 else None)
    made.add_file_type(_FILE_TYPES[quantisation])
    made.add_string("palier.base_sha256", base_sha256)


def _field(source: Any, name: str) -> int:
    architecture = source.fields["general.architecture"].contents()
    return int(source.fields[f"{architecture}.{name}"].contents())
