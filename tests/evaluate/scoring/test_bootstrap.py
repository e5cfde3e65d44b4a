"""The bootstrap of systems that are resampled once, against sacreBLEU's own test of each pair."""

import math
import random

import numpy as np
import pytest
from sacrebleu.metrics import BLEU
from sacrebleu.significance import PairedTest

from fairseq_kd.errors import UserError
from fairseq_kd.evaluate.scoring.bootstrap import Bootstrap, Resampled, mean_over_seeds, p_over_seeds
from fairseq_kd.evaluate.scoring.scores import BOOTSTRAP_SAMPLES, bootstrap_seed

WORDS = ["a", "quick", "fox", "jumps", "the", "dog", "again", ",", "it's", "1,000.5", "%", "&", "better—über"]


def lines(seed: int, number: int = 120) -> list[str]:
    """Lines of 0 to 14 words; the one line without a word, and lines shorter than BLEU's longest n-gram, count too."""
    draw = random.Random(seed)
    return [" ".join(draw.choices(WORDS, k=row % 15)) for row in range(number)]


def spoilt(text: list[str], share: float, seed: int) -> list[str]:
    draw = random.Random(seed)
    return [" ".join(draw.choice(WORDS) if draw.random() < share else word for word in one.split()) for one in text]


REFERENCES = lines(1)
SYSTEMS = [spoilt(REFERENCES, share, seed) for seed, share in enumerate((0.2, 0.21, 0.24, 0.5))]
SYSTEMS += [[line[: len(line) // 2] for line in REFERENCES], ["x"] * len(REFERENCES)]


def test_every_pair_has_sacrebleus_p_value_and_interval_to_the_digit() -> None:
    bootstrap = Bootstrap(REFERENCES)
    resampled = [bootstrap.resample(system) for system in SYSTEMS]
    named = [(str(number), system) for number, system in enumerate(SYSTEMS)]
    metrics = {"BLEU": BLEU(references=[REFERENCES])}
    found = set()
    for number, one in enumerate(resampled):
        others = [other for other in range(len(SYSTEMS)) if other != number]
        paired = [named[number], *(named[other] for other in others)]
        first, *theirs = PairedTest(paired, metrics, None, test_type="bs", n_samples=BOOTSTRAP_SAMPLES)()[1]["BLEU"]
        assert (one.score, one.interval()) == (first.score, first.ci)
        assert [resampled[other].p_value(one) for other in others] == [their.p_value for their in theirs]
        assert [resampled[other].interval() for other in others] == [their.ci for their in theirs]
        found.update(their.p_value for their in theirs)
    assert min(found) < 0.001 < 0.05 < max(found) < 1  # the pairs are not all alike


def test_another_seed_gives_sacrebleus_other_p_value(monkeypatch: pytest.MonkeyPatch) -> None:
    before = Bootstrap(REFERENCES)
    first = before.resample(SYSTEMS[0]).p_value(before.resample(SYSTEMS[1]))
    monkeypatch.setenv("SACREBLEU_SEED", "7")
    bootstrap = Bootstrap(REFERENCES)
    p = bootstrap.resample(SYSTEMS[0]).p_value(bootstrap.resample(SYSTEMS[1]))
    named = [("a", SYSTEMS[0]), ("b", SYSTEMS[1])]
    test = PairedTest(named, {"BLEU": BLEU(references=[REFERENCES])}, None, test_type="bs", n_samples=1000)
    assert p == test()[1]["BLEU"][1].p_value != first


@pytest.mark.parametrize("seed", ["abc", "-1", "1.5", ""])
def test_a_seed_that_is_no_number_is_one_line(seed: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SACREBLEU_SEED", seed)
    with pytest.raises(UserError) as error:
        bootstrap_seed()
    told = f"SACREBLEU_SEED={seed}: is no seed; give a whole number from 0 on, or none"
    assert str(error.value) == f"fairseq_kd: error: {told}"


def test_equal_lines_are_not_significant_and_perfect_ones_do_not_vary() -> None:
    bootstrap = Bootstrap(REFERENCES)
    perfect = bootstrap.resample(REFERENCES)
    assert perfect.p_value(bootstrap.resample(list(REFERENCES))) == 1
    assert perfect.interval() == pytest.approx(0, abs=1e-4) and perfect.score == pytest.approx(100)


def test_systems_with_the_same_matches_in_each_sentence_do_not_differ() -> None:
    """Other words at the same wrong places, and no right word at all: each resample gives both systems one BLEU."""
    bootstrap = Bootstrap(REFERENCES)
    wrong = [[line.replace("fox", word) for line in REFERENCES] for word in ("wolf", "bear")]
    for pair in (wrong, [["zero"] * len(REFERENCES), ["null"] * len(REFERENCES)]):
        one, other = (bootstrap.resample(system) for system in pair)
        assert one.p_value(other) == other.p_value(one) == p_over_seeds([one, one], [other, other]) == 1


def test_how_often_equal_systems_differ_and_intervals_miss_by_chance() -> None:
    """docs/how-to/scores.md says: a p below 0.05 in about one pair in ten. Scores are means over made-up sentences."""
    draw, pairs, size = np.random.default_rng(7), 500, 100
    weights = draw.multinomial(size, np.full(size, 1 / size), size=BOOTSTRAP_SAMPLES) / size
    small, missed = 0, 0
    for _ in range(pairs):
        one, other = (Resampled(float(line.mean()), weights @ line) for line in draw.normal(size=(2, size)))
        small += one.p_value(other) < 0.05
        missed += abs(one.score) > one.interval()
    assert 0.07 < small / pairs < 0.13 and 0.03 < missed / pairs < 0.08


def seeds_of(means: list[float], sentences: np.ndarray) -> list[Resampled]:
    """Made-up seeds of one row: their own means, and the same effect of the sentences on all."""
    return [Resampled(mean, mean + sentences) for mean in means]


def test_p_over_seeds_knows_the_spread_of_seeds() -> None:
    """Held against the normal distribution with the variance of n new seeds, s² / n for each row."""
    draw = np.random.default_rng(3)
    sentences = draw.normal(0, 0.2, BOOTSTRAP_SAMPLES)
    spread = [-1.0, -0.3, 0.2, 1.1]
    low, high = seeds_of(spread, sentences), seeds_of([mean + 1.5 for mean in spread], sentences)
    deviation = np.sqrt(2 * np.var(spread, ddof=1) / 4)
    # sacreBLEU's p counts |d| above E|d| + observed; d is normal around the observed difference, far from 0 here.
    expected = 0.5 * math.erfc(1.5 / deviation / np.sqrt(2))
    assert p_over_seeds(low, high) == pytest.approx(expected, abs=0.02)
    assert p_over_seeds(low, high) == p_over_seeds(high, low)


@pytest.mark.parametrize("spread", [[-1.0, 1.0], [-1.0, -0.3, 0.2, 1.1]])
def test_drawn_seeds_vary_as_new_ones_would(spread: list[float]) -> None:
    """The standard deviation is s / √n; that of the bare draws would be lower by √((n − 1) / n)."""
    scores = np.repeat(np.array(spread)[:, None], 20_000, axis=1)
    drawn = np.random.default_rng(6).integers(len(spread), size=scores.shape)
    found = mean_over_seeds(scores, drawn)
    assert found.std() == pytest.approx(np.std(spread, ddof=1) / np.sqrt(len(spread)), rel=0.03)
    assert found.mean() == pytest.approx(0, abs=0.03)


def test_p_over_seeds_of_rows_with_one_mean_is_the_same_from_either_side() -> None:
    draw = np.random.default_rng(5)
    for means in ([20.0, 22.0], [20.0, 20.0]):
        one = [seeds_of([mean], draw.normal(0, 0.3, BOOTSTRAP_SAMPLES))[0] for mean in means]
        other = [seeds_of([mean], draw.normal(0, 0.4, BOOTSTRAP_SAMPLES))[0] for mean in reversed(means)]
        assert p_over_seeds(one, other) == p_over_seeds(other, one)


def test_p_over_seeds_of_equal_seeds_is_that_of_one() -> None:
    draw = np.random.default_rng(4)
    first, second = draw.normal(0, 0.3, (2, BOOTSTRAP_SAMPLES))
    low, high = seeds_of([20.0] * 3, first), seeds_of([20.6] * 3, second)
    assert p_over_seeds(low, high) == low[0].p_value(high[0])
    assert p_over_seeds(low[:1], high) == low[0].p_value(high[0])
