"""A stage has one name everywhere: module, command, section of `params.yaml`, DVC stage, and task of a DAG."""

import ast
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML
from typer.main import get_command

from palier.__main__ import build_app
from palier.params import Params
from palier.settings import repository_root

ROOT = repository_root()
STAGES = sorted(path.stem for path in (ROOT / "src/palier/stages").glob("[!_]*.py"))
LIVE_SYSTEMS = {"client", "records"}
"""Arguments by which `run` is given Elasticsearch or the records: such a stage acts, and its result is no file."""

DRAWN = {"version_documents", "collect_feedback"}
"""Stages of files whose command first puts what they read under DVC: the documents, the rows of the ledger."""

STUDIES = {"sweep_retrieval"}
"""Acts that people ask for when they want to know something: no DAG runs them, nothing waits for them."""


def read_yaml(name: str) -> dict[str, Any]:
    loaded: dict[str, Any] = YAML(typ="safe", pure=True).load((ROOT / name).read_text(encoding="utf-8"))
    return loaded


def run_arguments(stage: str) -> list[str]:
    tree = ast.parse((ROOT / f"src/palier/stages/{stage}.py").read_text(encoding="utf-8"))
    (run,) = [node for node in tree.body if isinstance(node, ast.FunctionDef) and node.name == "run"]
    return [argument.arg for argument in [*run.args.args, *run.args.kwonlyargs]]


def dag_sources() -> dict[str, str]:
    return {path.stem: path.read_text(encoding="utf-8") for path in (ROOT / "dags").glob("*.py")}


ACTS = {stage for stage in STAGES if LIVE_SYSTEMS & set(run_arguments(stage))}


def test_stages_are_found() -> None:
    """The other tests of this file are not about nothing."""
    assert {"version_documents", "train_reader", "build_index"} <= set(STAGES)
    assert sorted(ACTS) == ["build_index", "check_drift", "sweep_retrieval"]


@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_is_a_command_and_a_section(stage: str) -> None:
    """`palier <verb-object>`, and `<verb_object>:` in the params: in the models and in the file."""
    assert stage.replace("_", "-") in vars(get_command(build_app()))["commands"]
    assert stage in Params.model_fields
    assert stage in read_yaml("params.yaml")


def test_a_stage_whose_result_is_files_is_a_dvc_stage_and_no_other() -> None:
    """DVC would skip an act on a live system, whatever became of that system."""
    assert set(read_yaml("dvc.yaml")["stages"]) == {stage.replace("_", "-") for stage in STAGES if stage not in ACTS}


def test_a_dvc_stage_runs_its_own_command_and_watches_its_own_section() -> None:
    """`cmd` is the command (options aside); every watched param is in params.yaml, its own section among them."""
    params = read_yaml("params.yaml")
    for name, stage in read_yaml("dvc.yaml")["stages"].items():
        program, command, *options = stage["cmd"].split()
        assert (program, command) == ("palier", name)
        assert all(option.startswith("--") for option in options)
        assert name.replace("-", "_") in stage["params"]
        assert set(stage["params"]) <= set(params)


def test_what_a_dvc_stage_reads_is_made_by_another_or_by_people() -> None:
    """No dependency is misspelt, and no two stages write the same folder."""
    stages = read_yaml("dvc.yaml")["stages"]
    outs = [out for stage in stages.values() for out in stage["outs"]]
    assert len(outs) == len(set(outs))
    for stage in stages.values():
        assert set(stage["deps"]) <= {"documents", "golden", "feedback", *outs} - set(stage["outs"])


def test_a_dvc_stage_watches_every_section_that_its_code_reads() -> None:
    """A param that the stage's own module reads but DVC does not watch would change an answer without a new run."""
    sections = set(Params.model_fields)
    for name, stage in read_yaml("dvc.yaml")["stages"].items():
        path = ROOT / f"src/palier/stages/{name.replace('-', '_')}.py"
        assert _params_read(path) & sections <= set(stage["params"]), name


def test_every_stage_is_a_task() -> None:
    """A DVC stage is reproduced by a DAG, an act is called by one, and so is a stage that draws its own data first.

    A study is neither.
    """
    sources = "\n".join(dag_sources().values())
    called = {name for tree in map(ast.parse, dag_sources().values()) for name in _imported_stages(tree)}
    for stage in STAGES:
        reproduced = f'reproduce_stage("{stage.replace("_", "-")}")' in sources
        assert (reproduced or stage in called) == (stage not in STUDIES), stage
        assert not (reproduced and stage in called), stage
        assert (stage in called) == (stage in ACTS - STUDIES | DRAWN)


def _imported_stages(tree: ast.Module) -> list[str]:
    froms = [node for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)]
    return [alias.name for node in froms if node.module == "palier.commands.stages" for alias in node.names]


def _params_read(path: Path) -> set[str]:
    """Attributes taken of a name `params`."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    return {
        node.attr
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "params"
    }
