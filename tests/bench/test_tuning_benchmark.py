"""The tuning benchmark reads a workspace as its stages left it; a reader that was not changed is told to have brought
nothing."""

import shutil
from pathlib import Path

import pytest

from bench.exported_models import exported_encoder, exported_reader
from bench.tuning import _spread, run
from palier.adapters.workspace import Workspace
from palier.errors import InputError, NotReadyError
from palier.params import load_params
from palier.settings import repository_root
from tests.bench.test_scorer_benchmark import rows_of, write
from tests.stages.test_train_reader import make_tiny_workspace


@pytest.fixture
def workspace(tmp_path: Path) -> Path:
    root = make_tiny_workspace(tmp_path / "w")
    shutil.copyfile(repository_root() / "params.yaml", root / "params.yaml")
    return root


@pytest.mark.model
def test_the_starter_as_it_is_changes_nothing_on_golden_questions_nor_on_public_ones(
    workspace: Path, tmp_path: Path
) -> None:
    params = load_params(workspace / "params.yaml")
    encoder = exported_encoder(params.train_encoder.base, params.train_encoder.starter)
    shutil.copytree(encoder, Workspace(workspace).encoder)
    shutil.copytree(exported_reader(params), Workspace(workspace).reader)
    data = write(tmp_path / "a.jsonl", rows_of("test", 4) + rows_of("train", 4))
    content = run([data], tmp_path / "o.json", workspaces=[workspace], golden_split="train")
    assert [file["path"] for file in content["data"]] == ["a.jsonl", "golden.jsonl", "passages.jsonl"]
    found = content["results"]["runs"][0]
    assert found["seed"] == params.seed
    assert found["starter_sha256"] == content["params"]["readers"][0]["sha256"]
    assert {name: found[name]["all"]["quality"]["change"]["n"] for name in ("golden_gold", "public")} == {
        "golden_gold": 4,
        "public": 8,
    }
    for spread in content["results"]["spread"].values():
        assert spread["f1"] == {"mean": 0.0, "least": 0.0, "most": 0.0}


def test_a_workspace_must_be_named_and_have_a_reader(workspace: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="--workspace DIR"):
        run([], tmp_path / "o.json")
    with pytest.raises(NotReadyError, match="palier train-reader"):
        run([], tmp_path / "o.json", workspaces=[workspace])


def test_a_measure_without_questions_is_left_out_of_the_spread() -> None:
    """F1 is null where no public question has an answer."""
    measures = {"f1": {"change": {"value": None}}, "quality": {"change": {"value": 0.1}}}
    spread = _spread([{"public": {"all": measures}}])
    assert spread["public"] == {"quality": {"mean": 0.1, "least": 0.1, "most": 0.1}}
