"""Remembers the embedding of each text, so that a new corpus revision embeds only what is new.

One ``.npz`` per encoder (vectors of two encoders must never mix), keyed by the sha256 of the text. It can be deleted at
any time and is not part of a release. The price: about 1.6 kB per passage, and the whole file is read and written.
"""

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

from palier.adapters.onnx_encoder import OnnxEncoder
from palier.domain.documents import sha256_text

_TEXTS_PER_STEP = 32
Progress = Callable[[int, int, str], None]


@dataclass(frozen=True, slots=True)
class Embedded:
    """Vectors in the order of the texts, and how many of the distinct texts had to be embedded."""

    vectors: NDArray[np.float32]
    n_embedded: int
    n_reused: int


def embed_remembered(
    encoder: OnnxEncoder, texts: Sequence[str], folder: Path, progress: Progress = lambda *_: None
) -> Embedded:
    """Vectors of ``texts``, taken from ``folder`` where they are known; the file then holds these texts' only."""
    path = folder / f"{encoder.sha256[:16]}.npz"
    keys = [sha256_text(text) for text in texts]
    known = _load(path, encoder.dimensions)
    missing = {key: text for key, text in zip(keys, texts, strict=True) if key not in known}
    fresh = _embed(encoder, list(missing.values()), progress)
    known.update(zip(missing, fresh, strict=True))
    used = {key: known[key] for key in dict.fromkeys(keys)}
    if missing:
        _save(path, used)
    vectors = np.array([known[key] for key in keys], dtype=np.float32).reshape(len(keys), encoder.dimensions)
    return Embedded(vectors, len(missing), len(used) - len(missing))


def _embed(encoder: OnnxEncoder, texts: Sequence[str], progress: Progress) -> list[NDArray[np.float32]]:
    vectors: list[NDArray[np.float32]] = []
    for start in range(0, len(texts), _TEXTS_PER_STEP):
        vectors += list(encoder.embed(texts[start : start + _TEXTS_PER_STEP]))
        progress(len(vectors), len(texts), "embed passages")
    return vectors


def _load(path: Path, dimensions: int) -> dict[str, NDArray[np.float32]]:
    """A file that is absent, broken or of another shape counts as empty: it only saves work."""
    try:
        with np.load(path, allow_pickle=False) as stored:
            keys, vectors = stored["keys"], stored["vectors"]
    except (OSError, ValueError, KeyError, BadZipFile, EOFError):
        return {}
    if vectors.dtype != np.float32 or vectors.shape != (len(keys), dimensions):
        return {}
    return dict(zip(keys.tolist(), vectors, strict=True))


def _save(path: Path, vectors: dict[str, NDArray[np.float32]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.stem}.{os.getpid()}.npz")
    np.savez(partial, keys=np.array(list(vectors)), vectors=np.array(list(vectors.values()), dtype=np.float32))
    partial.replace(path)
