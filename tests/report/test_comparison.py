"""Rows compared with any other, held against sacreBLEU's own test of each pair of results."""

import random

import pytest
from sacrebleu.metrics import BLEU
from sacrebleu.significance import PairedTest

from tests.support.results import REFERENCES, result, spoil


def noisy(name: str, seed: int | None, share: float) -> dict:
    """A result with so large a share of its words lost, other words for each name and seed."""
    draw = random.Random(f"{name} {seed}")
    lines = [" ".join(word for word in line.split() if draw.random() > share) for line in REFERENCES]
    made = result(name, seed, lines)
    greedy = result(name, seed, spoil(lines, 3))["beams"]["1"]
    return made | {"beams": {"1": greedy, "5": made["beams"]["5"]}}


def sacrebleus(one: dict, other: dict, beam: str) -> tuple[float, float]:
    """sacreBLEU's own difference and p-value of two results."""
    named = [(name, made["beams"][beam]["hypotheses"]) for name, made in (("other", other), ("one", one))]
    test = PairedTest(named, {"BLEU": BLEU(references=[REFERENCES])}, None, test_type="bs", n_samples=1000)
    second, first = test()[1]["BLEU"]
    return first.score - second.score, first.p_value


def test_every_two_rows_are_compared_as_the_baseline_is(table) -> None:
    runs = {
        (name, seed): noisy(name, seed, share)
        for name, share, seeds in (
            ("a", 0.1, (1, 2)),
            ("b", 0.12, (2, 1, 3)),
            ("c", 0.14, (None,)),
            ("d", 0.11, (3, 4)),
        )
        for seed in seeds
    }
    text, content, _ = table(list(runs.values()), "--baseline", "c")
    pairs = {(pair["row"], pair["against"]): pair["beams"] for pair in content["pairs"]}
    # Results of equal seed; all pairs with the row of a single result; a and d have no seed in common.
    expected = {
        ("b", "a"): [(2, 2), (1, 1)],
        ("c", "a"): [(None, 1), (None, 2)],
        ("c", "b"): [(None, 2), (None, 1), (None, 3)],
        ("d", "b"): [(3, 3)],
        ("d", "c"): [(3, None), (4, None)],
    }
    assert set(pairs) == set(expected)
    for (row, against), seeds in expected.items():
        for beam in ("1", "5"):
            found = pairs[row, against][beam]
            theirs = [sacrebleus(runs[row, one], runs[against, other], beam) for one, other in seeds]
            assert found["p_values"] == [p for _, p in theirs]
            assert found["delta"] == pytest.approx(sum(delta for delta, _ in theirs) / len(theirs))
    assert len({p for beams in pairs.values() for p in beams["5"]["p_values"]}) > 5  # not all alike
    for row in content["rows"]:
        if row["name"] != "c":
            pair = pairs.get((row["name"], "c")) or pairs["c", row["name"]]
            assert sorted(row["beams"]["5"]["p_values"]) == sorted(pair["5"]["p_values"])
            assert abs(row["beams"]["5"]["delta"]) == pytest.approx(abs(pair["5"]["delta"]))
    section = text.split("## p between any two rows")[1]
    cells = [f"{pairs['d', other]['5']['p']:.3f}" for other in "bc"]
    assert f"| 4. d | – | {cells[0]} | {cells[1]} |\n" in section.split("| beam 5 | 1 | 2 | 3 |")[1]


def test_two_rows_have_no_triangle_and_a_row_alone_has_no_pair(table) -> None:
    text, content, _ = table([noisy("a", 1, 0.1), noisy("b", 1, 0.2)])
    assert len(content["pairs"]) == 1 and "between any two rows" not in text
    assert table([noisy("a", 1, 0.1)])[1]["pairs"] == []
