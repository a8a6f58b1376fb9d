"""Files of a workspace are there whole or not at all, and their absence names the command that makes them."""

import json
import threading
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from palier.adapters.workspace import Workspace, read_json, read_jsonl, write_json, write_jsonl, write_text
from palier.errors import NotReadyError

PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=10,
)
LONE_SURROGATE = "\ud800"  # no UTF-8 exists for it: a write that fails half-way


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("a workspace")


@given(value=PLAIN)
def test_json_comes_back_as_it_was_written(folder, value):
    write_json(folder / "value.json", value)
    assert read_json(folder / "value.json", "a-command") == value


@given(rows=st.lists(st.dictionaries(st.text(), PLAIN, max_size=3), max_size=5))
def test_rows_come_back_in_order_whatever_line_ends_their_texts_hold(folder, rows):
    write_jsonl(folder / "rows.jsonl", rows)
    assert read_jsonl(folder / "rows.jsonl", "a-command") == rows


def test_the_same_value_makes_the_same_bytes_so_that_dvc_sees_no_change(tmp_path):
    write_json(tmp_path / "one.json", {"b": 1, "a": "é"})
    write_json(tmp_path / "two.json", {"a": "é", "b": 1})
    assert (tmp_path / "one.json").read_bytes() == (tmp_path / "two.json").read_bytes()
    assert "é" in (tmp_path / "one.json").read_text(encoding="utf-8")


@pytest.mark.parametrize("read", [read_json, read_jsonl])
def test_a_file_that_is_not_there_names_the_command_that_makes_it(tmp_path, read):
    with pytest.raises(NotReadyError, match=r"cascade\.json is not there yet: run `palier tune-cascade` first"):
        read(tmp_path / "cascade.json", "tune-cascade")


def test_a_write_that_fails_leaves_the_old_file_as_it_was_and_nothing_beside_it(tmp_path):
    path = tmp_path / "state.txt"
    write_text(path, "old")
    with pytest.raises(UnicodeEncodeError):
        write_text(path, f"new {LONE_SURROGATE}")
    assert path.read_text(encoding="utf-8") == "old"
    assert [found.name for found in tmp_path.iterdir()] == ["state.txt"]


def test_readers_never_see_a_half_while_several_threads_write(tmp_path):
    path, wholes = tmp_path / "state.json", [{"n": n, "pad": str(n) * 20_000} for n in range(4)]
    write_json(path, wholes[0])
    failures: list[Exception] = []

    def write(value: object) -> None:
        try:
            for _ in range(30):
                write_json(path, value)
        except Exception as error:  # noqa: BLE001 (whatever it is, the main thread tells it)
            failures.append(error)

    writers = [threading.Thread(target=write, args=(value,)) for value in wholes]
    for writer in writers:
        writer.start()
    while any(writer.is_alive() for writer in writers):
        assert json.loads(path.read_text(encoding="utf-8")) in wholes
    assert failures == []


def test_every_place_lies_inside_the_workspace_and_no_two_are_the_same(tmp_path):
    names = [name for name, value in vars(Workspace).items() if isinstance(value, property)]
    places = [getattr(Workspace(tmp_path), name) for name in names]
    assert len(names) > 10
    assert len(set(places)) == len(places)
    assert all(tmp_path in place.parents for place in places)
