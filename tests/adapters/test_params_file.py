"""Changed params are written in their place; comments, order and all other lines stay as they were."""

import difflib
from pathlib import Path

import pytest

from palier.adapters.params_file import change_params, section_yaml
from palier.errors import ParamsError
from palier.params import load_params
from palier.settings import repository_root


@pytest.fixture
def path(tmp_path: Path) -> Path:
    copy = tmp_path / "params.yaml"
    copy.write_bytes((repository_root() / "params.yaml").read_bytes())
    return copy


def test_only_the_changed_lines_differ_and_comments_stay(path: Path):
    before = path.read_text(encoding="utf-8").splitlines()
    changes = {
        "retrieval": {"candidates": 20, "fields": ["text"], "fusion": "rrf", "dense_weight": {"en": 0.3, "fr": 0.1}},
        "version_documents": {"passage_words": 110},
    }
    params = change_params(path, changes)
    assert params == load_params(path)
    assert (params.retrieval.fields, params.retrieval.fusion) == (("text",), "rrf")
    after = path.read_text(encoding="utf-8").splitlines()
    changed = [line[2:] for line in difflib.ndiff(before, after) if line.startswith("+ ")]
    assert {line.split(":")[0].strip() for line in changed} == {
        "candidates",
        "fields",
        "fusion",
        "dense_weight",
        "passage_words",
    }
    assert [line.split("#")[1:] for line in before] == [line.split("#")[1:] for line in after]


def test_what_would_not_be_valid_is_not_written(path: Path):
    before = path.read_bytes()
    with pytest.raises(ParamsError, match=r"retrieval\.fusion"):
        change_params(path, {"retrieval": {"fusion": "mean"}})
    with pytest.raises(ParamsError, match="no section 'nothing'"):
        change_params(path, {"nothing": {"a": 1}})
    assert path.read_bytes() == before


def test_a_section_reads_as_people_write_it():
    text = section_yaml("retrieval", {"k": 10, "dense_weight": {"en": 0.4}, "fields": ["title", "text"]})
    assert text == "retrieval:\n  k: 10\n  dense_weight: {en: 0.4}\n  fields: [title, text]\n"
