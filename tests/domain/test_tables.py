"""A table is read row by row, each cell under its column's name, and its characters are still found in the text."""

from hypothesis import given
from hypothesis import strategies as st

from palier.domain.tables import ADDED, spelled_out

HOURS = """Where we are open.

| Day | Lunch | Dinner |
|---|:---:|---|
| Monday | | closed |
| Tuesday | 12:00 - 14:30 | 18:00 |

Call us."""


def test_each_cell_stands_behind_its_columns_name() -> None:
    assert spelled_out(HOURS)[0] == (
        "Where we are open.\n\nDay Monday, Dinner closed.\nDay Tuesday, Lunch 12:00 - 14:30, Dinner 18:00.\n\nCall us."
    )


def test_what_is_no_table_is_read_as_it_stands() -> None:
    for text in ("", "a | b\nc | d", "a | b\n\n---\n\nc | d", "|", "Title\n---\n| x |"):
        assert spelled_out(text)[0] == text


def test_rows_may_be_ragged_and_outer_pipes_left_out() -> None:
    read, _ = spelled_out("Zone | Fee\n---|---\nA | £2 | late\n| B\n|  |  |")
    assert read == "Zone A, Fee £2, late.\nZone B.\n\n"


def test_one_table_may_follow_another() -> None:
    assert spelled_out("a|b\n-|-\n1|2\nc|d\n-|-\n3|4")[0] == "a 1, b 2.\nc 3, d 4.\n"


@given(st.text(alphabet="|-: \nab\r\x85é", max_size=60))
def test_places_rise_and_name_the_characters_that_stand_there(text: str) -> None:
    for case in (text, f"x | y\n--|--\n{text}"):
        read, places = spelled_out(case)
        assert len(places) == len(read)
        kept = places[places != ADDED]
        assert (kept[1:] > kept[:-1]).all()
        assert all(case[place] == char for char, place in zip(read, places.tolist(), strict=True) if place != ADDED)
