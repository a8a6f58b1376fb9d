"""Embeds many texts with several workers: processes of this machine, or Ray's, on one machine or many.

Whatever the engine, a text goes alone through `OnnxEncoder.embed` on one thread, so vectors come out in the order of
the texts and the same to the bit. Knows no cache and no index. The price: a worker takes a second and 150 MB to start
(few texts stay in this process), and on a Ray cluster of unlike CPUs the last bits may differ, since ONNX Runtime
chooses its int8 code by CPU.
"""

import logging
import os
import secrets
import signal
import socket
import sys
import tempfile
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from multiprocessing import get_context, parent_process
from pathlib import Path
from types import ModuleType
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from palier.adapters.onnx_encoder import ENCODER_FILES, OnnxEncoder
from palier.errors import ServiceError

Engine = Literal["process", "ray"]
Vectors = NDArray[np.float32]
EmbedBlocks = Callable[[Sequence[str]], Iterator[Vectors]]
"""Texts to blocks of unit vectors, float32 of shape (n, dimensions), which joined are in the order of the texts."""

_Submit = Callable[[Sequence[str]], Callable[[], Vectors]]
TEXTS_PER_BLOCK = 32
ALONE_TEXTS = 64
"""Up to this many, starting processes would take longer than embedding."""
_BLOCKS_AHEAD = 3
_OBJECT_STORE_BYTES = 128 * 2**20
_REACH_S = 5.0


@dataclass(frozen=True, slots=True)
class Workforce:
    """Who embeds: ``workers`` single-threaded workers of an engine; None: one per core that may be used."""

    engine: Engine = "process"
    workers: int | None = None


ALONE = Workforce("process", 1)
"""No other process is started."""


def n_cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@contextmanager
def bulk_embedder(encoder: OnnxEncoder, workforce: Workforce) -> Iterator[EmbedBlocks]:
    """A function that embeds with ``workforce``, for as long as the block runs; its workers then end.

    Raises ServiceError when a worker died, or Ray cannot be started or reached.
    """
    if workforce.engine == "ray":
        with _ray_workers(encoder, workforce.workers) as (submit, n_workers):
            yield lambda texts: _in_order(submit, texts, _BLOCKS_AHEAD * n_workers)
        return
    n_workers = workforce.workers or n_cores()
    with _processes(encoder, n_workers) as submit:

        def embed(texts: Sequence[str]) -> Iterator[Vectors]:
            if n_workers > 1 and len(texts) > ALONE_TEXTS:
                return _in_order(submit, texts, _BLOCKS_AHEAD * n_workers)
            return _in_order(lambda block: lambda: encoder.embed(block), texts, 0)

        yield embed


def _in_order(submit: _Submit, texts: Sequence[str], n_ahead: int) -> Iterator[Vectors]:
    """Blocks in the order of the texts, with at most ``n_ahead`` handed out: memory does not grow with the texts."""
    waiting: deque[Callable[[], Vectors]] = deque()
    for start in range(0, len(texts), TEXTS_PER_BLOCK):
        waiting.append(submit(texts[start : start + TEXTS_PER_BLOCK]))
        if len(waiting) > n_ahead:
            yield waiting.popleft()()
    while waiting:
        yield waiting.popleft()()


@contextmanager
def _processes(encoder: OnnxEncoder, n_workers: int) -> Iterator[_Submit]:
    """Spawned, not forked: ONNX Runtime's threads do not survive a fork. None starts before the first block."""
    pool = ProcessPoolExecutor(n_workers, mp_context=get_context("spawn"), initializer=_prepare_worker)
    exchange = tempfile.TemporaryDirectory(prefix="palier-vectors-")

    def submit(texts: Sequence[str]) -> Callable[[], Vectors]:
        # Vectors come back in a file: a worker that is killed halfway through a long message would leave the pool
        # waiting for its end for ever, and a file's name is written in one piece.
        with _main_module_hidden():  # a worker is started within, where one is missing
            written = pool.submit(_embed_into, Path(exchange.name), encoder.folder, list(texts))
        return lambda: _taken(written.result())

    try:
        yield submit
    except BrokenProcessPool as error:
        dead = ServiceError(
            "A process of the bulk embedding died, perhaps for want of memory. "
            "Run it again with fewer build_index.workers; what was embedded is kept."
        )
        raise dead from error
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
        exchange.cleanup()


@contextmanager
def _main_module_hidden() -> Iterator[None]:
    """A spawned worker runs the program's main module again, which it does not need; in a task of Airflow that module
    is Airflow's own, and refuses to be loaded without its database.
    """
    main = sys.modules["__main__"]
    sys.modules["__main__"] = ModuleType("__main__")
    try:
        yield
    finally:
        sys.modules["__main__"] = main


def _prepare_worker() -> None:
    """Ctrl-C is the parent's to handle, and a worker whose parent was killed must not stay."""
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent = parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _embed_into(exchange: Path, folder: Path, texts: Sequence[str]) -> str:
    path = exchange / f"{os.getpid()}-{secrets.token_hex(8)}.npy"
    np.save(path, _encoder_of(folder).embed(texts), allow_pickle=False)
    return str(path)


def _taken(path: str) -> Vectors:
    vectors: Vectors = np.load(path, allow_pickle=False)
    Path(path).unlink()
    return vectors


@cache
def _encoder_of(folder: Path) -> OnnxEncoder:
    return OnnxEncoder(folder)


@contextmanager
def _ray_workers(encoder: OnnxEncoder, n_workers: int | None) -> Iterator[tuple[_Submit, int]]:
    """Ray tasks of one core each. The cluster of RAY_ADDRESS, else a Ray of our own that ends with the block."""
    _reach_cluster(os.environ.get("RAY_ADDRESS"))
    import ray
    from ray.exceptions import RayError

    is_ours = not ray.is_initialized()
    try:
        if is_ours:
            _start_ray(n_workers)
        files = {name: (encoder.folder / name).read_bytes() for name in ENCODER_FILES}
        shipped, task = ray.put(files), ray.remote(num_cpus=1)(_embed_shipped)

        def submit(texts: Sequence[str]) -> Callable[[], Vectors]:
            promise = task.remote(encoder.sha256, shipped, list(texts))
            return lambda: np.asarray(ray.get(promise), dtype=np.float32)

        cores = ray.cluster_resources().get("CPU", 1)  # type: ignore[no-untyped-call]
        yield submit, n_workers or max(1, int(cores))
    except RayError as error:
        raise _ray_error(error) from error
    finally:
        if is_ours:
            ray.shutdown()


def _start_ray(n_workers: int | None) -> None:
    """Ray takes over SIGTERM; whoever had it (a task runner that ends us) gets it back."""
    handler = signal.getsignal(signal.SIGTERM)
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    try:
        _init_ray(n_workers or n_cores())
    except (OSError, RuntimeError, ValueError) as error:
        raise _ray_error(error) from error
    finally:
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, handler)


def _reach_cluster(address: str | None) -> None:
    """ServiceError when nobody listens at ``address``: Ray itself would wait for minutes."""
    host, _, port = (address or "").rpartition("//")[2].rpartition(":")
    if host and port.isdigit():
        try:
            socket.create_connection((host, int(port)), _REACH_S).close()
        except OSError as error:
            raise _ray_error(error) from error


def _init_ray(n_workers: int) -> None:
    import ray

    if os.environ.get("RAY_ADDRESS"):  # Ray's own variable: who has a cluster has set it already
        ray.init(log_to_driver=False, logging_level=logging.ERROR)
    else:
        ray.init(
            "local",
            num_cpus=n_workers,
            object_store_memory=_OBJECT_STORE_BYTES,
            include_dashboard=False,
            log_to_driver=False,
            logging_level=logging.ERROR,
        )


def _ray_error(error: Exception) -> ServiceError:
    return ServiceError(
        f"Ray at {os.environ.get('RAY_ADDRESS') or 'this machine'} failed: {type(error).__name__}: {error}. "
        "See its log, or set build_index.engine to process."
    )


_SHIPPED: dict[str, OnnxEncoder] = {}


def _embed_shipped(sha256: str, files: dict[str, bytes], texts: Sequence[str]) -> Vectors:
    """In a Ray worker, perhaps on another machine: the encoder comes as bytes, and is loaded once per process."""
    if sha256 not in _SHIPPED:
        with tempfile.TemporaryDirectory(prefix="palier-encoder-") as folder:
            for name, raw in files.items():
                (Path(folder) / name).write_bytes(raw)
            _SHIPPED[sha256] = OnnxEncoder(Path(folder))
    return _SHIPPED[sha256].embed(texts)
