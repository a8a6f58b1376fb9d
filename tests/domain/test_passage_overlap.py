"""A long section's passages may share words; the shared ones are whole sentences or blocks, and lines stay right."""

from palier.adapters.formats.markdown import read_blocks
from palier.domain.documents import Document
from palier.domain.passages import split_document

SENTENCES = [f"Sentence {i} has exactly six words." for i in range(12)]
TEXT = (
    "# Title\n\n## Long\n\n"
    + "\n\n".join(" ".join(SENTENCES[i : i + 3]) for i in range(0, 12, 3))
    + "\n\n## Short\n\nEnd.\n"
)


def cut(overlap_words: int) -> list[str]:
    document = Document("en/a", "en", "Title", TEXT, "en/a.md", "0" * 64, read_blocks(TEXT))
    passages = split_document(document, 18, overlap_words=overlap_words)
    lines = TEXT.split("\n")
    for passage in passages:
        own = "\n".join(lines[passage.start_line - 1 : passage.end_line])
        assert passage.text in own or passage.text.split(". ")[-1] in own
    assert len({passage.passage_id for passage in passages}) == len(passages)
    return [passage.text for passage in passages]


def test_without_overlap_every_sentence_stands_once():
    assert sum(text.count("Sentence 2 ") for text in cut(0)) == 1


def test_the_last_sentences_that_fit_begin_the_next_passage_of_the_section():
    plain, shared = cut(0), cut(8)
    assert len(plain) == len(shared)
    assert shared[0] == plain[0]
    for i in range(1, 4):
        assert shared[i] == f"{SENTENCES[3 * i - 1]}\n\n{plain[i]}"
    assert shared[4:] == plain[4:]  # another section begins anew


def test_what_does_not_fit_is_not_shared():
    assert cut(5) == cut(0)


def test_whole_blocks_are_shared_where_they_fit():
    assert cut(18)[1] == "\n\n".join(cut(0)[:2])
