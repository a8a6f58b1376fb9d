"""Two speeds that `palier bench scale` reports: embedding against torch in fp32, and a question on one core.

Both sides of the first embed the same texts, on one core and one thread of the same process, in turns, so that a
machine that is busy for a while is busy for both. torch gets them as it likes them best: sorted by length, 32 at a
time.
"""

import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import psutil
from tokenizers import Tokenizer

from bench.report import Metric, metric, percentile, tell
from palier.adapters.catalogue import resolve
from palier.adapters.onnx_encoder import OnnxEncoder
from palier.domain.documents import Passage

BATCH = 32
ROUNDS = 3
N_TEXTS = 256
TOKENS_WANTED = 175
_TOKENS_AROUND = 35
WARM_UP = 10

_Embed = Callable[[Sequence[str]], object]


TokenCount = Callable[[str], int]


def token_counter(encoder: OnnxEncoder) -> TokenCount:
    """Counts tokens as ``encoder`` cuts them, marks included and before anything is cut off."""
    tokenizer = Tokenizer.from_file(str(encoder.folder / "tokenizer.json"))
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return lambda text: len(tokenizer.encode(text).ids)


def texts_of_size(count: TokenCount, passages: Sequence[Passage], rng: np.random.Generator) -> list[str]:
    """Up to 256 of the passages' contents, of about 175 tokens each, drawn at random."""
    texts = [passage.content for passage in passages]
    near = [text for text in texts if abs(count(text) - TOKENS_WANTED) <= _TOKENS_AROUND]
    picked = rng.permutation(len(near))[:N_TEXTS]
    return [near[i] for i in sorted(picked)]


def compare_with_torch(
    encoder: OnnxEncoder, base: str, texts: Sequence[str], rng: np.random.Generator
) -> dict[str, Any]:
    """Passages per second of one core, ours and torch's, and how many times faster ours is; 95 % over blocks."""
    import torch

    from palier.adapters.torch_encoder import load_encoder

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        model = load_encoder(resolve(base))
        ordered = sorted(texts, key=token_counter(encoder))
        with on_one_core({"benchmark": psutil.Process()}):
            times = _block_times(ordered, encoder.embed, lambda block: _embed_fp32(model, block), rng)
    finally:
        torch.set_num_threads(threads)
    sizes, ours, theirs = (np.array(column) for column in zip(*times, strict=True))
    return {
        "ours_passages_per_s_per_core": metric(list(sizes / ours), rng),
        "torch_fp32_passages_per_s_per_core": metric(list(sizes / theirs), rng),
        "ratio": ratio_interval(theirs, ours, rng),
        "n_texts": len(texts),
        "tokens_mean": round(float(np.mean([token_counter(encoder)(text) for text in texts])), 1),
        "torch_batch": BATCH,
        "rounds": ROUNDS,
    }


def _embed_fp32(model: Any, texts: Sequence[str]) -> None:
    model.encode(list(texts), batch_size=BATCH, normalize_embeddings=True, show_progress_bar=False)


def _block_times(
    ordered: Sequence[str], ours: _Embed, theirs: _Embed, rng: np.random.Generator
) -> list[tuple[int, float, float]]:
    """(texts, our seconds, their seconds) of each block and round; who begins is drawn."""
    blocks = [ordered[start : start + BATCH] for start in range(0, len(ordered), BATCH)]
    sides = [ours, theirs]
    for side in sides:
        side(blocks[0])
    times = []
    for turn in range(ROUNDS):
        for i in rng.permutation(len(blocks)):
            taken = [0.0, 0.0]
            for side in rng.permutation(2):
                started = time.perf_counter()
                sides[side](blocks[i])
                taken[side] = time.perf_counter() - started
            times.append((len(blocks[i]), *taken))
        tell(f"embedding against torch: round {turn + 1}/{ROUNDS}")
    return times


def ratio_interval(
    above: np.ndarray[Any, Any], below: np.ndarray[Any, Any], rng: np.random.Generator, samples: int = 1000
) -> Metric:
    """sum(above) / sum(below) of paired times, with a 95 % percentile bootstrap over the pairs."""
    picks = rng.integers(0, len(above), size=(samples, len(above)))
    low, high = np.quantile(above[picks].sum(axis=1) / below[picks].sum(axis=1), [0.025, 0.975])
    value = float(above.sum() / below.sum())
    return {"value": round(value, 3), "low": round(float(low), 3), "high": round(float(high), 3), "n": len(above)}


def times_ms(ask: Callable[[Any], object], questions: Sequence[Any]) -> dict[str, float | None]:
    """p50 and p95 of asking one question after the other; the first ten are asked twice, to warm up.

    ``cpu_ms_p95`` is this process's own CPU time, the node's not in it: a machine that is busy with other work changes
    that little, and the rest a lot.
    """
    for question in questions[:WARM_UP]:
        ask(question)
    taken, used = [], []
    for question in questions:
        started, cpu = time.perf_counter(), time.process_time()
        ask(question)
        taken.append(1000 * (time.perf_counter() - started))
        used.append(1000 * (time.process_time() - cpu))
    return {"ms_p50": percentile(taken, 50), "ms_p95": percentile(taken, 95), "cpu_ms_p95": percentile(used, 95)}


def node_process(search_url: str) -> psutil.Process | None:
    """The process that listens at ``search_url``, where that is on this machine and may be looked at."""
    address = urlsplit(search_url)
    if address.hostname not in ("127.0.0.1", "localhost", "::1"):
        return None
    with suppress(psutil.Error):
        for connection in psutil.net_connections("tcp"):
            if connection.status == psutil.CONN_LISTEN and connection.laddr.port == address.port and connection.pid:
                return psutil.Process(connection.pid)
    return None


def resident_mb(process: psutil.Process | None) -> int | None:
    """Resident memory, in 2^20 bytes."""
    with suppress(psutil.Error):
        return round(process.memory_info().rss / 2**20) if process else None
    return None


@contextmanager
def on_one_core(processes: Mapping[str, psutil.Process]) -> Iterator[dict[str, Any]]:
    """All threads of ``processes`` share one core for as long as the block runs; yields what was bound to which."""
    before = {process.pid: os.sched_getaffinity(process.pid) for process in processes.values()}
    core = min(os.sched_getaffinity(0))
    try:
        for process in processes.values():
            _bind(process, {core})
        yield {"core": core, "bound": list(processes)}
    finally:
        for process in processes.values():
            _bind(process, before[process.pid])


def _bind(process: psutil.Process, cores: set[int]) -> None:
    """Each thread by itself: a process's own setting is only its first thread's."""
    for thread in process.threads():
        with suppress(ProcessLookupError):
            os.sched_setaffinity(thread.id, cores)
