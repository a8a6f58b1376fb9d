"""Stage `train-reader` on a tiny workspace: killed after a checkpoint, it ends where an unbroken run ends."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from palier.adapters.catalogue import resolve
from palier.adapters.onnx_cross_encoder import cross_encoder_in
from palier.adapters.onnx_reader import OnnxReader
from palier.adapters.reader_windows import WindowCutter
from palier.adapters.workspace import Workspace, write_jsonl
from palier.domain.reading_tasks import ReadingTask
from palier.errors import DataGateError, NotReadyError
from palier.params import Params, load_params
from palier.settings import repository_root
from palier.stages import train_reader
from tests.adapters.tiny_reranker import write_tiny_reranker

pytestmark = pytest.mark.model

TOWNS = ("York", "Leeds", "Bath", "Dublin", "Bristol", "Sheffield")
CHILD = """
import sys
from pathlib import Path
from tests.stages.test_train_reader import tiny_params
from palier.stages import train_reader
train_reader.run(tiny_params(), Path(sys.argv[1]), lambda *_: None)
"""


def tiny_params() -> Params:
    """The repository's params with a training that takes seconds, from the bare encoder."""
    params = load_params(repository_root() / "params.yaml")
    changes: dict[str, Any] = {
        "starter": None,
        "verifier": None,
        "epochs": 4,
        "batch_size": 4,
        "lora_rank": 8,
        "max_tokens": 128,
        "learning_rate": 1e-3,
    }
    return params.model_copy(update={"train_reader": params.train_reader.model_copy(update=changes)})


def make_tiny_workspace(root: Path, *, answerable: bool = True) -> Path:
    """Six passages of one sentence, each with a question, four to train on; as `version-documents` leaves them."""
    passages, golden = [], []
    for index, town in enumerate(TOWNS):
        text = f"The shop in {town} closes at {10 + index}:30 on Mondays."
        passages.append(
            {
                "passage_id": f"p{index}",
                "document_id": f"en/{town}",
                "lang": "en",
                "title": town,
                "headings": "",
                "text": text,
                "start_line": 1,
                "end_line": 1,
            }
        )
        golden.append(
            {
                "id": f"q{index}",
                "lang": "en",
                "question": f"When does {town} close?",
                "answers": [f"{10 + index}:30"] if answerable else [],
                "document_id": f"en/{town}",
                "quote": text if answerable else "",
                "answerable": answerable,
                "kind": "fact" if answerable else "unanswerable",
                "split": "train" if index < 4 else "validation",
                "passage_ids": [f"p{index}"] if answerable else [],
            }
        )
    corpus = Workspace(root).corpus
    write_jsonl(corpus / "passages.jsonl", passages)
    write_jsonl(corpus / "golden.jsonl", golden)
    return root


def _metrics(root: Path) -> dict[str, float]:
    found: dict[str, float] = json.loads((Workspace(root).reader / "metrics.json").read_text(encoding="utf-8"))
    return found


@pytest.mark.soak
def test_a_killed_run_ends_where_an_unbroken_one_ends(tmp_path: Path) -> None:
    """SIGKILL after the first checkpoint, then the same command: same metrics, same weights, nothing left over."""
    broken, whole = make_tiny_workspace(tmp_path / "broken"), make_tiny_workspace(tmp_path / "whole")
    child = subprocess.Popen([sys.executable, "-c", CHILD, str(broken)], cwd=repository_root())
    checkpoints = Workspace(broken).cache / "train_reader"
    deadline = time.monotonic() + 240
    while not list(checkpoints.glob("*.safetensors")) and child.poll() is None and time.monotonic() < deadline:
        time.sleep(0.01)
    assert child.poll() is None, "the run ended before it could be killed"
    os.kill(child.pid, signal.SIGKILL)
    child.wait()
    assert list(checkpoints.glob("*.safetensors"))
    assert not (Workspace(broken).reader / "model.onnx").exists()

    steps: list[int] = []
    train_reader.run(tiny_params(), broken, lambda done, _total, what: steps.append(done) if "loss" in what else None)
    train_reader.run(tiny_params(), whole, lambda *_: None)
    assert steps[0] > 1, "the run began again instead of going on"
    assert _metrics(broken) == _metrics(whole)
    adapters = [Workspace(root).reader / "adapter" / "heads.safetensors" for root in (broken, whole)]
    assert adapters[0].read_bytes() == adapters[1].read_bytes()
    assert not list(checkpoints.glob("*"))


def test_what_is_written_can_be_served(tmp_path: Path) -> None:
    """The folder holds the model, its config with the chosen threshold, and the adapter; it reads."""
    root = make_tiny_workspace(tmp_path)
    params = tiny_params()
    named = params.train_reader.model_copy(update={"verifier": "verifier-starter"})
    result = train_reader.run(params.model_copy(update={"train_reader": named}), root, lambda *_: None)
    reader = OnnxReader(Workspace(root).reader)
    assert reader.config.null_threshold == result.metrics["null_threshold"]
    assert reader.read("When does York close?", ["York closes at 10:30."])
    names = {path.name for path in (Workspace(root).reader).iterdir()}
    assert names == {"model.onnx", "tokenizer.json", "config.json", "adapter", "metrics.json"}
    right, wrong = cross_encoder_in(Workspace(root).verifier).score(
        "When does York close?", ["10:30 | York | York closes at 10:30.", "Mondays | Leeds | It rains on Mondays."]
    )
    assert right > wrong


def test_each_epoch_rehearses_other_texts_and_the_same_ones_when_it_is_asked_again() -> None:
    """As many as the workspace's own exercises ask for; none where none are named."""
    params = tiny_params()
    tasks = [ReadingTask("When does York close?", "York closes at 10:30.", ((15, 20),))] * 3
    cutter = WindowCutter(resolve(params.train_reader.base), params.train_reader.max_tokens)

    def epoch(number: int, **changes: Any) -> list[tuple[int, ...]]:
        section = params.train_reader.model_copy(update=changes)
        changed = params.model_copy(update={"train_reader": section})
        windows = train_reader.exercises_of(changed, tasks, cutter).epoch(number)
        return [tuple(window.window.ids) for window in windows]

    first = epoch(0, rehearsal_share=2.0)
    assert len(first) == 9
    assert first == epoch(0, rehearsal_share=2.0)
    assert first[:3] == epoch(1, rehearsal_share=2.0)[:3]
    assert set(first[3:]).isdisjoint(epoch(1, rehearsal_share=2.0)[3:])
    assert epoch(0, rehearsal=None) == first[:3]


def test_without_a_verifier_its_folder_is_there_and_empty(tmp_path: Path) -> None:
    """DVC wants each output of a stage; what reads the folder finds no verifier in it."""
    root = make_tiny_workspace(tmp_path)
    write_tiny_reranker(Workspace(root).verifier, ["york"])  # of an earlier run
    train_reader.run(tiny_params(), root, lambda *_: None)
    assert Workspace(root).verifier.is_dir()
    assert cross_encoder_in(Workspace(root).verifier) is None


def test_a_training_set_without_answers_is_refused(tmp_path: Path) -> None:
    """A reader that would only learn to be silent is not trained; nor is one without a corpus."""
    with pytest.raises(NotReadyError, match="palier version-documents"):
        train_reader.run(tiny_params(), tmp_path / "empty", lambda *_: None)
    with pytest.raises(DataGateError, match="None of"):
        train_reader.run(tiny_params(), make_tiny_workspace(tmp_path, answerable=False), lambda *_: None)
