"""All engines give the same vectors, to the bit and in order, and leave no process behind."""

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import psutil
import pytest

from palier.adapters.bulk_embedding import ALONE_TEXTS, TEXTS_PER_BLOCK, Workforce, bulk_embedder
from palier.adapters.embedding_cache import embed_remembered
from palier.adapters.onnx_encoder import OnnxEncoder
from palier.errors import ServiceError
from tests.adapters.tiny_encoder import write_tiny_encoder

WORDS = [f"word{i}" for i in range(300)]
TEXTS = [" ".join(WORDS[i : i + 1 + i % 40]) for i in range(250)]


@pytest.fixture
def encoder(tmp_path: Path) -> OnnxEncoder:
    return OnnxEncoder(write_tiny_encoder(tmp_path / "encoder", WORDS))


@pytest.fixture
def no_process_left() -> Iterator[None]:
    """What a test starts has ended a few seconds after it."""
    before = set(psutil.Process().children(recursive=True))
    yield
    _, alive = psutil.wait_procs(set(psutil.Process().children(recursive=True)) - before, timeout=20)
    # Python's own tracker of shared resources serves the whole test run.
    assert [child.cmdline() for child in alive if "resource_tracker" not in " ".join(child.cmdline())] == []


@pytest.mark.parametrize("workers", [1, 2])
def test_processes_give_the_same_bytes_in_the_same_order(encoder: OnnxEncoder, no_process_left: None, workers: int):
    assert len(TEXTS) > ALONE_TEXTS
    with bulk_embedder(encoder, Workforce("process", workers)) as embed:
        blocks = list(embed(TEXTS))
    assert {len(block) for block in blocks[:-1]} == {TEXTS_PER_BLOCK}
    assert np.concatenate(blocks).tobytes() == encoder.embed(TEXTS).tobytes()


@pytest.mark.service
def test_ray_gives_the_same_bytes_in_the_same_order(encoder: OnnxEncoder, tmp_path: Path, no_process_left: None):
    """A real Ray of two workers, through the cache, as `build-index` uses it."""
    embedded = embed_remembered(encoder, TEXTS, tmp_path / "cache", workforce=Workforce("ray", 2))
    assert embedded.n_embedded == len(set(TEXTS))
    assert embedded.vectors.tobytes() == encoder.embed(TEXTS).tobytes()


def test_a_ray_cluster_that_is_away_is_told(encoder: OnnxEncoder, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("RAY_ADDRESS", "127.0.0.1:9")
    with pytest.raises(ServiceError, match=r"127\.0\.0\.1:9 .*engine"), bulk_embedder(encoder, Workforce("ray", 1)):
        pass


def test_a_worker_that_dies_is_told_with_a_remedy(encoder: OnnxEncoder, no_process_left: None):
    before = set(psutil.Process().children())

    def kill_while_embedding() -> None:
        with bulk_embedder(encoder, Workforce("process", 2)) as embed:
            for _ in embed(TEXTS * 40):
                for child in set(psutil.Process().children()) - before:
                    with contextlib.suppress(psutil.NoSuchProcess):  # killed a moment ago
                        if "resource_tracker" not in " ".join(child.cmdline()):
                            child.kill()

    with pytest.raises(ServiceError, match=r"died[\s\S]*workers"):
        kill_while_embedding()


SLOW_RUN = """
import signal
import sys
from pathlib import Path
from palier.adapters.bulk_embedding import Workforce, bulk_embedder
from palier.adapters.onnx_encoder import OnnxEncoder

if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a background shell hands down that it is ignored
    with bulk_embedder(OnnxEncoder(Path(sys.argv[1])), Workforce("process", 2)) as embed:
        for n, _ in enumerate(embed([f"word{i}" for i in range(10_000_000)])):
            if n == 3:
                print("embedding", flush=True)
"""


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_no_worker_outlives_a_killed_parent(encoder: OnnxEncoder, tmp_path: Path, how: signal.Signals):
    script = tmp_path / "slow_run.py"
    script.write_text(SLOW_RUN, encoding="utf-8")
    command = [sys.executable, str(script), str(encoder.folder)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as parent:
        assert parent.stdout is not None
        assert parent.stdout.readline() == "embedding\n"
        workers = psutil.Process(parent.pid).children(recursive=True)
        assert len(workers) >= 2
        os.kill(parent.pid, how)
        parent.wait(timeout=20)
    deadline = time.monotonic() + 20
    while any(worker.is_running() and worker.status() != psutil.STATUS_ZOMBIE for worker in workers):
        assert time.monotonic() < deadline
        time.sleep(0.1)


MAIN_THAT_LOADS_ONCE = """
import os
import sys
from pathlib import Path

assert os.environ.pop("MAY_LOAD", None), "the main module was loaded a second time"

from palier.adapters.bulk_embedding import Workforce, bulk_embedder
from palier.adapters.onnx_encoder import OnnxEncoder

with bulk_embedder(OnnxEncoder(Path(sys.argv[1])), Workforce("process", 2)) as embed:
    print(sum(len(block) for block in embed([f"text {i}" for i in range(100)])))
"""


def test_workers_do_not_load_the_main_module(encoder: OnnxEncoder, tmp_path: Path):
    """Airflow's main module, for one, cannot be loaded within a task."""
    script = tmp_path / "main_that_loads_once.py"
    script.write_text(MAIN_THAT_LOADS_ONCE, encoding="utf-8")
    command = [sys.executable, str(script), str(encoder.folder)]
    environment = {**os.environ, "MAY_LOAD": "yes"}
    told = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, check=False)
    assert told.stdout == "100\n", told.stderr
