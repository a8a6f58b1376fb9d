"""Remembers the embedding of each text, so that a new corpus revision embeds only what is new.

A folder of shards per encoder (vectors of two encoders must never mix), each one an array of rows (sha256 of a text,
vector) that is written once, whole, and never changed. What was embedded before an interruption is therefore there
afterwards, and two processes may write at the same time. A shard is named for its own hash: one that is broken is
passed over. All of it can be deleted at any time and is no part of a release. The price: about 1.6 kB per passage, and
each start reads all shards once to check them.
"""

import hashlib
import os
import secrets
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from palier.adapters.bulk_embedding import ALONE, EmbedBlocks, Workforce, bulk_embedder
from palier.adapters.onnx_encoder import OnnxEncoder

_TEXTS_PER_SHARD = 1024
"""What a kill can cost: 10 to 20 seconds of one core."""
_ROWS_PER_TIDY_SHARD = 65_536
_MAX_SHARDS = 16
_SPARE_ROWS = 10_000
_LEFTOVER_S = 86_400
_KEY_BYTES = 32
_NAME_BYTES = 16

Progress = Callable[[int, int, str], None]
_Rows = NDArray[np.void]


@dataclass(frozen=True, slots=True)
class Embedded:
    """Vectors in the order of the texts, and how many of the distinct texts had to be embedded."""

    vectors: NDArray[np.float32]
    n_embedded: int
    n_reused: int


def embed_remembered(
    encoder: OnnxEncoder,
    texts: Sequence[str],
    folder: Path,
    progress: Progress = lambda *_: None,
    workforce: Workforce = ALONE,
) -> Embedded:
    """Vectors of ``texts``, taken from ``folder`` where they are known; what is long unused may then be dropped."""
    cache = EmbeddingCache(folder, encoder)
    with bulk_embedder(encoder, workforce) as embed:
        embedded = cache.embed(texts, embed, progress)
    cache.tidy(texts)
    return embedded


class EmbeddingCache:
    """The shards of ``encoder`` in ``folder``, as they are now. For one thread; other processes may use the folder."""

    def __init__(self, folder: Path, encoder: OnnxEncoder) -> None:
        self._folder = folder
        self._prefix = encoder.sha256[:16]
        self._row = np.dtype([("key", "u1", (_KEY_BYTES,)), ("vector", "<f4", (encoder.dimensions,))])
        self._shards: dict[Path, _Rows] = {}
        self._broken: list[Path] = []
        self._places: dict[bytes, tuple[Path, int]] = {}
        for path in sorted(folder.glob(f"{self._prefix}-*.npy")):
            self._load(path)

    def embed(self, texts: Sequence[str], embed: EmbedBlocks, progress: Progress = lambda *_: None) -> Embedded:
        """Vectors of ``texts``; new ones are written as they come, also when this is interrupted."""
        keys = [_key(text) for text in texts]
        missing = {key: text for key, text in zip(keys, texts, strict=True) if key not in self._places}
        self._remember(missing, embed, progress)
        vectors = np.empty((len(keys), self._row["vector"].shape[0]), dtype=np.float32)
        for row, key in enumerate(keys):
            path, place = self._places[key]
            vectors[row] = self._shards[path]["vector"][place]
        return Embedded(vectors, len(missing), len(set(keys)) - len(missing))

    def tidy(self, texts: Iterable[str]) -> None:
        """Where shards are many, or most rows are not of ``texts``: write these again, together, and drop the rest.

        Only shards seen by this object are dropped. One that another process still reads stays readable to it.
        """
        used = dict.fromkeys(_key(text) for text in texts)
        n_rows = sum(len(rows) for rows in self._shards.values())
        max_shards = _MAX_SHARDS + n_rows // _ROWS_PER_TIDY_SHARD
        if len(self._shards) <= max_shards and n_rows <= 2 * len(used) + _SPARE_ROWS:
            return
        kept = [key for key in used if key in self._places]
        before = [*self._shards, *self._broken]
        written = {
            self._write(part, [self._vector(key) for key in part]) for part in _parts(kept, _ROWS_PER_TIDY_SHARD)
        }
        for path in [*before, *self._leftovers()]:
            if path not in written:
                path.unlink(missing_ok=True)
                self._shards.pop(path, None)
        self._places = {key: self._places[key] for key in kept}
        self._broken = []

    def _remember(self, missing: Mapping[bytes, str], embed: EmbedBlocks, progress: Progress) -> None:
        keys, fresh, n_written = list(missing), list[NDArray[np.float32]](), 0
        try:
            for block in embed(list(missing.values())):
                fresh += list(block)
                progress(n_written + len(fresh), len(keys), "embed passages")
                if len(fresh) >= _TEXTS_PER_SHARD:
                    self._write(keys[n_written : n_written + len(fresh)], fresh)
                    n_written, fresh = n_written + len(fresh), []
        finally:
            if fresh:
                self._write(keys[n_written : n_written + len(fresh)], fresh)

    def _vector(self, key: bytes) -> NDArray[np.float32]:
        path, place = self._places[key]
        vector: NDArray[np.float32] = self._shards[path]["vector"][place]
        return vector

    def _write(self, keys: Sequence[bytes], vectors: Sequence[NDArray[np.float32]]) -> Path:
        """A new shard, on disk before it has its name: after a power cut it is whole or not there."""
        rows = np.empty(len(keys), dtype=self._row)
        rows["key"] = np.frombuffer(b"".join(keys), dtype=np.uint8).reshape(-1, _KEY_BYTES)
        rows["vector"] = np.array(vectors, dtype=np.float32)
        path = self._folder / f"{self._prefix}-{_hash(rows)}.npy"
        self._folder.mkdir(parents=True, exist_ok=True)
        partial = path.with_name(f".{self._prefix}-{secrets.token_hex(8)}.part")
        with partial.open("wb") as handle:
            np.save(handle, rows, allow_pickle=False)
            handle.flush()
            os.fsync(handle.fileno())
        partial.replace(path)
        self._add(path, np.load(path, mmap_mode="r", allow_pickle=False))
        return path

    def _load(self, path: Path) -> None:
        """What is absent, broken or of another shape counts as empty: a shard only saves work."""
        try:
            rows = np.load(path, mmap_mode="r", allow_pickle=False)
        except (OSError, ValueError, EOFError):
            self._broken.append(path)
            return
        if rows.dtype != self._row or rows.ndim != 1 or path.stem != f"{self._prefix}-{_hash(rows)}":
            self._broken.append(path)
            return
        self._add(path, rows)

    def _add(self, path: Path, rows: _Rows) -> None:
        self._shards[path] = rows
        raw, n_bytes = rows["key"].tobytes(), _KEY_BYTES
        self._places.update((raw[n_bytes * i : n_bytes * (i + 1)], (path, i)) for i in range(len(rows)))

    def _leftovers(self) -> Iterator[Path]:
        """Shards that a kill left half written, long ago: a young one may be another process's."""
        for path in self._folder.glob(f".{self._prefix}-*.part"):
            if time.time() - path.stat().st_mtime > _LEFTOVER_S:
                yield path


def _key(text: str) -> bytes:
    return hashlib.sha256(text.encode("utf-8")).digest()


def _hash(rows: _Rows) -> str:
    return hashlib.blake2b(np.ascontiguousarray(rows).view(np.uint8).data, digest_size=_NAME_BYTES).hexdigest()


def _parts(keys: Sequence[bytes], size: int) -> Iterator[Sequence[bytes]]:
    for start in range(0, len(keys), size):
        yield keys[start : start + size]
