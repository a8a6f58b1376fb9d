"""Fusion is a weighted sum of min-max scores, and its ends are the two rankings alone."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from palier.domain.fusion import fuse, min_max, reciprocal_ranks

SCORES = st.dictionaries(st.sampled_from("abcdefgh"), st.floats(-5, 50), min_size=1)


def test_min_max_ends_at_zero_and_one_and_equal_scores_are_all_best():
    assert min_max({"a": 2.0, "b": 6.0, "c": 4.0}) == {"a": 0.0, "b": 1.0, "c": 0.5}
    assert min_max({"a": 3.0, "b": 3.0}) == {"a": 1.0, "b": 1.0}
    assert min_max({}) == {}


def test_the_sum_by_hand():
    fused = dict(fuse({"a": 10, "b": 5, "c": 0}, {"b": 0.9, "d": 0.1}, 0.4))
    assert fused == pytest.approx({"a": 0.6, "b": 0.3 + 0.4, "c": 0.0, "d": 0.0})


@given(SCORES, SCORES)
def test_the_ends_of_the_weight_are_the_rankings_alone(lexical, dense):
    best = max(lexical.values())
    assert lexical.get(fuse(lexical, dense, 0.0)[0][0]) == pytest.approx(best, abs=1e-9)
    best = max(dense.values())
    assert dense.get(fuse(lexical, dense, 1.0)[0][0]) == pytest.approx(best, abs=1e-9)


@given(SCORES, SCORES, st.floats(0, 1))
def test_scores_stay_in_0_to_1_and_fall(lexical, dense, weight):
    scores = [score for _, score in fuse(lexical, dense, weight)]
    assert all(-1e-9 <= score <= 1 + 1e-9 for score in scores)
    assert scores == sorted(scores, reverse=True)


@given(SCORES, st.floats(0, 1))
def test_an_empty_side_leaves_the_other_to_decide(scores, weight):
    assert dict(fuse(scores, {}, weight)) == pytest.approx(min_max(scores))
    assert dict(fuse({}, scores, weight)) == pytest.approx(min_max(scores))
    assert fuse({}, {}, weight) == []


def test_reciprocal_ranks_by_hand():
    ranks = reciprocal_ranks({"a": 9.0, "b": 7.0, "c": 7.0}, 60)
    assert ranks == pytest.approx({"a": 1.0, "b": 61 / 62, "c": 61 / 63})
    fused = dict(fuse({"a": 9.0, "b": 7.0}, {"b": 0.8}, 0.25, "rrf", 10))
    assert fused == pytest.approx({"a": 0.75, "b": 0.75 * 11 / 12 + 0.25})


@given(SCORES, SCORES, st.floats(0, 1), st.integers(1, 100))
def test_reciprocal_rank_fusion_knows_ranks_only(lexical, dense, weight, constant):
    """Any change of scores that keeps their order keeps the result; scores stay in 0..1 and fall."""
    ranked = {key: float(-place) for place, key in enumerate(sorted(lexical, key=lambda key: (-lexical[key], key)))}
    fused = fuse(lexical, dense, weight, "rrf", constant)
    assert fuse(ranked, dense, weight, "rrf", constant) == fused
    scores = [score for _, score in fused]
    assert all(0 <= score <= 1 + 1e-9 for score in scores)
    assert scores == sorted(scores, reverse=True)
