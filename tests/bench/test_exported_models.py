"""Exports are shared by all benchmarks of a checkout: they are made once, whoever asks, and are whole or not there."""

import subprocess
import sys
from pathlib import Path

import pytest

from bench.exported_models import made_once

CHILD = """
import sys, time
from pathlib import Path
from bench.exported_models import made_once

place, name = Path(sys.argv[1]), sys.argv[2]

def export(folder):
    (place / f"exported-by-{name}").touch()
    folder.mkdir()
    while len(list(place.glob("at-the-door-*"))) < 2:
        time.sleep(0.01)
    time.sleep(0.5)
    (folder / "model.onnx").write_text("weights")
    (folder / "config.json").write_text("{}")

(place / f"at-the-door-{name}").touch()
print(made_once(place / "model", export))
"""


def test_two_processes_that_want_the_same_export_at_once_both_get_it_and_it_is_made_once(tmp_path: Path) -> None:
    """Whoever is first goes on only when the other has come too."""
    children = [
        subprocess.Popen(
            [sys.executable, "-c", CHILD, str(tmp_path), name],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for name in ("a", "b")
    ]
    for child in children:
        out, err = child.communicate(timeout=120)
        assert (child.returncode, out.strip()) == (0, str(tmp_path / "model")), err
    assert len(list(tmp_path.glob("exported-by-*"))) == 1
    assert (tmp_path / "model" / "model.onnx").read_text() == "weights"
    assert not list(tmp_path.glob("*.partial"))


def test_an_export_that_fails_leaves_nothing_that_looks_made_and_may_be_tried_again(tmp_path: Path) -> None:
    def fails(folder: Path) -> None:
        folder.mkdir()
        (folder / "model.onnx").write_text("half")
        raise OSError("no space left")

    def works(folder: Path) -> None:
        folder.mkdir()
        (folder / "config.json").write_text("{}")

    with pytest.raises(OSError, match="no space"):
        made_once(tmp_path / "model", fails)
    assert not (tmp_path / "model").exists()
    assert made_once(tmp_path / "model", works) == tmp_path / "model"
    assert [path.name for path in (tmp_path / "model").iterdir()] == ["config.json"]
