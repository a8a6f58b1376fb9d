"""The front holds what nothing beats, and all that it leaves out is beaten by one of its points."""

from hypothesis import given
from hypothesis import strategies as st

from palier.domain.pareto import pareto_front

POINTS = st.lists(st.tuples(st.integers(0, 9).map(float), st.integers(0, 9).map(float)), max_size=25)


def beats(one: tuple[float, float], other: tuple[float, float]) -> bool:
    return one != other and one[0] <= other[0] and one[1] >= other[1]


def test_a_front_by_hand():
    assert pareto_front([(3.0, 0.5), (1.0, 0.4), (2.0, 0.4), (4.0, 0.9), (4.0, 0.8)]) == [1, 0, 3]
    assert pareto_front([]) == []


@given(POINTS)
def test_nothing_beats_the_front_and_the_rest_is_beaten_or_a_twin(points: list[tuple[float, float]]):
    front = pareto_front(points)
    chosen = [points[i] for i in front]
    assert chosen == sorted(chosen)
    assert not any(beats(one, other) for one in points for other in chosen)
    left = [point for i, point in enumerate(points) if i not in front]
    assert all(any(beats(one, point) or one == point for one in chosen) for point in left)
