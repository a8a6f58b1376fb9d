"""Which span is said, by hand and against the plain definition of expected F1."""

import numpy as np
import pytest

from palier.domain.span_choice import TEMPERATURE, choose_spans


def logits(n_tokens: int, values: dict[int, float]) -> np.ndarray:
    """Logits of ``n_tokens`` tokens: -9 but for those named."""
    found = np.full(n_tokens, -9.0, dtype=np.float32)
    for token, value in values.items():
        found[token] = value
    return found


def everywhere(n_tokens: int) -> np.ndarray:
    return np.ones(n_tokens, dtype=np.bool_)


def test_a_sure_reader_says_its_likeliest_span():
    best, *_ = choose_spans(logits(9, {3: 8.0}), logits(9, {5: 7.0}), everywhere(9), 30, 2)
    assert (best.first, best.last) == (3, 5)
    assert best.score == pytest.approx(7.5, abs=0.01)
    assert best.expected_f1 > 0.99


def test_of_many_that_agree_the_middle_one_is_said():
    """Tokens 7 to 7 are likeliest, but 2 to 4, 2 to 5 and 3 to 5 say nearly the same, and are likelier together."""
    start, end = logits(9, {2: 1.0, 3: 1.0, 7: 1.1}), logits(9, {4: 1.0, 5: 1.0, 7: 1.1})
    best, second = choose_spans(start, end, everywhere(9), 3, 2)
    assert 2 <= best.first <= 3
    assert 4 <= best.last <= 5
    assert best.score > second.score
    assert (second.first, second.last) == (7, 7)
    assert best.expected_f1 < 0.8 < second.expected_f1  # of what is left, the second is sure


def test_expected_f1_is_a_mean_over_all_candidates():
    """Against a loop over all pairs of spans, on logits drawn by chance; short enough that no candidate is cut."""
    rng = np.random.default_rng(5)
    for _ in range(20):
        start, end = rng.normal(0, 2, (2, 8)).astype(np.float32)
        spans = [(a, b) for a in range(8) for b in range(a, min(8, a + 4))]
        sums = np.array([float(start[a] + end[b]) for a, b in spans])

        def f1(one: tuple[int, int], other: tuple[int, int]) -> float:
            common = len(set(range(one[0], one[1] + 1)) & set(range(other[0], other[1] + 1)))
            return 2 * common / (one[1] - one[0] + other[1] - other[0] + 2)

        f1s = np.array([[f1(one, other) for other in spans] for one in spans])
        best = choose_spans(start, end, everywhere(8), 4, 1)[0]
        chosen = int(np.argmax(f1s @ np.exp(sums / TEMPERATURE)))
        assert (best.first, best.last) == spans[chosen]
        assert best.expected_f1 == pytest.approx(f1s[chosen] @ np.exp(sums) / np.exp(sums).sum())


def test_the_next_span_is_chosen_as_if_what_touches_the_first_were_wrong():
    """No later span overlaps an earlier one; scores fall; the first one's is the mass of all candidates."""
    rng = np.random.default_rng(6)
    start, end = rng.normal(0, 3, (2, 10)).astype(np.float32)
    candidates = [(a, b) for a in range(10) for b in range(a, min(10, a + 4))]
    spans = choose_spans(start, end, everywhere(10), 4, 100)
    assert len(spans) > 2
    for place, span in enumerate(spans):
        before = spans[:place]
        assert all(span.last < other.first or span.first > other.last for other in before)
        left = [(a, b) for a, b in candidates if all(b < other.first or a > other.last for other in before)]
        mass = np.logaddexp.reduce([float(start[a]) + float(end[b]) for a, b in left])
        assert span.score == pytest.approx(mass / 2)
        assert 0 < span.expected_f1 <= 1 + 1e-9
    assert sorted(spans, key=lambda span: -span.score) == spans


def test_only_what_is_allowed_is_said():
    allowed = np.array([False, True, True, False])
    best, *_ = choose_spans(logits(4, {0: 9.0, 2: 1.0}), logits(4, {3: 9.0, 2: 1.0}), allowed, 30, 2)
    assert (best.first, best.last) == (2, 2)


def test_where_no_start_stands_before_an_end_one_token_is_said():
    """All best first tokens stand after all best last ones: no token is sure, and the reader says so."""
    n = 40
    start, end = logits(n, dict.fromkeys(range(25, 40), 2.0)), logits(n, dict.fromkeys(range(15), 2.0))
    best, *_ = choose_spans(start, end, everywhere(n), 30, 2)
    assert best.first == best.last
    assert best.expected_f1 < 0.1
