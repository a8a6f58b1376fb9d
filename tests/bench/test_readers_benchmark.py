"""Two readers are asked the same questions; one that is no reader is refused before anything is asked."""

import json
import shutil
from pathlib import Path

import pytest

from bench.readers import run
from palier.adapters.catalogue import resolve
from palier.adapters.workspace import write_json
from palier.errors import InputError
from tests.bench.test_scorer_benchmark import rows_of, write


@pytest.mark.model
def test_a_reader_does_not_differ_from_itself_but_by_its_threshold(tmp_path: Path) -> None:
    """The starter against a copy that never withholds: the same words, and more of them said."""
    other = Path(shutil.copytree(resolve("reader-starter"), tmp_path / "other"))
    write_json(
        other / "config.json",
        json.loads((other / "config.json").read_text(encoding="utf-8")) | {"null_threshold": -1000.0},
    )
    data = write(tmp_path / "a.jsonl", rows_of("test", 12) + rows_of("train", 5))
    content = run([data], tmp_path / "o.json", other_reader=other, max_questions=None)
    found = content["results"]["reader"]["en"]
    assert found["f1_without_threshold"]["change"]["value"] == 0
    assert found["f1"]["other"]["n"] == found["f1"]["starter"]["n"] == 12
    assert found["share_answered"]["other"]["value"] == 1
    assert found["f1"]["other"]["value"] == found["f1_without_threshold"]["starter"]["value"]


def test_a_folder_without_a_reader_is_refused(tmp_path: Path) -> None:
    data = write(tmp_path / "a.jsonl", rows_of("test", 3))
    with pytest.raises(InputError, match=r"No adapter\.safetensors"):
        run([data], tmp_path / "o.json", other_reader=tmp_path)


def test_files_without_a_test_article_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="No row asks about an article of test titles"):
        run(
            [write(tmp_path / "a.jsonl", rows_of("train", 3))],
            tmp_path / "o.json",
            other_reader=resolve("reader-starter"),
        )
