"""Markdown comes to blocks as CommonMark has it; no line of it is lost, and each keeps its place in the file."""

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from palier.adapters.formats import UnreadableFileError
from palier.adapters.formats.markdown import read_blocks, read_markdown

RULE = re.compile(r"^ {0,3}(?:(?:\*[ \t]*){3,}|(?:-[ \t]*){3,}|(?:_[ \t]*){3,})$")


def told(text: str) -> list[tuple[str, int, int]]:
    return [(block.kind, block.start_line, block.end_line) for block in read_blocks(text)]


def test_front_matter_tells_title_and_validity_and_a_wrong_date_is_refused():
    content = read_markdown(b"---\ntitle: Menu\nvalid_from: 2026-03-02\nvalid_until: 28 February 2027\n---\nText\n")
    assert (content.title, content.valid_from, content.valid_until) == ("Menu", "2026-03-02", "2027-02-28")
    with pytest.raises(UnreadableFileError, match="valid_until is 'soon', not a date"):
        read_markdown(b"---\ntitle: Menu\nvalid_until: soon\n---\nText\n")
    with pytest.raises(UnreadableFileError, match="valid from 2026-03-02 until 2026-03-01, so on no day"):
        read_markdown(b"---\nvalid_from: 2026-03-02\nvalid_until: 2026-03-01\n---\nText\n")


def test_without_front_matter_the_title_is_the_first_heading_in_plain_words():
    assert read_markdown(b"text\n\n## **Opening** [hours](x.md) {#anchor}\n").title == "Opening hours"


@pytest.mark.parametrize(
    ("heading", "plain"),
    [
        ("DATABASE_URL", "DATABASE_URL"),
        ("The `max_tokens` of _all_ __models__", "The max_tokens of all models"),
        (r"max\_tokens \* 2", "max_tokens * 2"),
        ("Orders < 20 € and > 100 €", "Orders < 20 € and > 100 €"),
        ("<a id='x'></a>Opening<br/>", "Opening"),
    ],
)
def test_a_heading_loses_its_marks_and_none_of_its_letters(heading: str, plain: str):
    assert read_markdown(f"# {heading}\n\ntext\n".encode()).title == plain


def test_every_kind_of_block_has_its_lines():
    text = (
        "---\nvalid_from: 2026-01-01\n---\nUnder\nlined\n=====\nText:\n* one\n\n  still one\n* two\n\n| a | b |\n"
        "|---|---|\n| 1 | 2 |\n\n~~~ python\n# no heading\n\n~~~\n\n    indented\n\n    code\n\n> # quoted\n> text\n\n"
        "<div>\nHTML\n</div>\n\n***\n\n### Closed ###"
    )
    assert told(text) == [
        ("metadata", 2, 2), ("heading", 4, 6), ("paragraph", 7, 7), ("list", 8, 11), ("table", 13, 15),
        ("code", 17, 20), ("code", 22, 24), ("paragraph", 26, 27), ("paragraph", 29, 31), ("heading", 35, 35),
    ]  # fmt: skip
    headings = [(block.level, block.title) for block in read_blocks(text) if block.kind == "heading"]
    assert headings == [(1, "Under lined"), (3, "Closed")]


def test_an_open_fence_runs_to_the_end_and_a_mark_inside_of_a_longer_fence_does_not_close_it():
    assert told("````\n```\n# still code\n```\n````\n\n```\nopen\n\nend") == [("code", 1, 5), ("code", 7, 10)]


def test_lists_that_change_their_bullets_are_one_list():
    assert told("- a\n- b\n\n* c\n  1. d\n\n1. e\n\nEnd.") == [("list", 1, 7), ("paragraph", 9, 9)]


def test_where_links_lead_is_kept_though_it_is_no_block_of_the_parser():
    blocks = read_blocks("See [the menu][1].\n\n[1]: https://example.org/menu\n[2]: x.md\n***\n[3]: y.md\n")
    assert [block.lines for block in blocks] == [
        ("See [the menu][1].",),
        ("[1]: https://example.org/menu", "[2]: x.md"),
        ("[3]: y.md",),
    ]


LINES = st.sampled_from(
    ["", "# H", "- item", "  - sub", "* other", "1. one", "7) seven", "| a | b |", "|---|---|", "```", "~~~~", "---",
     "***", "words here", "[1]: x.md", "title: x", "===", "> quote", "    indented", "\t tab", "<div>", "<!--", "-->"]
)  # fmt: skip


@settings(max_examples=300, deadline=None)
@given(st.lists(LINES, max_size=25))
def test_whatever_the_text_its_lines_stand_once_and_in_order(lines: list[str]):
    """Only blank lines, rules and front matter are in no block."""
    text = "\n".join(lines)
    blocks = [block for block in read_blocks(text) if block.kind != "metadata"]
    taken = [i for block in blocks for i in range(block.start_line, block.end_line + 1)]
    assert taken == sorted(set(taken))
    assert all(block.lines == tuple(lines[block.start_line - 1 : block.end_line]) for block in blocks)
    begins_with_metadata = lines[:1] == ["---"] and "title: x" in lines
    lost = [line for i, line in enumerate(lines, 1) if i not in taken and line.strip() and not RULE.match(line)]
    assert not lost or begins_with_metadata
