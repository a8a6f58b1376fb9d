"""The cache embeds only what is new, keeps what was done before an interruption, and survives what breaks it."""

import os
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from palier.adapters import embedding_cache
from palier.adapters.embedding_cache import EmbeddingCache, embed_remembered
from palier.adapters.onnx_encoder import OnnxEncoder
from tests.adapters.tiny_encoder import write_tiny_encoder

WORDS = [f"word{i}" for i in range(400)]
TEXTS = [f"{word} {other}" for word, other in zip(WORDS, WORDS[7:], strict=False)]


@pytest.fixture
def encoder(tmp_path: Path) -> OnnxEncoder:
    return OnnxEncoder(write_tiny_encoder(tmp_path / "encoder", WORDS))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "cache"


def write_shards(encoder: OnnxEncoder, folder: Path, texts: Sequence[str], size: int) -> None:
    """``texts`` in shards of ``size``."""
    cache = EmbeddingCache(folder, encoder)
    for start in range(0, len(texts), size):
        cache.embed(texts[start : start + size], lambda part: iter([encoder.embed(part)]))


def test_only_new_texts_are_embedded_and_vectors_stay_the_same(encoder: OnnxEncoder, folder: Path):
    first = embed_remembered(encoder, [TEXTS[0], TEXTS[1], TEXTS[0]], folder)
    assert (first.n_embedded, first.n_reused) == (2, 0)
    again = embed_remembered(encoder, [TEXTS[1], TEXTS[2]], folder)
    assert (again.n_embedded, again.n_reused) == (1, 1)
    assert (again.vectors == encoder.embed([TEXTS[1], TEXTS[2]])).all()
    assert embed_remembered(encoder, [], folder).vectors.shape == (0, 384)


@pytest.mark.parametrize("damage", ["short", "flipped", "another"])
def test_a_broken_shard_is_passed_over_and_made_again(encoder: OnnxEncoder, folder: Path, damage: str):
    """A shard that is cut, has one wrong bit, or holds something else costs its own texts only."""
    write_shards(encoder, folder, TEXTS[:20], 10)
    victim = min(folder.glob("*.npy"))
    raw = bytearray(victim.read_bytes())
    if damage == "short":
        raw = raw[:-100]
    elif damage == "flipped":
        raw[-1] ^= 1
    else:
        raw = bytearray(b"no array")
    victim.write_bytes(raw)
    again = embed_remembered(encoder, TEXTS[:20], folder)
    assert (again.n_embedded, again.n_reused) == (10, 10)
    assert (again.vectors == encoder.embed(TEXTS[:20])).all()
    assert embed_remembered(encoder, TEXTS[:20], folder).n_reused == 20


def test_vectors_of_two_encoders_never_mix(encoder: OnnxEncoder, folder: Path, tmp_path: Path):
    embed_remembered(encoder, TEXTS[:1], folder)
    other = OnnxEncoder(write_tiny_encoder(tmp_path / "other", WORDS, seed=1))
    assert other.sha256 != encoder.sha256
    assert embed_remembered(other, TEXTS[:1], folder).n_embedded == 1


def test_what_was_embedded_before_ctrl_c_is_there_afterwards(encoder: OnnxEncoder, folder: Path):
    def interrupted(texts: Sequence[str]) -> Iterator[NDArray[np.float32]]:
        for start in range(0, 60, 20):
            yield encoder.embed(texts[start : start + 20])
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        EmbeddingCache(folder, encoder).embed(TEXTS[:100], interrupted)
    resumed = embed_remembered(encoder, TEXTS[:100], folder)
    assert (resumed.n_embedded, resumed.n_reused) == (40, 60)
    assert (resumed.vectors == encoder.embed(TEXTS[:100])).all()


def test_shards_are_written_on_the_way(encoder: OnnxEncoder, folder: Path, monkeypatch: pytest.MonkeyPatch):
    """A kill that gives no time to clean up costs at most the texts since the last shard."""
    monkeypatch.setattr(embedding_cache, "_TEXTS_PER_SHARD", 64)
    seen: list[int] = []
    embed_remembered(encoder, TEXTS[:200], folder, lambda *_: seen.append(len(list(folder.glob("*.npy")))))
    assert seen == [0, 0, 1, 1, 2, 2, 3]


def test_many_shards_become_one_and_nothing_used_is_lost(encoder: OnnxEncoder, folder: Path):
    write_shards(encoder, folder, TEXTS[:100], 5)
    old = folder / f".{encoder.sha256[:16]}-0.part"
    young = folder / f".{encoder.sha256[:16]}-1.part"
    for path in (old, young):
        path.touch()
    os.utime(old, (time.time() - 1e6, time.time() - 1e6))
    tidied = embed_remembered(encoder, TEXTS[:90], folder)
    assert tidied.n_embedded == 0
    assert len(list(folder.glob("*.npy"))) == 1
    assert (old.exists(), young.exists()) == (False, True)
    assert embed_remembered(encoder, TEXTS[:100], folder).n_embedded == 10


def test_a_reader_that_had_begun_before_tidying_still_reads(encoder: OnnxEncoder, folder: Path):
    write_shards(encoder, folder, TEXTS[:100], 5)
    reader = EmbeddingCache(folder, encoder)
    embed_remembered(encoder, TEXTS[:50], folder)
    found = reader.embed(TEXTS[:100], lambda _: iter([]))
    assert (found.vectors == encoder.embed(TEXTS[:100])).all()


def embed_part(encoder_folder: Path, cache_folder: Path, first: int) -> None:
    """In a process of its own."""
    write_shards(OnnxEncoder(encoder_folder), cache_folder, TEXTS[first : first + 200], 10)


def test_two_processes_that_write_at_once_lose_nothing(encoder: OnnxEncoder, folder: Path):
    with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as pool:
        for done in [pool.submit(embed_part, encoder.folder, folder, first) for first in (0, 150)]:
            done.result()
    both = embed_remembered(encoder, TEXTS[:350], folder)
    assert (both.n_embedded, both.n_reused) == (0, 350)
    assert (both.vectors == encoder.embed(TEXTS[:350])).all()
