"""Passages of two versions of a document are paired in order, several with one where they were cut differently."""

import numpy as np
import pytest

from palier.domain.documents import Lang, Passage
from palier.domain.parallel_passages import above_chance, aligned, parallel_passages


def page(lang: Lang, name: str, *texts: str) -> list[Passage]:
    document_id = f"{lang}/{name}"
    return [Passage(f"{document_id}#{i}", document_id, lang, "", "", text, 1, 1) for i, text in enumerate(texts)]


def matrix(*rows: list[float]) -> np.ndarray:
    return np.array(rows, dtype=np.float32)


def test_equally_cut_versions_are_paired_one_by_one():
    assert aligned(matrix([0.3, -0.1, 0.0], [-0.2, 0.2, -0.1], [0.0, -0.1, 0.4])) == [(0, 0), (1, 1), (2, 2)]


def test_two_short_sections_pair_with_the_one_that_holds_both():
    assert aligned(matrix([0.3, -0.2], [0.2, -0.1], [-0.1, 0.3])) == [(0, 0), (1, 0), (2, 1)]


def test_what_only_one_version_tells_stays_alone():
    assert aligned(matrix([0.3, -0.2, -0.2], [-0.1, -0.2, -0.1], [-0.1, -0.2, 0.3])) == [(0, 0), (2, 2)]


def test_pairs_never_cross_and_the_larger_sum_wins():
    assert aligned(matrix([-0.1, 0.5], [0.2, -0.1])) == [(0, 1)]


def test_nothing_pairs_where_nothing_gains():
    assert aligned(matrix([-0.1, -0.2])) == []
    assert aligned(np.zeros((0, 3), dtype=np.float32)) == []


@pytest.mark.parametrize("seed", range(5))
def test_the_chain_is_the_best_of_all_chains(seed: int):
    gains = np.random.default_rng(seed).normal(size=(4, 3)).astype(np.float32)
    best = max(sum(max(0.0, float(gains[cell])) for cell in path) for path in staircases(3, 2))
    assert sum(float(gains[pair]) for pair in aligned(gains)) == pytest.approx(best)


def staircases(i: int, j: int) -> list[list[tuple[int, int]]]:
    """All ways from (0, 0) to (i, j) by single steps down or right."""
    if (i, j) == (0, 0):
        return [[(0, 0)]]
    before = [(i - 1, j)] * (i > 0) + [(i, j - 1)] * (j > 0)
    return [[*path, (i, j)] for cell in before for path in staircases(*cell)]


def test_a_passage_that_is_near_to_everything_has_less_above_chance():
    near = matrix([0.5], [0.5])
    gains = above_chance(near, matrix([0.4, 0.4], [0.1, 0.1]), matrix([0.2]))
    assert gains.ravel() == pytest.approx([0.2, 0.35])
    no_others = np.zeros((2, 0), dtype=np.float32)
    assert above_chance(near, no_others, no_others[:1]) == pytest.approx(near)


def test_only_documents_of_one_name_in_both_languages_are_paired():
    passages = [
        *page("en", "a", "one", "two"),
        *page("fr", "a", "un", "deux"),
        *page("en", "b", "x"),
        *page("fr", "c", "y"),
    ]
    vectors = np.eye(4, dtype=np.float32)[[0, 1, 0, 1, 2, 3]]
    pairs = [(english.text, french.text) for english, french in parallel_passages(passages, vectors)]
    assert pairs == [("one", "un"), ("two", "deux")]


def test_versions_that_say_other_things_are_not_paired():
    passages = [
        *page("en", "menu", "pies"),
        *page("fr", "menu", "pizzas"),
        *page("en", "b", "x"),
        *page("fr", "c", "y"),
    ]
    vectors = np.eye(3, dtype=np.float32)[[0, 1, 1, 2]]
    assert list(parallel_passages(passages, vectors)) == []
