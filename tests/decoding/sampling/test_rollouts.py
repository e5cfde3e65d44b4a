"""Sequences drawn from real models."""

from pathlib import Path
from typing import Any

import pytest
import torch

from fairseq_kd.decoding.options import Sampling
from fairseq_kd.decoding.sampling.drawn_symbols import draw_symbols
from fairseq_kd.decoding.sampling.rollouts import draw_rollouts, uniform_numbers
from fairseq_kd.errors import UserError
from fairseq_kd.networks.distributions import previous_tokens
from tests.support.models import ARCHITECTURES, batch, build
from tests.support.sampling import SAMPLINGS, assert_drawn_from, cut, exact

SEED = (1, 7)


def setup(data: Path, architecture: str = "transformer") -> tuple[Any, Any]:
    task, model, _ = build(data, architecture=architecture)
    return task, model.train()


def draw(task: Any, model: Any, sample: dict[str, Any], seed: tuple[int, int] = SEED, **options: Any) -> torch.Tensor:
    return draw_rollouts([model], sample, Sampling(**options), seed, task.target_dictionary)


def rows_of(drawn: torch.Tensor, pad: int) -> list[list[int]]:
    return [[symbol for symbol in row if symbol != pad] for row in drawn.tolist()]


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_every_row_is_ended_and_padded(tiny_corpus: Path, architecture: str) -> None:
    task, model = setup(tiny_corpus, architecture)
    sample = batch(task, "valid", list(range(12)))
    eos, pad = task.target_dictionary.eos(), task.target_dictionary.pad()
    limits = [int(0.5 * size + 4) for size in sample["net_input"]["src_lengths"].tolist()]
    drawn = draw(task, model, sample, max_len_a=0.5, max_len_b=4)
    for row, words, limit in zip(drawn.tolist(), rows_of(drawn, pad), limits, strict=True):
        assert words[-1] == eos and eos not in words[:-1] and len(words) <= limit + 1
        assert row == words + [pad] * (len(row) - len(words))


def test_a_sentence_draws_the_same_in_whatever_batch(tiny_corpus: Path) -> None:
    task, model = setup(tiny_corpus)
    pad, found = task.target_dictionary.pad(), {}
    for rows in ([0, 1, 2, 3, 4, 5], [5, 3], [2, 0, 4]):
        sample = batch(task, "valid", rows)
        drawn = draw(task, model, sample, max_len_a=1.0, max_len_b=1)
        for row, words in zip(sample["id"].tolist(), rows_of(drawn, pad), strict=True):
            assert found.setdefault(row, words) == words
    assert len({len(words) for words in found.values()}) > 2  # else the limit would be the same for all


def test_the_seed_decides_and_nothing_else_is_touched(tiny_corpus: Path) -> None:
    task, model = setup(tiny_corpus)
    model.decoder.layers[0].eval()
    modes = [module.training for module in model.modules()]
    sample = batch(task, "valid", [0, 1, 2, 3])
    before = torch.get_rng_state()
    first = draw(task, model, sample)
    assert torch.equal(torch.get_rng_state(), before)
    assert [module.training for module in model.modules()] == modes
    assert torch.equal(draw(task, model, sample), first)
    assert rows_of(draw(task, model, sample, seed=(1, 8)), 1) != rows_of(first, 1)


def test_each_number_of_a_seed_and_of_a_sentence_counts() -> None:
    """Also of a seed from 2**31 on, where the key needs all of its 64 bits."""
    keys = [(seed, second, row) for seed in (1, 2**31 - 1, 2**31, 2**32 - 1) for second in (0, 1) for row in (0, 2**62)]
    drawn = {tuple(uniform_numbers((seed, second), [row], 3)[0].tolist()) for seed, second, row in keys}
    assert len(drawn) == len(keys)


@pytest.mark.parametrize("options", SAMPLINGS)
def test_frequencies_are_the_models(tiny_corpus: Path, options: dict[str, Any]) -> None:
    """Of 20,000 first symbols."""
    task, model = setup(tiny_corpus)
    check_frequencies(task, model, options)


def test_frequencies_are_an_adaptive_softmaxs(tiny_corpus: Path) -> None:
    """What its decoder returns is no logits."""
    task, model, _ = build(tiny_corpus, "--adaptive-softmax-cutoff", "10,18")
    check_frequencies(task, model, {})


@pytest.mark.parametrize("options", [{}, {"temperature": 0.5}, {"top_k": 9, "top_p": 0.5}])
def test_several_models_are_drawn_from_as_the_mean_of_their_probabilities(
    tiny_corpus: Path, options: dict[str, Any]
) -> None:
    """Also behind a first symbol: the models are two architectures, each with states of its own."""
    (task, one), (_, other) = setup(tiny_corpus), setup(tiny_corpus, "lstm")
    models, sample, sampling = [one, other], batch(task, "valid", [3]), Sampling(max_len_a=0, max_len_b=2, **options)
    drawn = draw_rollouts(models, repeated(sample, 20000), sampling, SEED, task.target_dictionary)
    assert_drawn_from(drawn[:, 0], exact_mean(task, models, sample, [], sampling))
    first = int(drawn[drawn[:, 0].ne(task.target_dictionary.eos()), 0].mode().values)
    after = drawn[drawn[:, 0] == first, 1]
    assert_drawn_from(after, exact_mean(task, models, sample, [first], sampling))
    # Either model alone would fail: the check can tell them from their mean.
    for model in models:
        with pytest.raises(AssertionError):
            assert_drawn_from(drawn[:, 0], exact_mean(task, [model], sample, [], sampling))


def exact_mean(
    task: Any, models: list[Any], sample: dict[str, Any], prefix: list[int], sampling: Sampling
) -> torch.Tensor:
    """The distribution of the symbol behind ``prefix``, without padding, by its definition."""
    previous = torch.tensor([[task.target_dictionary.eos(), *prefix]])
    with torch.no_grad():
        answers = [model.eval()(**{**sample["net_input"], "prev_output_tokens": previous}) for model in models]
    p = torch.stack([answer[0][0, -1].double().softmax(-1) for answer in answers]).mean(dim=0)
    p[task.target_dictionary.pad()] = 0
    return cut(p.log(), sampling)


def repeated(sample: dict[str, Any], count: int) -> dict[str, Any]:
    """A batch of the one sentence of ``sample``, under as many numbers."""
    inputs = {name: value.expand(count, *value.shape[1:]) for name, value in sample["net_input"].items()}
    return {"id": torch.arange(count), "net_input": inputs}


def check_frequencies(task: Any, model: Any, options: dict[str, Any]) -> None:
    sample = batch(task, "valid", [3])
    first = draw(task, model, repeated(sample, 20000), max_len_a=0.0, max_len_b=1, **options)[:, 0]
    assert_drawn_from(first, exact(task, model, sample, Sampling(**options)))


@pytest.mark.parametrize("options", [*SAMPLINGS, {"top_p": 0.97}, {"top_k": 200}, {"top_k": 200, "top_p": 0.9}])
def test_frequencies_in_a_vocabulary_of_several_blocks(options: dict[str, Any]) -> None:
    """Its size is no multiple of a block's, and more symbols than the first candidates are needed for 0.97 of it."""
    draw_number = torch.Generator().manual_seed(1)
    logits = torch.randn(700, generator=draw_number)
    logits[5] = float("-inf")
    chances = torch.rand(50000, generator=draw_number)
    sampling = Sampling(**options)
    symbols = draw_symbols(logits.expand(len(chances), -1).clone(), sampling, chances)
    assert_drawn_from(symbols, cut(logits.double(), sampling))


def test_a_chance_chooses_what_a_loop_over_the_symbols_does() -> None:
    """The last symbol has no probability: a chance next to 1 must not reach it."""
    logits = torch.randn(3, 300, generator=torch.Generator().manual_seed(2))
    logits[:, 290:] = float("-inf")
    for chance in (0.0, 0.3, 0.77, 1 - 2**-24):
        chosen = draw_symbols(logits.clone(), Sampling(), torch.full((3,), chance)).tolist()
        for row, symbol in zip(logits.double().softmax(-1).tolist(), chosen, strict=True):
            before = sum(row[:symbol])
            assert row[symbol] > 0 and before - 1e-6 <= chance <= before + row[symbol] + 1e-6


@pytest.mark.parametrize("options", [(), ("--encoder-normalize-before", "--decoder-normalize-before")])
def test_every_step_has_the_probabilities_of_the_whole_forward(tiny_corpus: Path, options: tuple[str, ...]) -> None:
    """Greedy rollouts (the likeliest symbol alone) are the argmax of one forward over them, pre-norm and post-norm."""
    task, model, _ = build(tiny_corpus, *options)
    sample = batch(task, "valid", list(range(12)))
    drawn = draw(task, model, sample, top_k=1, max_len_a=0.0, max_len_b=8)
    pad, eos = task.target_dictionary.pad(), task.target_dictionary.eos()
    asked = {**sample["net_input"], "prev_output_tokens": previous_tokens(drawn, task.target_dictionary)}
    logits = model.eval()(**asked)[0]
    logits[:, :, pad] = float("-inf")
    own = drawn.ne(pad)
    own[:, 8:] = False  # where </s> is put without being drawn
    assert own.sum() > len(drawn) and drawn[own].ne(eos).any()
    assert torch.equal(logits.argmax(-1)[own], drawn[own])


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"top_k": -1}, "top-k"),
        ({"top_p": 0.0}, "top-p"),
        ({"temperature": 0.0}, "temperature"),
        ({"temperature": float("inf")}, "temperature"),
    ],
)
def test_an_option_out_of_range_is_named(options: dict[str, Any], named: str) -> None:
    with pytest.raises(UserError, match=f"{named} .*: give"):
        Sampling(**options)


def test_more_symbols_than_the_vocabulary_has(tiny_corpus: Path) -> None:
    task, model = setup(tiny_corpus)
    with pytest.raises(UserError, match="the vocabulary has"):
        draw(task, model, batch(task, "valid", [0]), top_k=10**6)
