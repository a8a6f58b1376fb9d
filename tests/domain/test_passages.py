"""Passages follow a document's structure, keep its words, and point at its lines."""

import itertools
from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st

from palier.adapters.formats.markdown import read_blocks
from palier.domain.blocks import Block
from palier.domain.documents import Document, Passage, sha256_text
from palier.domain.passages import split_document

WORDS = 40


def document(text: str, title: str = "") -> Document:
    return Document("en/page", "en", title, text, "en/page.md", sha256_text(text), read_blocks(text))


def split(text: str, title: str = "", words: int = WORDS) -> list[Passage]:
    return split_document(document(text, title), words)


def sentence(n_words: int, mark: str = "word") -> str:
    return " ".join(f"{mark}{i}" for i in range(n_words)) + "."


def test_headings_are_a_path_without_the_title_and_lines_count_from_one():
    text = f"# Menu\n\n## Pizzas\n\n### White\n\n{sentence(50)}\n"
    (passage,) = split(text, title="Menu")
    assert passage.headings == "Pizzas > White"
    assert (passage.start_line, passage.end_line) == (7, 7)
    assert passage.content.startswith("Menu > Pizzas > White\n")


def test_a_heading_of_a_higher_level_closes_the_deeper_ones():
    text = f"# A\n\n{sentence(45, 'a')}\n\n### B\n\n{sentence(45, 'b')}\n\n## C\n\n{sentence(45, 'c')}\n"
    assert [passage.headings for passage in split(text)] == ["A", "A > B", "A > C"]


def test_underlined_headings_count_as_headings():
    text = f"Rules\n=====\n\n{sentence(45)}\n\nDetails\n-------\n\n{sentence(45, 'b')}\n"
    assert [passage.headings for passage in split(text)] == ["Rules", "Rules > Details"]


def test_front_matter_counts_in_lines_and_stays_only_where_it_says_more_than_a_title():
    only_title = split(f"---\ntitle: Menu\n---\n\n{sentence(50)}\n")
    assert [(p.start_line, p.text.startswith("word0")) for p in only_title] == [(5, True)]
    dated = split("---\ntitle: Menu\nvalid_until: 2027-02-28\n---\n\nHello.\n")
    assert dated[0].text == "valid_until: 2027-02-28\n\nHello."
    assert dated[0].start_line == 3


def test_a_rule_above_prose_is_not_front_matter():
    (passage,) = split("---\nDear all,\nwe close early.\n---\nYours\n")
    assert "Dear all, we close early." in passage.content


def test_short_neighbouring_sections_share_a_passage_with_their_headings_in_the_text():
    text = "# Page\n\n## One\n\nFirst.\n\n## Two\n\nSecond.\n\n### Deeper\n\nThird.\n"
    (passage,) = split(text, title="Page")
    assert passage.headings == ""
    assert passage.text == "## One\n\nFirst.\n\n## Two\n\nSecond.\n\n### Deeper\n\nThird."
    assert (passage.start_line, passage.end_line) == (3, 13)


def test_a_long_section_is_closed_at_the_first_block_end_past_the_limit():
    blocks = "\n\n".join(sentence(25, mark) for mark in "abcd")
    passages = split(f"# H\n\n{blocks}\n")
    assert [len(passage.text.split()) for passage in passages] == [50, 50]
    assert {passage.headings for passage in passages} == {"H"}


def test_a_table_or_list_below_twice_the_limit_is_never_cut():
    rows = "\n".join(f"| pizza{i} | {i}.50 |" for i in range(12))
    table = f"| Pizza | Price |\n|---|---|\n{rows}"
    bullets = "\n".join(f"- item {i}\n  - nested {i}" for i in range(10))
    passages = split(f"# A\n\n{table}\n\n# B\n\n{bullets}\n")
    assert [passage.text for passage in passages] == [table, bullets]


def test_a_large_table_is_cut_between_rows_and_each_part_repeats_the_header():
    rows = [f"| pizza number {i} | {i}.50 |" for i in range(60)]
    passages = split("\n".join(["| Pizza | Price |", "|---|---|", *rows]))
    assert len(passages) > 3
    assert all(passage.text.startswith("| Pizza | Price |\n|---|---|\n| pizza") for passage in passages)
    told = [line for passage in passages for line in passage.text.split("\n")[2:]]
    assert told == rows
    assert [(passages[0].start_line), passages[-1].end_line] == [3, 62]
    assert all(a.end_line + 1 == b.start_line for a, b in itertools.pairwise(passages))


def test_a_large_list_is_cut_between_outer_items():
    items = [f"{i}. outer item {i}\n   - nested one\n   - nested two" for i in range(1, 31)]
    passages = split("\n".join(items))
    assert len(passages) > 2
    assert all(passage.text[0].isdigit() for passage in passages)
    assert "\n".join(passage.text for passage in passages) == "\n".join(items)


def test_a_large_list_whose_items_begin_on_the_next_line_is_cut_between_them():
    passages = split("".join(f"-\n  {sentence(50, mark)}\n" for mark in "abc"))
    assert [passage.text[:6] for passage in passages] == ["-\n  a0", "-\n  b0", "-\n  c0"]


def test_long_prose_on_one_line_is_cut_between_sentences():
    text = " ".join(sentence(15, f"s{i}-") for i in range(12))
    passages = split(text)
    assert all(passage.text.endswith(".") for passage in passages)
    assert " ".join(passage.text for passage in passages) == text
    assert {(passage.start_line, passage.end_line) for passage in passages} == {(1, 1)}


def test_prose_without_any_sentence_end_is_still_cut():
    text = " ".join(f"w{i}" for i in range(500))
    passages = split(text)
    assert max(len(passage.text.split()) for passage in passages) <= 2 * WORDS
    assert " ".join(passage.text for passage in passages) == text


def test_code_is_never_cut_and_a_heading_mark_inside_it_is_no_heading():
    code = "```sh\n# not a heading\n" + "\n".join(f"echo line {i}" for i in range(100)) + "\n```"
    passages = split(f"# Install\n\n{code}\n\nAfter.\n")
    assert passages[0].text == code
    assert {passage.headings for passage in passages} == {"Install"}


def test_twins_in_one_document_get_different_ids_and_unchanged_passages_keep_theirs():
    text = f"# A\n\n{sentence(45)}\n\n# A\n\n{sentence(45)}\n"
    first, twin = split(text)
    assert first.passage_id != twin.passage_id
    moved = split(f"# New\n\n{sentence(45, 'new')}\n\n" + text)
    assert [passage.passage_id for passage in moved[1:]] == [first.passage_id, twin.passage_id]


def test_a_document_of_headings_alone_still_gives_a_passage():
    passages = split("# Closed on Mondays\n## And on Tuesdays\n")
    assert "Closed on Mondays" in passages[0].content


LINES = st.sampled_from(
    ["", "# H", "## H2", "- item", "  - sub", "1. one", "| a | b |", "|---|---|", "```", "---", "plain words here.",
     "title: x", "===", "> quote", "\t tab", "é à — …", " ".join(["long"] * 90) + "."]
)  # fmt: skip


@settings(max_examples=300, deadline=None)
@given(st.lists(LINES, max_size=30), st.integers(1, 30))
def test_any_text_keeps_its_words_and_its_lines(lines: list[str], words: int):
    """Whatever the Markdown: each passage's lines stand in the file where it says, and no prose is lost."""
    text = "\n".join(lines)
    passages = split_document(document(text), words)
    for passage in passages:
        assert 1 <= passage.start_line <= passage.end_line <= len(lines)
        region = " ".join("\n".join(lines[passage.start_line - 1 : passage.end_line]).split())
        own = [line for line in passage.text.split("\n") if line.strip() and "|" not in line]
        assert all(" ".join(line.split()) in region for line in own)
    assert len({passage.passage_id for passage in passages}) == len(passages)
    told = "".join("".join(passage.text.split()) for passage in passages)  # a long sentence is cut between words
    headings = " ".join(passage.headings for passage in passages)  # a line over "===" is a heading
    assert ("plain words here." in text) <= ("plainwordshere." in told or "plain words here." in headings)
    assert bool(passages) == bool(text.replace("-", "").strip()) or "---" in text


FRENCH = (
    "Les commandes sont livrées dans les trente minutes, sauf le dimanche, où nous fermons plus tôt que d'habitude."
)
ENGLISH = "Orders are delivered within thirty minutes, but not on Sundays, when we close earlier than on other days."


def test_a_section_in_the_other_language_is_a_passage_of_its_own_in_that_language():
    text = f"# Delivery\n\n{ENGLISH}\n\n## Livraison\n\n{FRENCH}\n\n## Code\n\n```\nfor x in the_list: return x\n```\n"
    told = [(passage.lang, passage.text) for passage in split(text, words=200)]
    assert [lang for lang, _ in told] == ["en", "fr", "en"]
    assert FRENCH in told[1][1]
    assert {passage.lang for passage in split_document(document(text), 200, ["en"])} == {"en"}


def test_a_passage_that_says_its_dates_has_its_own_and_the_others_have_the_documents():
    text = f"# A\n\nValid until 31 December 2026. {sentence(45)}\n\n# B\n\n{sentence(45, 'b')}\n"
    dated = replace(document(text), valid_from="2026-01-01", valid_until="2027-01-01")
    told = [(passage.valid_from, passage.valid_until) for passage in split_document(dated, WORDS)]
    assert told == [("2026-01-01", "2026-12-31"), ("2026-01-01", "2027-01-01")]


def test_blocks_whose_lines_are_not_the_files_keep_their_place_when_cut():
    """A table of HTML: its parts all lie between the lines of the element."""
    table = Block("table", ("| a | b |", "|---|---|", *(f"| {i} | {sentence(8)} |" for i in range(30))), 7, last_line=9)
    made = replace(document("x"), blocks=(table,))
    passages = split_document(made, WORDS)
    assert len(passages) > 3
    assert {(passage.start_line, passage.end_line) for passage in passages} == {(7, 9)}
    assert all(passage.text.startswith("| a | b |\n|---|---|\n") for passage in passages)
