"""What a study is found by: how far values are apart, and which quantity stands for an axis."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairseq_kd.diagnose.quantities import QUANTITIES, common, coordinate, is_unlike


def test_a_step_is_a_factor_or_a_share_of_the_scale() -> None:
    assert QUANTITIES["token_entropy"].steps(2, 3) == pytest.approx(1)
    assert QUANTITIES["size_ratio"].steps(0.1, 0.1 * 1.5**3) == pytest.approx(3)
    assert QUANTITIES["teacher_dist"].steps(0.3, 0.4) == pytest.approx(1)
    assert QUANTITIES["gap"].steps(-5, 15) == pytest.approx(2)
    assert math.isfinite(QUANTITIES["token_entropy"].steps(0, 1))


@given(
    st.sampled_from(sorted(QUANTITIES)),
    st.lists(st.floats(0.01, 1), min_size=1, max_size=4),
    st.floats(0.01, 1),
)
def test_nothing_within_the_points_is_unlike_them(name: str, values: list[float], share: float) -> None:
    low, high = min(values), max(values)
    assert not is_unlike(name, low + share * (high - low), values)
    assert not is_unlike(name, low, values) and not is_unlike(name, high, values)


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({"token_entropy": [1, 2, 3], "teacher_dist": [0.3, 0.4, 0.45]}, "token_entropy"),  # 2.7 steps against 1.5
        ({"token_entropy": [1, 1.2, 2], "teacher_dist": [0.3, 0.4, 0.55]}, "teacher_dist"),  # 1.7 against 2.5
        ({"token_entropy": [1, 9, 2], "teacher_dist": [0.45, 0.4, 0.3]}, "teacher_dist"),  # one that falls, too
        ({"token_entropy": [1, 1, 9]}, None),
        ({"token_entropy": [1, 1.2, 1.4]}, None),
        ({"token_entropy": [1]}, None),
        ({}, None),
    ],
)
def test_the_coordinate_is_what_changes_most_all_along(values: dict[str, list[float]], expected: str | None) -> None:
    assert coordinate(values) == expected


def test_what_one_point_lacks_is_not_compared() -> None:
    points = [dict.fromkeys(QUANTITIES, 1.0), {**dict.fromkeys(QUANTITIES, 2.0), "gap": None}, {"gap": 1.0}]
    assert common(points[:2]) == {name: [1.0, 2.0] for name in QUANTITIES if name != "gap"}
    assert common(points) == {}
