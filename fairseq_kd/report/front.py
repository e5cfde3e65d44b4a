"""The Pareto front: no other point is at least as good in both quality and cost, and better in one."""

from collections.abc import Sequence

Point = tuple[float, float]
"""Speed or size, and quality."""


def pareto_front(points: Sequence[Point], *, smaller: bool = False) -> list[int]:
    """The positions of the points on the front, from the least to the largest first coordinate.

    A point is on the front if no other is at least as good in both coordinates and better in one.

    Args:
        points: first coordinate, such as speed, and quality; more quality is better.
        smaller: whether a smaller first coordinate is better, as of parameters.
    """
    sign = -1 if smaller else 1
    best = float("-inf")
    front: list[int] = []
    # From the fastest on: a point is on the front if its quality exceeds that of all that are faster.
    for place in sorted(range(len(points)), key=lambda one: (-sign * points[one][0], -points[one][1])):
        equal = front and points[front[-1]] == points[place]
        if points[place][1] > best or equal:
            best = points[place][1]
            front.append(place)
    return sorted(front, key=lambda one: points[one][0])


def staircase(points: Sequence[Point], front: Sequence[int], *, smaller: bool = False) -> list[Point]:
    """The corners of the line that parts what the front beats from what it does not.

    Args:
        points: as for :func:`pareto_front`.
        front: the positions that :func:`pareto_front` gives.
        smaller: as for :func:`pareto_front`.
    """
    corners: list[Point] = []
    for place in front:
        x, y = points[place]
        if corners:
            before = corners[-1]
            corners.append((x, before[1]) if smaller else (before[0], y))
        corners.append((x, y))
    return corners
