"""The way from torch to a served folder that reader and reranker share: a float graph, rounded to int8, its tokenizer.

Knows models that take BERT's three inputs, and files; what comes out of a model, and what its config says, is told by
whoever exports it. The price: both are held to one range of shapes (64 texts of 512 tokens at a time).
"""

import shutil
import warnings
from collections.abc import Sequence
from pathlib import Path

import onnx
import torch
from onnxruntime.quantization import QuantType, quantize_dynamic
from torch import nn

FLOAT_MODEL = "model.fp32.onnx"
SERVED_MODEL = "model.onnx"
INPUTS = ("input_ids", "attention_mask", "token_type_ids")
_MAX_TEXTS = 64
_MIN_TOKENS, _MAX_TOKENS = 4, 512


def write_int8(
    model: nn.Module, outputs: Sequence[str], tokenizer_source: Path, folder: Path, *, float_too: bool = False
) -> None:
    """Write `model.onnx` (int8) and `tokenizer.json` into ``folder`` (made if absent).

    ``outputs`` name what the model returns, in its order; ``tokenizer_source`` is a folder with a `tokenizer.json`.
    With ``float_too`` the model before rounding stays as `FLOAT_MODEL`, to compare with. Weights are rounded per output
    channel, activations at run time.
    """
    folder.mkdir(parents=True, exist_ok=True)
    exact, rounded = folder / FLOAT_MODEL, folder / f"{SERVED_MODEL}.partial"
    _export_float(model, outputs, exact)
    graph = onnx.load(exact)
    del graph.graph.value_info[:]  # the exporter notes a transposed weight's old shape; the quantiser refuses it
    quantize_dynamic(graph, rounded, per_channel=True, weight_type=QuantType.QInt8)
    rounded.replace(folder / SERVED_MODEL)
    if not float_too:
        exact.unlink()
    shutil.copyfile(tokenizer_source / "tokenizer.json", folder / "tokenizer.json")


def _export_float(model: nn.Module, outputs: Sequence[str], path: Path) -> None:
    # A tensor of its own for each input: the exporter takes one tensor given thrice for one input.
    example = {name: torch.ones((2, 16), dtype=torch.long) for name in INPUTS}
    texts = torch.export.Dim("batch", min=1, max=_MAX_TEXTS)
    tokens = torch.export.Dim("tokens", min=_MIN_TOKENS, max=_MAX_TOKENS)
    model.eval()
    with warnings.catch_warnings(), torch.inference_mode():
        warnings.simplefilter("ignore")  # the exporter's advice to its own authors
        torch.onnx.export(
            model,
            (),
            path,
            kwargs=example,
            input_names=list(INPUTS),
            output_names=list(outputs),
            dynamic_shapes={name: {0: texts, 1: tokens} for name in INPUTS},
            external_data=False,
            dynamo=True,
            verbose=False,
        )
