"""What was finished is found again by its content, whatever a kill left behind it."""

from pathlib import Path

from palier.adapters.remembered import Remembered, content_key


def test_results_outlive_the_process_and_a_line_that_was_cut_short(tmp_path: Path):
    path = tmp_path / "deep" / "finished.jsonl"
    first = Remembered(path)
    assert first.get("a") is None
    first.put("a", {"x": [1, 2]})
    with path.open("ab") as handle:
        handle.write(b'{"key": "b", "resu')  # what a killed run was writing
    second = Remembered(path)
    second.put("c", "é")
    third = Remembered(path)
    assert (third.get("a"), third.get("b"), third.get("c")) == ({"x": [1, 2]}, None, "é")
    assert third.n_found == 2


def test_the_key_is_the_content_and_its_order_of_keys_does_not_count():
    assert content_key("a", {"x": 1, "y": 2}) == content_key("a", {"y": 2, "x": 1})
    assert content_key("a", 1) != content_key("a", "1")
