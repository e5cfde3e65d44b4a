"""An experiment's rows, checked before anything is trained: what the table at the end would refuse."""

from typing import Any

import pytest

from fairseq_kd.report.experiment import check_keys
from fairseq_kd.storage.shapes import Misfit

KEYS: dict[str, Any] = {
    "title": "t", "languages": ["a", "b"], "raw": "r", "vocabulary": 9, "training": "t", "teacher": "t", "student": "s",
    "decoding": "d", "beams": 5, "seeds": [1, 2], "baseline": "One",
}  # fmt: skip


def rows(**own: dict[str, Any]) -> dict[str, Any]:
    """Rows that are named by their keys."""
    return {
        "rows": {key: {"name": key.capitalize(), "data": "gold", "options": ""} | more for key, more in own.items()}
    }


@pytest.mark.parametrize(
    ("one", "two", "told"),
    [
        ({}, {"seeds": [7]}, ""),
        ({"seeds": [4]}, {"seeds": [7, 8]}, ""),
        ({"seeds": [1, 2, 3]}, {"seeds": [3, 1]}, ""),
        ({}, {"seeds": [2, 7]}, "rows.two.seeds: rows.two has seed 7, the baseline rows.one has not; add it there"),
        ({"seeds": [1, 3]}, {}, "rows.one.seeds: rows.two has seed 2, the baseline rows.one has not; add it there"),
    ],
)
def test_seeds_of_a_row_that_the_baseline_lacks(one: dict, two: dict, told: str) -> None:
    config = KEYS | rows(one=one, two=two)
    if not told:
        return check_keys(config)
    with pytest.raises(Misfit) as error:
        check_keys(config)
    assert str(error.value) == told


PRUNED = {"of": "one", "sparsities": [0.5, "0.8"], "scheme": "class-blind", "options": ""}


@pytest.mark.parametrize(
    ("two", "more", "told"),
    [
        ("One", {}, "rows.two.name: the table would have two rows 'One', this and rows.one; take another name"),
        ("Teacher", {}, "rows.two.name: the table would have two rows 'Teacher', this and the teacher's; take another"),
        ("One, int8", {"variants": {"int8": "x"}}, "variants.int8: the table would have two rows 'One, int8', this"),
        ("Teacher, int8", {"variants": {"int8": "x"}}, "variants.int8: the table would have two rows 'Teacher, int8'"),
        ("One, 80 % pruned", {"pruning": PRUNED}, "pruning.sparsities.1: the table would have two rows 'One, 80 %"),
        ("Two", {"pruning": PRUNED | {"sparsities": [0.5, "0.50"]}}, "pruning.sparsities.1: the table would have two"),
        ("Two", {"pruning": PRUNED | {"sparsities": ["half"]}}, "pruning.sparsities.0: 'half' is no number"),
        ("Two, 80 % pruned", {"pruning": PRUNED, "variants": {"int8": "x"}}, ""),
    ],
)
def test_each_line_of_the_table_has_a_name_of_its_own(two: str, more: dict, told: str) -> None:
    config = KEYS | rows(one={}, two={"name": two}) | more
    if not told:
        return check_keys(config)
    with pytest.raises(Misfit) as error:
        check_keys(config)
    assert str(error.value).startswith(told)


@pytest.mark.parametrize("key", ["a b", "a/b", "-a", "é;", 1])
def test_a_rows_key_is_a_name_of_files(key: Any) -> None:
    config = KEYS | {"rows": {key: {"name": "One", "data": "gold", "options": ""}}}
    with pytest.raises(Misfit, match=rf"^rows\.{key}: name it with letters, digits, _, - and \.; put quotes around"):
        check_keys(config)
