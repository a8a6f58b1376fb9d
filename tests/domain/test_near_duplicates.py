"""Near-duplicates are marked exactly: as a comparison of all pairs would mark them, and only where figures agree."""

import re
from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st

from palier.domain.answering import Hit
from palier.domain.documents import Lang, Passage
from palier.domain.near_duplicates import best_of_each, mark_near_duplicates

WORDS = [f"word{chr(97 + i)}{chr(97 + j)}" for i in range(10) for j in range(10)]


def passage(key: str, text: str, lang: Lang = "en") -> Passage:
    return Passage(key, "d", lang, "Title", "", text, 1, 1)


def marks(*passages: Passage) -> list[str | None]:
    return [item.duplicate_of for item in mark_near_duplicates(passages)]


def likeness(a: str, b: str) -> float:
    def runs(text: str) -> set[tuple[str, ...]]:
        words = re.findall(r"\w+", text.casefold())
        return {tuple(words[i : i + 3]) for i in range(max(1, len(words) - 2))}

    return len(runs(a) & runs(b)) / len(runs(a) | runs(b))


def test_a_passage_with_one_word_more_points_to_the_first_and_nothing_else_changes():
    text = " ".join(WORDS[:60])
    first, again = passage("a", text), passage("b", text + " finally")
    assert marks(first, passage("x", " ".join(WORDS[60:])), again) == [None, None, "a"]
    assert mark_near_duplicates([first])[0] == first


def test_the_same_words_with_another_figure_are_another_fact():
    text = " ".join(WORDS[:60])
    assert marks(passage("a", f"{text} 9.50"), passage("b", f"{text} 9.60")) == [None, None]


def test_languages_are_apart():
    text = " ".join(WORDS[:60])
    assert marks(passage("a", text), passage("b", text, "fr"), passage("c", text, "fr")) == [None, None, "b"]


def test_what_is_pointed_to_is_never_marked_itself():
    steps = [WORDS[i : 60 + i] for i in range(0, 12, 2)]
    marked = mark_near_duplicates([passage(str(i), " ".join(words)) for i, words in enumerate(steps)])
    originals = {item.passage_id for item in marked if item.duplicate_of is None}
    assert {item.duplicate_of for item in marked} - {None} <= originals


EDITS = st.lists(st.tuples(st.integers(0, 39), st.sampled_from(WORDS)), max_size=6)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 3), EDITS), min_size=2, max_size=12), st.sampled_from([0.5, 0.7, 0.9, 1.0]))
def test_the_quick_way_finds_what_comparing_all_pairs_finds(drafts: list, threshold: float):
    """The reference goes through all earlier originals in order, with sets of words in place of hashes."""
    passages = []
    for i, (base, edits) in enumerate(drafts):
        words = WORDS[base * 15 : base * 15 + 40]
        for at, word in edits:
            words[at] = word
        passages.append(passage(str(i), " ".join(words)))
    originals: list[Passage] = []
    expected: list[str | None] = []
    for item in passages:
        first = next((old.passage_id for old in originals if likeness(old.text, item.text) >= threshold), None)
        expected.append(first)
        originals += [item] if first is None else []
    assert [item.duplicate_of for item in mark_near_duplicates(passages, threshold)] == expected


def test_no_passages_and_passages_without_words_are_no_trouble():
    assert marks() == []
    assert marks(passage("a", "— … —"), passage("b", "ok")) == [None, None]


def hit(key: str, duplicate_of: str | None = None) -> Hit:
    return Hit(replace(passage(key, key), duplicate_of=duplicate_of), 1.0)


def test_of_a_group_the_best_placed_stays_whether_it_is_the_original_or_not():
    kept = best_of_each([hit("x"), hit("b", "a"), hit("y"), hit("a"), hit("c", "a")])
    assert [(item.passage.passage_id, item.near_duplicates) for item in kept] == [
        ("x", ()),
        ("b", ("a", "c")),
        ("y", ()),
    ]


@settings(max_examples=200, deadline=None)
@given(st.permutations(range(12)), st.lists(st.integers(0, 3), min_size=12, max_size=12), st.integers(0, 12))
def test_every_hit_is_kept_or_named_by_a_better_one_of_its_group(order: list[int], groups: list[int], n: int):
    """Group i has the original i; the original itself may not be among the hits."""
    hits = [hit(f"{i}", None if i < 4 else f"{groups[i]}") for i in order[:n]]
    kept = best_of_each(hits)
    assert [item.passage for item in kept] == [
        item.passage for item in hits if item.passage in {k.passage for k in kept}
    ]
    groups_kept = [item.passage.duplicate_of or item.passage.passage_id for item in kept]
    assert len(set(groups_kept)) == len(groups_kept)
    named = [key for item in kept for key in (item.passage.passage_id, *item.near_duplicates)]
    assert sorted(named) == sorted(item.passage.passage_id for item in hits)
    places = {item.passage.passage_id: place for place, item in enumerate(hits)}
    assert all(places[item.passage.passage_id] < places[key] for item in kept for key in item.near_duplicates)
