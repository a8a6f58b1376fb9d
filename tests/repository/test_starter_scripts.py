"""What the scripts that make starters keep in ``--work`` is never taken for the result of another question."""

import shutil
from argparse import Namespace
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

from models.training_rows import FILES, UNREAD
from palier.params import load_params
from palier.settings import repository_root
from tests.adapters.tiny_reader import tiny_reader, tiny_windows

pytestmark = pytest.mark.model

MODEL_FILES = ("model.onnx", "tokenizer.json", "config.json", "adapter.safetensors")
TEXT = next(iter(UNREAD))


@pytest.fixture(autouse=True)
def _as_scripts(monkeypatch: pytest.MonkeyPatch) -> None:
    """They import each other as Python lets scripts of one folder do."""
    monkeypatch.syspath_prepend(str(repository_root() / "models"))


@pytest.fixture
def folders(tmp_path: Path) -> dict[str, Path]:
    """Files by the names that the scripts hash; what stands in them does not matter."""
    names = {"data": FILES} | dict.fromkeys(("reader", "encoder", "verifier"), MODEL_FILES)
    for folder, files in names.items():
        (tmp_path / folder).mkdir()
        for name in files:
            (tmp_path / folder / name).write_text(f"{folder}/{name}", encoding="utf-8")
    return {name: tmp_path / name for name in (*names, "work", "out")}


def _changes(found: Callable[[], object], path: Path) -> bool:
    """Whether ``found`` says another thing once ``path`` holds another thing."""
    before = found()
    path.write_text(path.read_text(encoding="utf-8") + "!", encoding="utf-8")
    return found() != before


def test_scorer_answers_lie_under_all_that_they_follow_from(folders: dict[str, Path]) -> None:
    """Each file of each model, the data, how many are asked, and retrieval; a text's not under public data."""
    script = import_module("train_scorer_starter")
    args = Namespace(**folders, questions=5, text_questions=5, seed=7)
    params = load_params(repository_root() / "params.yaml")

    def public() -> object:
        return script.kept_at(script.PUBLIC, args, params)

    def text() -> object:
        return script.kept_at(TEXT, args, params)

    assert public() == public() != text()
    for folder in ("reader", "encoder", "verifier"):
        for name in MODEL_FILES[:3]:
            assert _changes(public, folders[folder] / name)
    assert _changes(public, folders["data"] / FILES[0])
    assert not _changes(text, folders["data"] / FILES[0])
    retrieval = params.retrieval.model_copy(update={"dense_weight": {"en": 0.123}})
    assert script.kept_at(TEXT, args, params.model_copy(update={"retrieval": retrieval})) != text()
    fewer = Namespace(**vars(args) | {"text_questions": 4})
    assert script.kept_at(TEXT, fewer, params) != text()
    assert script.kept_at(script.PUBLIC, fewer, params) == public()
    with_verifier = text()
    shutil.rmtree(folders["verifier"])
    assert text() != with_verifier


def test_verifier_examples_lie_under_the_reader_that_gave_them(folders: dict[str, Path]) -> None:
    script = import_module("train_verifier_starter")
    args = Namespace(**folders, written=None, english_rows=5, read_share=0.5, seed=7)

    def found(**changes: Any) -> Path:
        return script.examples_at(Namespace(**vars(args) | changes), "train")

    assert _changes(found, folders["reader"] / "model.onnx")
    assert _changes(found, folders["data"] / FILES[0])
    others = [found(written=[]), found(written=["en.txt"]), found(english_rows=4), found(seed=8), found(epochs=2)]
    assert len({found(), *others}) == len(others)
    assert found(epochs=2) == found()


def test_another_start_is_another_training_and_another_end_is_not(folders: dict[str, Path]) -> None:
    """Of reader and writer: what is refused is what the steps follow from, files by what stands in them."""
    start = folders["reader"] / "adapter.safetensors"
    reader = Namespace(**folders, start=[start], from_encoder=False, written=["fr.txt"], learning_rate=3e-4, minutes=9)
    writer = Namespace(
        **folders, start=start, pointing_reader=folders["encoder"], written=["fr.txt"], learning_rate=3e-4, minutes=9
    )
    del reader.reader, reader.encoder, reader.verifier, writer.reader, writer.encoder, writer.verifier
    for script, args in (("train_reader_starter", reader), ("train_writer_starter", writer)):
        facts_of = import_module(script).facts_of

        def found(facts_of: Any = facts_of, args: Namespace = args, **changes: Any) -> object:
            return facts_of(Namespace(**vars(args) | changes))

        assert found(minutes=20, work=folders["out"]) == found()
        for changes in ({"start": None}, {"learning_rate": 1e-4}, {"written": ["en.txt"]}):
            assert found(**changes) != found(), changes
        assert _changes(found, start)
        assert _changes(found, folders["data"] / FILES[0])
    assert _changes(lambda: import_module("train_writer_starter").facts_of(writer), folders["encoder"] / "config.json")


def test_a_pointing_reader_lies_under_its_weights_and_config(folders: dict[str, Path]) -> None:
    """Exported once for each, and anew when it is another."""
    script = import_module("train_writer_starter")
    for name in ("adapter.safetensors", "config.json"):
        assert _changes(lambda: script.hash_of(folders["reader"]), folders["reader"] / name)


def test_validation_losses_in_training_are_without_dropout() -> None:
    """The same when asked twice, those of the served model, and training goes on as before."""
    losses = import_module("train_reader_starter").validation_losses
    model, windows = tiny_reader(dropout=0.5), {"all": tiny_windows(8)}
    model.train()
    found = losses(model, windows)
    assert model.training
    assert found == losses(model, windows) == losses(model.eval(), windows)
    assert not model.training
