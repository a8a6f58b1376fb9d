"""Stage `train-writer` on a tiny workspace: the base as it comes, a starter as it is, and a few real steps."""

from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file

from palier.adapters.catalogue import resolve
from palier.adapters.onnx_reader import ReaderConfig
from palier.adapters.reader_export import export_reader
from palier.adapters.torch_reader import bare_reader
from palier.adapters.workspace import Workspace, read_json, read_jsonl, write_jsonl
from palier.adapters.writer_rung import WRITER_FILE, LlamaCpp, read_writer_config, tuned_writer
from palier.errors import DataGateError, NotReadyError
from palier.params import Params, load_params
from palier.settings import repository_root
from palier.stages import train_writer
from tests.stages.test_train_reader import make_tiny_workspace

pytestmark = pytest.mark.model


def tiny_params(**changes: Any) -> Params:
    """The repository's params with a training that takes seconds, from the base as it comes."""
    params = load_params(repository_root() / "params.yaml")
    tiny: dict[str, Any] = {"starter": None, "epochs": 1, "batch_size": 4, "lora_rank": 2, "exam_questions": 2}
    return params.model_copy(update={"train_writer": params.train_writer.model_copy(update=tiny | changes)})


@pytest.fixture
def workspace(tmp_path: Path) -> Path:
    """Six passages with a question each, and a reader that knows nothing yet."""
    root = make_tiny_workspace(tmp_path)
    base = resolve("all-minilm-l6-v2")
    export_reader(bare_reader(base, seed=1), base, Workspace(root).reader, ReaderConfig(max_tokens=128))
    return root


def test_what_a_training_leaves_can_be_served_and_nothing_else_is_left(workspace: Path) -> None:
    """The file that the exam chose, its change and its config; or, where it lost to the base, the metrics alone."""
    place = Workspace(workspace)
    seen: list[str] = []
    result = train_writer.run(tiny_params(), workspace, lambda _done, _total, what: seen.append(what))
    names = {path.name for path in place.writer.iterdir()}
    assert result.n_steps >= 1
    assert any("loss" in what for what in seen)
    assert {f"{name}.quality" for name in ("before", "Q4_0", "Q4_1", "Q8_0")} <= result.metrics.keys()
    assert read_json(place.writer / "metrics.json", "train-writer") == dict(result.metrics)
    assert not list((place.cache / "train_writer").glob("*"))
    if result.metrics["is_tuned_kept"]:
        assert names == {WRITER_FILE, "config.json", "adapter.safetensors", "metrics.json"}
        assert tuned_writer(place.writer, "smollm2-135m-instruct") == read_writer_config(place.writer)
        assert LlamaCpp(place.writer / WRITER_FILE).chat([{"role": "user", "content": "Hello"}], 4)["choices"]
        assert load_file(place.writer / "adapter.safetensors")
    else:
        assert names == {"metrics.json"}


def test_without_a_starter_and_epochs_the_base_is_taken_as_it_comes(tmp_path: Path) -> None:
    """Nothing is trained, nothing is exported, no corpus is asked for; DVC gets its folder."""
    result = train_writer.run(tiny_params(epochs=0), tmp_path, lambda *_: None)
    assert (result.n_steps, result.kept) == (0, ())
    assert [path.name for path in Workspace(tmp_path).writer.iterdir()] == ["metrics.json"]


def test_a_training_without_a_corpus_names_the_command(tmp_path: Path) -> None:
    with pytest.raises(NotReadyError, match="palier version-documents"):
        train_writer.run(tiny_params(), tmp_path, lambda *_: None)


def test_without_an_exam_nothing_is_trained(workspace: Path) -> None:
    """What was learnt would be kept, and rounded as far as can be, unseen."""
    golden = Workspace(workspace).corpus / "golden.jsonl"
    write_jsonl(golden, [row | {"split": "train"} for row in read_jsonl(golden, "version-documents")])
    with pytest.raises(DataGateError, match="No golden question has `split: validation`"):
        train_writer.run(tiny_params(), workspace, lambda *_: None)
