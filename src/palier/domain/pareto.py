"""Which of many choices are worth a look: those that nothing else beats in price and in quality at once.

Knows pairs of numbers only. The price: a point that is worse by a hair of noise is as beaten as one that is far worse.
"""

from collections.abc import Sequence


def pareto_front(points: Sequence[tuple[float, float]]) -> list[int]:
    """Indexes of the (cost, quality) points that none beats, by rising cost.

    A point is beaten by one that costs no more and is better, or costs less and is as good. Of equal points the first
    one stands for all.
    """
    front: list[int] = []
    for index in sorted(range(len(points)), key=lambda i: (points[i][0], -points[i][1], i)):
        if not front or points[index][1] > points[front[-1]][1]:
            front.append(index)
    return front
