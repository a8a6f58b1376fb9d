"""From a trained reader to the folder that serves it: ONNX int8, the tokenizer, a config.

Weights are rounded per output channel, activations at run time (dynamic quantisation). Knows torch and onnx; the
served folder needs neither.
"""

import warnings
from pathlib import Path

import torch
from pydantic import ValidationError

from palier.adapters.int8_export import write_int8
from palier.adapters.onnx_reader import CONFIG, ReaderConfig
from palier.adapters.torch_reader import SpanReader
from palier.adapters.workspace import write_json
from palier.errors import IntegrityError

INPUTS = ("input_ids", "attention_mask", "token_type_ids")
OUTPUTS = ("start", "end", "kind")


def export_reader(
    model: SpanReader, base: Path, folder: Path, config: ReaderConfig, *, float_too: bool = False
) -> None:
    """Write ``folder`` (made if absent): `model.onnx`, `tokenizer.json`, `config.json`.

    With ``float_too`` the model before rounding is kept as `FLOAT_MODEL`, to compare with.
    """
    write_int8(lambda path: _export_float(model, path), base, folder, float_too=float_too)
    write_json(folder / CONFIG, config.model_dump())


def starter_config(starter: Path) -> ReaderConfig:
    """The served config that goes with a starter; raises IntegrityError when it is not one."""
    try:
        return ReaderConfig.model_validate_json((starter / CONFIG).read_text(encoding="utf-8"))
    except (OSError, ValidationError) as error:
        problem = IntegrityError(f"{starter / CONFIG} is no reader's config ({error}). Restore it from git.")
        raise problem from error


def _export_float(model: SpanReader, path: Path) -> None:
    # A tensor of its own for each input: the exporter takes one tensor given thrice for one input.
    example = {name: torch.ones((2, 16), dtype=torch.long) for name in INPUTS}
    batch, tokens = torch.export.Dim("batch", min=1, max=64), torch.export.Dim("tokens", min=4, max=512)
    shapes = {name: {0: batch, 1: tokens} for name in INPUTS}
    model.eval()
    with warnings.catch_warnings(), torch.inference_mode():
        warnings.simplefilter("ignore")  # the exporter's advice to its own authors
        torch.onnx.export(
            model,
            (),
            path,
            kwargs=example,
            input_names=list(INPUTS),
            output_names=list(OUTPUTS),
            dynamic_shapes=shapes,
            external_data=False,
            dynamo=True,
            verbose=False,
        )
