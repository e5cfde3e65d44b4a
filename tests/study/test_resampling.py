"""Bootstrap intervals and crossings: against sacreBLEU, loops over the definition and known distributions."""

import math
import random
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sacrebleu.metrics import BLEU

from fairseq_kd.study.resampling import Curve, Resampler, accuracy, bleu, bleu_statistics, compare, crossings

WORDS = ["the", "quick", "brown", "fox", "jumps", "over", "a", "lazy", "dog", "."]


def sentences(rows: int, seed: int) -> list[str]:
    draw = random.Random(seed)
    return [" ".join(draw.choice(WORDS) for _ in range(draw.randint(0, 12))) for _ in range(rows)]


def spoiled(lines: list[str], share: float, seed: int) -> list[str]:
    draw = random.Random(seed)
    return [" ".join("cat" if draw.random() < share else word for word in line.split()) for line in lines]


REFERENCES = sentences(60, 1)


@pytest.mark.parametrize("rows", [range(60), range(20, 31), [7] * 3 + [9], [3]])
def test_sums_of_statistics_give_sacrebleus_corpus_bleu(rows: list[int]) -> None:
    hypotheses = spoiled(REFERENCES, 0.3, 2)
    sums = bleu_statistics(hypotheses, REFERENCES)[list(rows)].sum(axis=0)
    own, gold = ([lines[row] for row in rows] for lines in (hypotheses, REFERENCES))
    assert bleu(sums) == pytest.approx(BLEU().corpus_score(own, [gold]).score, abs=1e-9)


def test_accuracy_is_over_tokens() -> None:
    assert accuracy(np.array([3, 4])) == 75 and accuracy(np.array([0, 0])) == 0


def test_a_resampled_score_is_that_of_the_sentences_drawn() -> None:
    resampler, hypotheses = Resampler(), spoiled(REFERENCES, 0.3, 3)
    curve = resampler.measure([bleu_statistics(hypotheses, REFERENCES)], bleu, [np.arange(60), np.arange(10, 40)])
    assert curve.draws.shape == (1000, 2) and curve.values == [[mean] for mean in curve.mean]
    for number in (0, 999):
        drawn = np.repeat(np.arange(60), resampler.weights(60)[number])
        assert len(drawn) == 60
        for place, rows in enumerate((drawn, drawn[(drawn >= 10) & (drawn < 40)])):
            own, gold = ([lines[row] for row in rows] for lines in (hypotheses, REFERENCES))
            assert curve.draws[number, place] == pytest.approx(BLEU().corpus_score(own, [gold]).score, abs=1e-9)


def test_spread_is_that_of_sentences_and_of_seeds() -> None:
    """Tokens are right with probability ½ in one seed and with ¾ in another: both variances are known."""
    rows = np.random.default_rng(1)
    one, other = (np.stack([rows.binomial(1, p, 900), np.ones(900, int)], axis=1) for p in (0.5, 0.75))
    alone, both = (Resampler().measure(runs, accuracy, [np.arange(900)]) for runs in ([one], [one, other]))
    assert alone.draws.std() == pytest.approx(100 * math.sqrt(0.25 / 900), rel=0.1)
    # The standard error of the mean of two values, from their sample standard deviation: 25 / √2 / √2.
    assert both.draws.std() == pytest.approx(math.hypot(25 / 2, 1.4), rel=0.1)
    assert both.draws.mean() == pytest.approx(both.mean[0], abs=1.5)
    assert both.mean[0] == pytest.approx(np.mean(both.values[0]))


def test_the_same_sentences_are_drawn_for_all_and_again() -> None:
    statistics = bleu_statistics(spoiled(REFERENCES, 0.3, 4), REFERENCES)
    resampler = Resampler()
    one, other = (resampler.measure([statistics], bleu, [np.arange(60)]).draws for _ in range(2))
    assert np.array_equal(one, other)
    assert np.array_equal(one, Resampler().measure([statistics], bleu, [np.arange(60)]).draws)


@pytest.mark.parametrize(
    ("differences", "expected"),
    [
        ([-1, 1, 2], [1.5]),
        ([-1, 3, 3], [1.25]),
        ([1, 2, 3], []),
        ([-1, 0, 1], [2]),
        ([1, 0, 1], []),
        ([0, 1, 1], []),
        ([-1, 0, 0], []),
        ([0, 0, 0], []),
        ([1, -1, 1], [1.5, 3]),
    ],
)
def test_crossings(differences: list[float], expected: list[float]) -> None:
    assert crossings(np.array([1.0, 2.0, 4.0]), np.array(differences)) == expected


@given(st.lists(st.integers(-5, 5), min_size=1, max_size=8), st.data())
def test_a_crossing_is_where_the_line_through_the_points_is_zero(heights: list[int], data: st.DataObject) -> None:
    steps = data.draw(st.lists(st.integers(1, 9), min_size=len(heights), max_size=len(heights)))
    places, values = np.cumsum(steps).astype(float), np.array(heights, dtype=float)
    found = crossings(places, values)
    signs = [math.copysign(1, value) for value in values if value]
    assert len(found) == sum(one != other for one, other in pairwise(signs))
    assert found == sorted(found)
    assert np.interp(found, places, values) == pytest.approx(0, abs=1e-9)
    assert crossings(places, -values) == pytest.approx(found)


def curve(draws: np.ndarray) -> Curve:
    return Curve([[mean] for mean in draws.mean(axis=0)], draws.mean(axis=0), draws)


def test_a_crossing_has_the_spread_of_its_lines() -> None:
    """Straight lines apart by (place − 5) + noise of standard deviation ½ cross at 5 ± ½."""
    places = [0.0, 2.0, 8.0, 10.0]
    noise = np.random.default_rng(2).normal(0, 0.5, (4000, 1))
    flat = curve(np.zeros((4000, 4)))
    found = compare(places, curve(np.array(places) - 5 + noise - noise.mean()), flat, logarithmic=False)
    (crossing,) = found["crossings"]
    assert crossing["at"] == pytest.approx(5) and crossing["share"] == 1 and crossing["clear"]
    assert crossing["interval"] == pytest.approx([5 - 0.98, 5 + 0.98], abs=0.06)
    assert found["differences"][0]["mean"] == pytest.approx(-5)
    assert found["differences"][0]["interval"] == pytest.approx([-5.98, -4.02], abs=0.06)


def test_a_logarithmic_axis_is_straight_in_the_logarithm() -> None:
    line, flat = curve(np.array([[-1.0, 1.0]])), curve(np.zeros((1, 2)))
    (crossing,) = compare([1, 100], line, flat, logarithmic=True)["crossings"]
    assert crossing["at"] == pytest.approx(10) and crossing["interval"] == pytest.approx([10, 10])


def test_the_share_tells_how_sure_a_crossing_is() -> None:
    draws = np.array([[-1.0, 3.0]] * 3 + [[1.0, 3.0]])
    (crossing,) = compare([0, 1], curve(draws), curve(np.zeros((4, 2))), logarithmic=False)["crossings"]
    assert crossing["share"] == 0.75 and not crossing["clear"]
    # The fourth line is above already where the axis begins: it crosses there or before.
    assert crossing["interval"] == pytest.approx(np.percentile([0, 0.25, 0.25, 0.25], [2.5, 97.5]))
    never = compare([0, 1], curve(np.array([[1.0, 2.0]])), curve(np.zeros((1, 2))), logarithmic=False)
    assert never["crossings"] == []


def test_a_crossing_is_clear_by_the_places_on_its_own_two_sides() -> None:
    draws = np.array([[1.5, -1.0, 2.0]] * 6 + [[-1.0, -1.0, 2.0]] * 4)
    found = compare([0, 1, 2], curve(draws), curve(np.zeros((10, 3))), logarithmic=False)
    assert [crossing["clear"] for crossing in found["crossings"]] == [False, True]


def test_the_interval_of_a_crossing_at_the_end_of_the_axis_holds_it() -> None:
    """A line that is still above at the last place crosses there or beyond: its crossing is not left out."""
    noise = np.random.default_rng(3).normal(0, 0.5, 4000)
    draws = np.stack([np.full(4000, 2.0), np.full(4000, 1.0), noise - noise.mean() - 0.01], axis=1)
    for sign in (1, -1):  # also with the lines in the other order
        line, flat = curve(sign * draws), curve(np.zeros((4000, 3)))
        (crossing,) = compare([64, 128, 256], line, flat, logarithmic=True)["crossings"]
        low, high = crossing["interval"]
        assert 250 < crossing["at"] < 256 and low < crossing["at"] < high == pytest.approx(256)
        assert crossing["share"] == pytest.approx(0.5, abs=0.05)


def test_a_crossing_the_other_way_does_not_count_for_a_crossing() -> None:
    """All lines come down at 3 or beyond; that some came up before says nothing about where they come down."""
    draws = np.array([[0.1, 2.0, 1.0, -1.0]] * 6 + [[-0.1, 2.0, 1.0, 1.0]] * 4)
    (crossing,) = compare([0, 1, 2, 4], curve(draws), curve(np.zeros((10, 4))), logarithmic=False)["crossings"]
    assert crossing["at"] == pytest.approx(2 + 2 / 1.2) and crossing["share"] == 0.6
    assert crossing["interval"] == [3, 4]


@settings(deadline=None)
@given(st.lists(st.integers(-3, 3), min_size=3, max_size=6), st.integers(0, 2**32 - 1))
def test_an_interval_holds_its_crossing(heights: list[int], seed: int) -> None:
    """Where resamples lie on either side of the measured line alike, the interval holds each crossing."""
    noise = np.random.default_rng(seed).normal(0, 1, (50, len(heights)))
    draws = np.array(heights) + np.concatenate([noise, -noise])
    found = compare(range(len(heights)), curve(draws), curve(np.zeros(draws.shape)), logarithmic=False)
    for crossing in found["crossings"]:
        low, high = crossing["interval"]
        assert low <= crossing["at"] <= high
