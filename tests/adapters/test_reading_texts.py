"""Texts with questions, as they are rehearsed: their form, and what breaks it."""

from pathlib import Path

import pytest

from palier.adapters.reading_texts import read_folder, read_texts, rehearsal_task
from palier.errors import InputError

TWO = """# Bell Rock
The tower was built by Robert Stevenson between 1807 and 1810.
Who built the tower? | Robert Stevenson
who paid for the tower |

# Skerryvore
Alan Stevenson drew the lighthouse, which was lit in 1844.
When was it lit? | 1844
"""


def write(folder: Path, lang: str, content: str) -> Path:
    path = folder / f"{lang}.txt"
    path.write_text(content, encoding="utf-8")
    return path


def test_each_question_comes_with_its_text_and_an_empty_answer_is_none(tmp_path: Path) -> None:
    rows = list(read_texts(write(tmp_path, "en", TWO), "en"))
    assert [(row.title, row.question, row.answers) for row in rows] == [
        ("Bell Rock", "Who built the tower?", ("Robert Stevenson",)),
        ("Bell Rock", "who paid for the tower", ()),
        ("Skerryvore", "When was it lit?", ("1844",)),
    ]
    assert rows[0].context == rows[1].context == "The tower was built by Robert Stevenson between 1807 and 1810."


@pytest.mark.parametrize(
    ("broken", "told"),
    [
        (TWO.replace("# Skerryvore", "Skerryvore"), "line 6 begins a text, but is no title: 'Skerryvore'"),
        (TWO.replace("Who built the tower? |", "Who built the tower?"), "line 3 is no question with its answer"),
        (TWO.replace("| 1844", "| in 1845"), "line 8: 'in 1845' does not stand in the text above it"),
        (TWO.replace("| 1844", "| 184"), "line 8: '184' does not stand in the text above it, as whole words"),
        (TWO.replace("# Skerryvore", "# "), "line 6 begins a text, but is no title: '# '"),
    ],
)
def test_a_line_that_breaks_the_form_is_named(tmp_path: Path, broken: str, told: str) -> None:
    with pytest.raises(InputError, match=r"en\.txt") as caught:
        list(read_texts(write(tmp_path, "en", broken), "en"))
    assert told in str(caught.value)


def test_spans_of_what_is_rehearsed_point_to_the_answer_under_a_title_and_without(tmp_path: Path) -> None:
    write(tmp_path, "en", TWO)
    write(tmp_path, "fr", "# Cordouan\nLe phare fut achevé en 1611.\nQuand fut-il achevé ? | 1611\n")
    tasks = [rehearsal_task(row) for row in read_folder(tmp_path, ["en.txt", "fr.txt"])]
    assert [[task.content[start:end] for start, end in task.spans] for task in tasks] == [
        ["Robert Stevenson"],
        [],
        ["1844"],
        ["1611"],
    ]
    assert {"\n" in task.content for task in tasks} == {True, False}


def test_only_the_files_that_are_named_are_read_and_none_is_an_error(tmp_path: Path) -> None:
    write(tmp_path, "en", TWO)
    write(tmp_path, "fr", "no title\n")
    assert len(read_folder(tmp_path, ["en.txt"])) == 3
    with pytest.raises(InputError, match="no question in an en"):
        read_folder(tmp_path, ["model.onnx"])
    (tmp_path / "fr.txt").write_bytes(b"\xff")
    with pytest.raises(InputError, match="cannot be read"):
        read_folder(tmp_path, ["fr.txt"])
