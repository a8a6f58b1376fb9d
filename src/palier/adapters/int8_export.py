"""The way from torch to a served folder that reader and reranker share: a float graph, rounded to int8, its tokenizer.

Knows files only: how a model becomes a float graph, and what its config says, is told by whoever exports it.
"""

import shutil
from collections.abc import Callable
from pathlib import Path

import onnx
from onnxruntime.quantization import QuantType, quantize_dynamic

FLOAT_MODEL = "model.fp32.onnx"
SERVED_MODEL = "model.onnx"


def write_int8(export_float: Callable[[Path], None], tokenizer_source: Path, folder: Path, *, float_too: bool) -> None:
    """Write `model.onnx` (int8) and `tokenizer.json` into ``folder`` (made if absent).

    ``export_float`` writes the model as it is to the path that it is given; with ``float_too`` that stays as
    `FLOAT_MODEL`. Weights are rounded per output channel, activations at run time.
    """
    folder.mkdir(parents=True, exist_ok=True)
    exact, rounded = folder / FLOAT_MODEL, folder / f"{SERVED_MODEL}.partial"
    export_float(exact)
    graph = onnx.load(exact)
    del graph.graph.value_info[:]  # the exporter notes a transposed weight's old shape; the quantiser refuses it
    quantize_dynamic(graph, rounded, per_channel=True, weight_type=QuantType.QInt8)
    rounded.replace(folder / SERVED_MODEL)
    if not float_too:
        exact.unlink()
    shutil.copyfile(tokenizer_source / "tokenizer.json", folder / "tokenizer.json")
