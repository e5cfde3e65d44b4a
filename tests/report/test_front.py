"""The Pareto front against its definition."""

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from fairseq_kd.report.front import pareto_front, staircase

POINTS = st.lists(st.tuples(st.integers(1, 6).map(float), st.integers(0, 6).map(float)), min_size=1, max_size=12)


def beats(one: tuple[float, float], other: tuple[float, float], sign: int) -> bool:
    """Whether ``one`` is as good in both coordinates and better in one."""
    x, y = sign * (one[0] - other[0]), one[1] - other[1]
    return x >= 0 and y >= 0 and (x > 0 or y > 0)


@given(POINTS, st.booleans())
def test_the_front_is_what_no_point_beats(points: list[tuple[float, float]], smaller: bool) -> None:
    front = pareto_front(points, smaller=smaller)
    sign = -1 if smaller else 1
    wanted = [place for place, one in enumerate(points) if not any(beats(other, one, sign) for other in points)]
    assert sorted(front) == wanted
    assert [points[place][0] for place in front] == sorted(points[place][0] for place in front)


@given(POINTS, st.booleans())
def test_the_staircase_parts_what_the_front_beats(points: list[tuple[float, float]], smaller: bool) -> None:
    corners = staircase(points, pareto_front(points, smaller=smaller), smaller=smaller)
    for (x, y), (following_x, following_y) in pairwise(corners):
        assert x == following_x or y == following_y  # only horizontal and vertical steps
    # Between two points of the front the line passes the corner that both beat, and no corner beats a point.
    sign = -1 if smaller else 1
    assert not any(beats(corner, one, sign) for corner in corners[1::2] for one in corners[::2])
