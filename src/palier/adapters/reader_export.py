"""From a trained reader to the folder that serves it: ONNX int8, the tokenizer, a config.

Knows what a reader's graph returns and what its config says; how a graph is written and rounded is `int8_export`'s.
Activations are scaled token by token, without which int8 costs a reader more than a point of F1 (a span is two of
some two hundred logits: small shifts move it). The served folder needs no torch.
"""

from pathlib import Path

from pydantic import ValidationError

from palier.adapters.int8_export import write_int8
from palier.adapters.onnx_reader import CONFIG, ReaderConfig
from palier.adapters.token_scale import scaled_by_token
from palier.adapters.torch_reader import SpanReader
from palier.adapters.workspace import write_json
from palier.errors import IntegrityError

OUTPUTS = ("start", "end", "kind")


def export_reader(
    model: SpanReader, base: Path, folder: Path, config: ReaderConfig, *, float_too: bool = False
) -> None:
    """Write ``folder`` (made if absent): `model.onnx`, `tokenizer.json`, `config.json`.

    With ``float_too`` the model before rounding is kept as `FLOAT_MODEL`, to compare with.
    """
    write_int8(scaled_by_token(model), OUTPUTS, base, folder, float_too=float_too)
    write_json(folder / CONFIG, config.model_dump())


def starter_config(starter: Path) -> ReaderConfig:
    """The served config that goes with a starter; raises IntegrityError when it is not one."""
    try:
        return ReaderConfig.model_validate_json((starter / CONFIG).read_text(encoding="utf-8"))
    except (OSError, ValidationError) as error:
        problem = IntegrityError(f"{starter / CONFIG} is no reader's config ({error}). Restore it from git.")
        raise problem from error
