"""Ranking metrics agree with values worked out by hand, and with scikit-learn's nDCG."""

from math import log2

import numpy as np
import pytest

from palier.domain.ranking_metrics import hit, ndcg, recall, reciprocal_rank

RANKED = ["a", "b", "c", "d"]


def test_values_by_hand():
    assert ndcg(RANKED, {"a"}) == 1.0
    assert ndcg(RANKED, {"c"}) == pytest.approx(1 / log2(4))
    assert ndcg(RANKED, {"b", "z"}) == pytest.approx((1 / log2(3)) / (1 + 1 / log2(3)))
    assert reciprocal_rank(RANKED, {"c", "d"}) == pytest.approx(1 / 3)
    assert recall(RANKED, {"a", "d", "z"}, 2) == pytest.approx(1 / 3)
    assert (hit(RANKED, {"a"}), hit(RANKED, {"b"}), hit(RANKED, {"b"}, 2)) == (1.0, 0.0, 1.0)


def test_what_stands_past_k_does_not_count():
    assert ndcg(RANKED, {"d"}, 3) == reciprocal_rank(RANKED, {"d"}, 3) == recall(RANKED, {"d"}, 3) == 0.0


def test_an_empty_ranking_is_worth_nothing_and_no_relevant_id_is_an_error():
    assert ndcg([], {"a"}) == 0.0
    for metric in (ndcg, reciprocal_rank, hit):
        with pytest.raises(ValueError, match="relevant"):
            metric(RANKED, set())


def test_ndcg_agrees_with_scikit_learn():
    from sklearn.metrics import ndcg_score

    rng = np.random.default_rng(3)
    for _ in range(50):
        relevant = rng.random(20) < 0.2
        if not relevant.any():
            continue
        order = rng.permutation(20)
        scores = np.empty(20)
        scores[order] = np.arange(20, 0, -1)
        ours = ndcg([str(i) for i in order], {str(i) for i in np.flatnonzero(relevant)})
        assert ours == pytest.approx(ndcg_score([relevant], [scores], k=10))
