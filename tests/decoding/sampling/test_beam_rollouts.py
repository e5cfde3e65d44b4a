"""Sampling with a beam against a loop over lists, and what a minimum length does."""

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from fairseq_kd.decoding.options import Sampling
from fairseq_kd.decoding.sampling.rollouts import draw_rollouts, uniform_numbers
from fairseq_kd.errors import UserError
from fairseq_kd.networks.checkpoints import build_models
from tests.support.models import batch, build

pytestmark = pytest.mark.usefixtures("one_thread")
SEED = (7, 3)
BEAM = 3


@pytest.fixture(scope="module")
def setup(tiny_corpus: Path, tiny_teacher: Path) -> tuple[Any, Any]:
    """A model that has learnt a little, and its task."""
    task, _, _ = build(tiny_corpus)
    (model,) = build_models([str(tiny_teacher)], task, "teacher")
    return task, model.eval()


def next_log_probs(model: Any, sample: dict[str, Any], row: int, prefix: list[int], eos: int) -> list[float]:
    length = int(sample["net_input"]["src_lengths"][row])
    source = sample["net_input"]["src_tokens"][row : row + 1, -length:]
    previous = torch.tensor([[eos, *prefix]])
    with torch.no_grad():
        return model(source, torch.tensor([length]), previous)[0][0, -1].double().tolist()


def by_hand(task: Any, model: Any, sample: dict[str, Any], row: int, sampling: Sampling, min_len: int) -> list[int]:
    """One sentence: lists of beams and of finished sequences, as Hugging Face's beam_sample goes on."""
    pad, eos = task.target_dictionary.pad(), task.target_dictionary.eos()
    limit = sampling.longest(int(sample["net_input"]["src_lengths"][row]), model.max_decoder_positions())
    k = sampling.top_k
    chances = uniform_numbers(SEED, [int(sample["id"][row])], limit * BEAM * k)[0].double().view(limit, BEAM * k)
    beams: list[tuple[list[int], float]] = [([], 0.0)] * BEAM
    finished: list[tuple[float, list[int]]] = []
    for step in range(limit):
        candidates = []
        for number, (prefix, score) in enumerate(beams):
            logits = next_log_probs(model, sample, row, prefix, eos)
            logits[pad] = -math.inf
            if step < min_len:
                logits[eos] = -math.inf
            highest = max(logits)
            total = highest + math.log(math.fsum(math.exp(one - highest) for one in logits))
            best = sorted(range(len(logits)), key=lambda symbol: -logits[symbol])[:k]
            for place, symbol in enumerate(best):
                whole = score + logits[symbol] - total
                noise = -math.log(-math.log(chances[step, number * k + place].item()))
                candidates.append((whole / sampling.temperature + noise, whole, number, symbol))
        drawn = sorted(candidates, reverse=True)[: 2 * BEAM]
        drawn.sort(key=lambda one: -one[1])
        following = []
        for rank, (_, whole, number, symbol) in enumerate(drawn):
            prefix = beams[number][0]
            if symbol == eos:
                if rank < BEAM:
                    finished.append((whole / (len(prefix) + 1), prefix))
            elif len(following) < BEAM:
                following.append(([*prefix, symbol], whole))
        beams = following
        if len(finished) >= BEAM:
            break
    else:
        finished += [(score / (len(prefix) + 1), prefix) for prefix, score in beams]
    return [*max(finished)[1], eos]


@pytest.mark.parametrize(
    ("sampling", "min_len"),
    [
        (Sampling(top_k=4, max_len_a=0.0, max_len_b=7), 0),
        (Sampling(top_k=4, max_len_a=1.0, max_len_b=1, temperature=0.5), 0),
        (Sampling(top_k=6, max_len_a=0.0, max_len_b=7), 4),
    ],
)
def test_it_is_the_loop_over_lists(setup: tuple[Any, Any], sampling: Sampling, min_len: int) -> None:
    task, model = setup
    sample = batch(task, "valid", list(range(8)))
    found = draw_rollouts([model], sample, sampling, SEED, task.target_dictionary, beam=BEAM, min_len=min_len)
    pad = task.target_dictionary.pad()
    lengths = set()
    for row, sequence in enumerate(found.tolist()):
        own = [symbol for symbol in sequence if symbol != pad]
        assert own == by_hand(task, model, sample, row, sampling, min_len), row
        lengths.add(len(own))
        assert len(own) > min_len
    assert len(lengths) > 1 or min_len


def test_a_sequence_is_the_same_in_every_batch(setup: tuple[Any, Any]) -> None:
    task, model = setup
    sampling, symbols = Sampling(top_k=4, max_len_a=1.0, max_len_b=2), task.target_dictionary
    sample = batch(task, "valid", [0, 1, 2, 3])
    whole = draw_rollouts([model], sample, sampling, SEED, symbols, beam=BEAM)
    for row, number in enumerate(sample["id"].tolist()):
        alone = draw_rollouts([model], batch(task, "valid", [number]), sampling, SEED, symbols, beam=BEAM)[0]
        assert whole[row, : len(alone)].tolist() == alone.tolist()
        assert (whole[row, len(alone) :] == symbols.pad()).all()


def test_it_draws_likelier_sequences_than_plain_samples(setup: tuple[Any, Any]) -> None:
    task, model = setup
    sampling, symbols = Sampling(top_k=5, max_len_a=0.0, max_len_b=6), task.target_dictionary
    sample = batch(task, "valid", list(range(30)))

    def mean_log_prob(sequences: torch.Tensor) -> float:
        each = []
        for row, padded in enumerate(sequences.tolist()):
            own = [symbol for symbol in padded if symbol != symbols.pad()]
            for place, symbol in enumerate(own):
                logits = torch.tensor(next_log_probs(model, sample, row, own[:place], symbols.eos()))
                each.append(logits.log_softmax(-1)[symbol].item())
        return float(np.mean(each))

    beams = draw_rollouts([model], sample, sampling, SEED, symbols, beam=5)
    assert mean_log_prob(beams) > mean_log_prob(draw_rollouts([model], sample, sampling, SEED, symbols)) + 0.1


def test_plain_samples_of_a_minimum_length(setup: tuple[Any, Any]) -> None:
    """Those that were long enough stay; the length limit counts more than the minimum."""
    task, model = setup
    sampling, symbols = Sampling(max_len_a=0.0, max_len_b=5), task.target_dictionary
    sample = batch(task, "valid", list(range(30)))
    plain, long = (
        draw_rollouts([model], sample, sampling, SEED, symbols, min_len=number).ne(symbols.pad()).sum(1)
        for number in (0, 4)
    )
    assert plain.min() < 5 and long.min() == 5 and long.max() <= 6
    cut = draw_rollouts([model], sample, sampling, SEED, symbols, min_len=90)
    assert cut.shape[1] == 6 and (cut[:, -1] == symbols.eos()).all()


def test_a_top_k_beyond_the_vocabulary(setup: tuple[Any, Any]) -> None:
    task, model = setup
    with pytest.raises(UserError, match="top-k 999: the vocabulary has"):
        draw_rollouts([model], batch(task, "valid", [0]), Sampling(999), SEED, task.target_dictionary, beam=2)
