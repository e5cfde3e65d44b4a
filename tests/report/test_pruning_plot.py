"""BLEU over sparsity, of hand-made results: which rows, in which order, and what is refused."""

import pytest

from fairseq_kd.errors import UserError
from fairseq_kd.report.pictures.pruning import pruned_rows, sparsity, without_pruned
from tests.support.results import BAD, REFERENCES, result, spoil


def pruned(name, left):
    return result(name, 1, spoil(REFERENCES, 3), parameters=1000, nonzero_parameters=left)


def test_the_named_rows_are_drawn_from_the_densest_on(table):
    runs = [pruned("a, half", 500), pruned("a", 1000), result("teacher", 1, BAD), pruned("a, tenth", 100)]
    options = ("--teacher", "teacher", "--baseline", "a", "--pruning", "a", "a, half", "a, tenth")
    _, content, folder = table(runs, *options)
    rows = pruned_rows(content)
    assert [row["name"] for row in rows] == ["a", "a, half", "a, tenth"]
    assert [sparsity(row) for row in rows] == pytest.approx([0, 50, 90])
    assert (folder / "pruning.png").read_bytes().startswith(b"\x89PNG")
    assert [row["name"] for row in without_pruned(content)["rows"]] == ["a", "teacher"]


def test_a_pruned_baseline_stays_in_the_pictures(table):
    runs = [pruned("a", 1000), pruned("a, half", 500), pruned("a, tenth", 100)]
    _, content, _ = table(runs, "--baseline", "a, half", "--pruning", "a", "a, half", "a, tenth")
    assert [row["name"] for row in without_pruned(content)["rows"]] == ["a", "a, half"]


def test_without_the_option_nothing_is_drawn(table):
    _, content, folder = table([pruned("a", 1000), pruned("b", 100)])
    assert content["pruning"] == [] and not (folder / "pruning.png").exists()
    assert without_pruned(content) == content


@pytest.mark.parametrize(
    ("other", "message"),
    [
        (pruned("c", 10), "--pruning 'b': no such row"),
        (result("b", 1, BAD), "'b' has no count of non-zero parameters; evaluate it again"),
        (pruned("b", 10) | {"parameters": 999}, "'b' and 'a' differ in size"),
    ],
)
def test_rows_that_make_no_line_are_refused(table, tmp_path, other, message):
    with pytest.raises(UserError, match=message):
        table([pruned("a", 1000), other], "--pruning", "a", "b")
    assert not (tmp_path / "made").exists()
