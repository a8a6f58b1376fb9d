"""Reranking reorders what was read again, keeps the rest in place, and lets scores fall down the list."""

from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from palier.domain.answering import Hit
from palier.domain.documents import Passage
from palier.domain.reranking import rerank

UNIT = st.floats(0, 1, allow_nan=False, width=32)


def hits(*scores: float) -> list[Hit]:
    return [Hit(Passage(f"p{i}", "d", "en", "", "", f"text {i}", 1, 1), score) for i, score in enumerate(scores)]


def ids(found: list[Hit]) -> list[str]:
    return [hit.passage.passage_id for hit in found]


def test_the_marks_decide_at_weight_one_and_the_fused_scores_at_zero():
    found = hits(0.9, 0.8, 0.7)
    assert ids(rerank(found, [-3.0, 5.0, 1.0], 1.0)) == ["p1", "p2", "p0"]
    assert ids(rerank(found, [-3.0, 5.0, 1.0], 0.0)) == ["p0", "p1", "p2"]


def test_the_blend_is_of_both_min_maxed():
    """p1 stands half-way in fused scores and at the top in marks; the blend at .4 is .6 * .5 + .4 * 1."""
    best = rerank(hits(1.0, 0.5, 0.0), [0.0, 10.0, -10.0], 0.4)
    assert ids(best) == ["p0", "p1", "p2"]
    assert [hit.score for hit in best] == pytest.approx([0.8, 0.7, 0.0])
    assert [hit.rerank for hit in best] == [0.0, 10.0, -10.0]


def test_what_was_not_read_again_follows_unchanged():
    found = hits(0.9, 0.8, 0.7, 0.6)
    best = rerank(found, [0.0, 1.0], 1.0)
    assert ids(best) == ["p1", "p0", "p2", "p3"]
    assert best[2:] == found[2:]
    assert best[2].rerank is None


def test_equal_marks_and_no_marks_change_no_order():
    assert ids(rerank(hits(0.9, 0.8), [2.0, 2.0], 1.0)) == ["p0", "p1"]
    assert rerank(hits(0.9, 0.8), [], 1.0) == hits(0.9, 0.8)
    assert rerank([], [], 0.5) == []


def test_marks_without_hits_are_refused():
    with pytest.raises(ValueError, match="2 logits for 1 hits"):
        rerank(hits(0.5), [1.0, 2.0], 0.5)


@settings(deadline=None)
@given(st.lists(UNIT, min_size=1, max_size=12), st.data(), UNIT)
def test_nothing_is_lost_and_scores_fall_within_0_and_1(scores: list[float], data: st.DataObject, weight: float):
    found = hits(*sorted(scores, reverse=True))
    marks = st.floats(-20, 20, allow_nan=False, width=32)
    depth = data.draw(st.integers(0, len(found)))
    best = rerank(found, data.draw(st.lists(marks, min_size=depth, max_size=depth)), weight)
    assert sorted(ids(best)) == sorted(ids(found))
    assert set(ids(best[:depth])) == set(ids(found[:depth]))
    values = [hit.score for hit in best]
    assert all(after <= before + 1e-9 for before, after in pairwise(values))
    assert all(-1e-9 <= value <= 1 + 1e-9 for value in values)
