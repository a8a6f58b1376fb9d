"""Loads the sentence encoder with its committed change, and turns it into int8 ONNX.

Knows weights and arrays; how the encoder is tuned stands in `encoder_training`. sentence-transformers is imported
inside the functions, since it takes seconds to load.
"""

import json
import shutil
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from palier.adapters.low_rank import merge_pressed
from palier.errors import IntegrityError

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

MAX_TOKENS = 256
STARTER_FILE = "adapter.safetensors"
_OPSET = 17


def load_encoder(folder: Path, starter: Path | None = None) -> "SentenceTransformer":
    """The encoder of ``folder`` in fp32 on the CPU, with the pressed change in ``starter`` added.

    Raises IntegrityError when the starter was made for another base.
    """
    from safetensors.torch import load_file
    from sentence_transformers import SentenceTransformer

    model = SentenceTransformer(str(folder), device="cpu", local_files_only=True)
    model.max_seq_length = MAX_TOKENS
    if starter is not None:
        try:
            merge_pressed(model.state_dict(), load_file(starter / STARTER_FILE))
        except (KeyError, RuntimeError) as error:
            problem = IntegrityError(f"{starter / STARTER_FILE} does not fit the encoder in {folder}: {error}")
            raise problem from error
    return model


def embed_fp32(model: "SentenceTransformer", texts: Sequence[str]) -> NDArray[np.float32]:
    """What the int8 export is compared with: unit vectors, float32 of shape (n, dimensions)."""
    vectors = model.encode(list(texts), normalize_embeddings=True, show_progress_bar=False)
    return np.asarray(vectors, dtype=np.float32)


def export_int8(model: "SentenceTransformer", folder: Path) -> None:
    """Write ``model.onnx`` (int8, pooling and unit length inside), ``tokenizer.json``, ``config.json``."""
    folder.mkdir(parents=True, exist_ok=True)
    full = folder / "model.fp32.onnx"
    _export_fp32(model, full)
    _quantise(full, folder / "model.onnx")
    full.unlink()
    source = Path(model[0].auto_model.config._name_or_path or ".")
    _write_tokenizer(model, source, folder)
    dimensions = model.get_embedding_dimension()
    config = {"dimensions": dimensions, "max_tokens": MAX_TOKENS, "pooling": "mean", "unit_length": True}
    (folder / "config.json").write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")


def _write_tokenizer(model: "SentenceTransformer", source: Path, folder: Path) -> None:
    if (source / "tokenizer.json").is_file():
        shutil.copyfile(source / "tokenizer.json", folder / "tokenizer.json")
    else:
        model.tokenizer.backend_tokenizer.save(str(folder / "tokenizer.json"))


def _export_fp32(model: "SentenceTransformer", path: Path) -> None:
    import torch

    class Pooled(torch.nn.Module):  # type: ignore[misc]  # torch is not typed here
        """Tokens in, unit vectors out."""

        def __init__(self, transformer: Any) -> None:
            super().__init__()
            self.transformer = transformer

        def forward(self, input_ids: Any, attention_mask: Any) -> Any:
            states = self.transformer(input_ids=input_ids, attention_mask=attention_mask)[0]
            weights = attention_mask.unsqueeze(-1).to(states.dtype)
            mean = (states * weights).sum(1) / weights.sum(1).clamp(min=1e-9)
            return torch.nn.functional.normalize(mean, p=2, dim=1)

    model[0].auto_model.set_attn_implementation("eager")  # the others do not trace well
    example = (torch.ones(2, 16, dtype=torch.int64), torch.ones(2, 16, dtype=torch.int64))
    axes = {0: "batch", 1: "tokens"}
    with warnings.catch_warnings():
        # The tracer warns of shape checks that it freezes; the stage compares the result on texts of all lengths.
        warnings.simplefilter("ignore")
        torch.onnx.export(
            Pooled(model[0].auto_model).eval(),
            example,
            str(path),
            input_names=["input_ids", "attention_mask"],
            output_names=["vectors"],
            dynamic_axes={"input_ids": axes, "attention_mask": axes, "vectors": {0: "batch"}},
            opset_version=_OPSET,
            dynamo=False,
        )


def _quantise(full: Path, path: Path) -> None:
    from onnxruntime.quantization import QuantType, quantize_dynamic

    quantize_dynamic(str(full), str(path), weight_type=QuantType.QInt8, per_channel=True)
