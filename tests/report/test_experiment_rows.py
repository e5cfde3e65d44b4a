"""An experiment's rows, checked before anything is trained: what the table at the end would refuse."""

from typing import Any

import pytest

from fairseq_kd.report.experiment.reader import check_keys
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


@pytest.mark.parametrize("name", ["", " ", "-One", "--baseline", "One\nTwo"])
def test_a_rows_name_is_a_line_that_no_command_takes_for_an_option(name: str) -> None:
    config = KEYS | rows(one={}, two={"name": name})
    with pytest.raises(Misfit, match=r"^rows\.two\.name: give one line of text that does not begin with '-'$"):
        check_keys(config)


@pytest.mark.parametrize("name", ["a b", "a/b", "", 8, "risks"])
def test_a_variants_name_is_a_part_of_names_of_files(name: Any) -> None:
    config = KEYS | rows(one={}) | {"variants": {name: "--precision int8"}}
    with pytest.raises(Misfit, match=rf"^variants\.{name}: (name it with letters, digits|the name is in use)"):
        check_keys(config)


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"options": "--lr 1 --seed 3"}, "pruning.options: --seed would take the place of the key seeds; leave it out"),
        ({"sparsities": []}, "pruning.sparsities: there are none; give one or more"),
        ({"sparsities": [40]}, "pruning.sparsities.0: 40 is no sparsity; give the share of zeros, such as 0.8"),
        ({"sparsities": [0.4, 1]}, "pruning.sparsities.1: 1 is no sparsity"),
        ({"sparsities": ["nan"]}, "pruning.sparsities.0: 'nan' is no sparsity"),
        ({"sparsities": [0.6, 0.4]}, "pruning.sparsities.1: has to be higher than the one before"),
        ({"scheme": "class-blnd"}, "pruning.scheme: there is no 'class-blnd'; did you mean 'class-blind'?"),
    ],
)
def test_a_pruning_that_would_fail_after_all_trainings(changes: dict[str, Any], told: str) -> None:
    with pytest.raises(Misfit) as error:
        check_keys(KEYS | rows(one={}) | {"pruning": PRUNED | changes})
    assert str(error.value).startswith(told)
    check_keys(
        KEYS | rows(one={}) | {"pruning": PRUNED | {"sparsities": [0.05, ".5", 0.75], "scheme": "class-uniform"}}
    )


@pytest.mark.parametrize(
    ("more", "told"),
    [
        ({"cache": {"glod": "--top-k 8"}}, "cache.glod: there is no 'glod'; did you mean 'gold'?"),
        ({"cache": {"gold+mono": "--top-k 8"}}, "cache.gold+mono: there is no 'gold+mono'"),
        ({"corpora": {8: "--beam 5"}}, "corpora.8: name it with small letters, digits and _"),
        ({"texts": {True: "raw/x"}}, "texts.True: name it with small letters, digits and _"),
        ({"rows": rows(one={"init": "x", "start": "teacher"})["rows"]}, "rows.one.init: goes with no start"),
    ],
)
def test_names_of_data_and_a_start_that_would_be_passed_over(more: dict[str, Any], told: str) -> None:
    with pytest.raises(Misfit) as error:
        check_keys(KEYS | rows(one={}) | more)
    assert str(error.value).startswith(told)


def test_a_cache_can_be_of_each_kind_of_data() -> None:
    own = {
        "corpora": {"mono": "x"},
        "texts": {"rest": "x"},
        "cache": dict.fromkeys(["gold", "mono", "rest", "gold+rest"], "x"),
    }
    check_keys(KEYS | rows(one={"data": "gold+rest"}) | own)
