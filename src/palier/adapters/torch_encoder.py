"""Trains the sentence encoder and turns it into int8 ONNX: the only place where the encoder meets torch.

Knows models and arrays; which questions are trained on is decided by the stage. torch and its friends are imported
inside the functions, since they take seconds to load and most commands need none of them.
"""

import json
import shutil
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

MAX_TOKENS = 256
_OPSET = 17

Progress = Callable[[int, int, str], None]


def load_encoder(folder: Path) -> "SentenceTransformer":
    """The encoder of ``folder`` in fp32 on the CPU."""
    from sentence_transformers import SentenceTransformer

    model = SentenceTransformer(str(folder), device="cpu", local_files_only=True)
    model.max_seq_length = MAX_TOKENS
    return model


def embed_fp32(model: "SentenceTransformer", texts: Sequence[str]) -> NDArray[np.float32]:
    """What the int8 export is compared with: unit vectors, float32 of shape (n, dimensions)."""
    vectors = model.encode(list(texts), normalize_embeddings=True, show_progress_bar=False)
    return np.asarray(vectors, dtype=np.float32)


def tune_encoder(
    model: "SentenceTransformer",
    pairs: Sequence[tuple[str, str]],
    *,
    epochs: int,
    seed: int,
    progress: Progress,
    batch_size: int = 16,
    learning_rate: float = 2e-5,
) -> float:
    """Pull each question to its passage and away from the batch's other ones; the mean loss of the last epoch.

    The loss is multiple negatives ranking (Henderson et al. 2017, section 4), scale 20. Pairs that share a passage
    never meet in a batch, or the answer of one would be the counter-example of the other.
    """
    import torch
    from sentence_transformers.sentence_transformer.losses import MultipleNegativesRankingLoss

    torch.manual_seed(seed)
    loss_of, rng = MultipleNegativesRankingLoss(model), np.random.default_rng(seed)
    optimiser = torch.optim.AdamW(model.parameters(), lr=learning_rate, weight_decay=0.01)
    schedule = [_distinct_batches(pairs, batch_size, rng) for _ in range(epochs)]
    total, done, losses = sum(map(len, schedule)), 0, [0.0]
    model.train()
    for batches in schedule:
        losses = []
        for batch in batches:
            features = [model.preprocess([pair[side] for pair in batch]) for side in (0, 1)]
            with torch.autocast("cpu", dtype=torch.bfloat16):
                loss = loss_of(features, torch.zeros(len(batch)))
            optimiser.zero_grad()
            loss.backward()
            optimiser.param_groups[0]["lr"] = learning_rate * (1 - done / total)
            optimiser.step()
            losses.append(float(loss.detach()))
            done += 1
            progress(done, total, f"tune the encoder, loss {losses[-1]:.3f}")
    model.eval()
    return float(np.mean(losses))


def _distinct_batches(
    pairs: Sequence[tuple[str, str]], size: int, rng: np.random.Generator
) -> list[list[tuple[str, str]]]:
    """Shuffled batches without a repeated passage; pairs that fit nowhere wait for the next batch."""
    waiting = [pairs[i] for i in rng.permutation(len(pairs))]
    batches: list[list[tuple[str, str]]] = []
    while waiting:
        batch: list[tuple[str, str]] = []
        left: list[tuple[str, str]] = []
        seen: set[str] = set()
        for pair in waiting:
            if len(batch) < size and pair[1] not in seen:
                batch.append(pair)
                seen.add(pair[1])
            else:
                left.append(pair)
        batches.append(batch)
        waiting = left
    return [batch for batch in batches if len(batch) > 1]


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
