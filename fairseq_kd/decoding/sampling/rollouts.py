"""Sequences drawn from models: batched ancestral sampling, or sampling with a beam."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from fairseq.models import FairseqEncoderDecoderModel
from torch import Tensor

from fairseq_kd.decoding.options import Sampling
from fairseq_kd.decoding.sampling.beam_rollouts import draw_beams
from fairseq_kd.decoding.sampling.drawn_symbols import draw_symbols
from fairseq_kd.decoding.sampling.stepping import Unfinished
from fairseq_kd.errors import UserError
from fairseq_kd.networks.distributions import evaluating
from fairseq_kd.networks.teacher_tokens import TeacherTokens


@torch.no_grad()
def draw_rollouts(
    models: Sequence[FairseqEncoderDecoderModel],
    sample: dict[str, Any],
    sampling: Sampling,
    seed: tuple[int, int],
    symbols: Any,
    tokens: Sequence[TeacherTokens | None] | None = None,
    *,
    beam: int = 1,
    min_len: int = 0,
    positions: float = math.inf,
) -> Tensor:
    """Draw one sequence for each source of the batch. Several models are drawn from as the mean of their probabilities.

    With ``beam`` 1 each step draws one token for each unfinished sentence: ancestral sampling. More beams draw as
    :func:`fairseq_kd.decoding.sampling.beam_rollouts.draw_beams` does.

    A sentence's random numbers come from ``seed`` and its own number, its length limit from its own source. Its
    sequence is therefore the same in every batch, and torch's random state is not used. The models are put into eval
    mode and back.

    No gradient flows through the sampling. A loss on the student's own rollouts therefore has not the gradient of its
    expectation (Wen et al. 2023, section 7).

    Args:
        models: one or more fairseq encoder-decoders with incremental decoders, not wrapped for several processes.
        sample: the batch; of ``net_input`` only the source is read.
        sampling: temperature, truncation and length limit. With several beams ``top_p`` is not read, and ``top_k``, of
            at least 2, is taken of each beam.
        seed: two numbers, of the run and of the update.
        symbols: the target dictionary, that of the student.
        tokens: of each model's task; None: all take the batch as it is.
        beam: number of beams.
        min_len: tokens that a sequence has at least before its ``</s>``, where its limit allows it.
        positions: of a further model that is to read the sequences.

    Returns:
        Symbols, shape (batch, longest), each row ended by ``</s>`` and then padded.

    Raises:
        UserError: top_k is larger than the vocabulary.
    """
    check_top_k(sampling, symbols)
    source = sample["net_input"]["src_tokens"]
    tokens = tokens or [None] * len(models)
    limits = length_limits(models, sample, sampling, tokens, positions)
    # The random numbers of each step, (sentences, steps, numbers).
    count, each = int(limits.max()), 1 if beam == 1 else beam * sampling.top_k
    chances = uniform_numbers(seed, sample["id"].tolist(), count * each).view(-1, count, each).to(source.device)
    with evaluating(*models):
        unfinished = Unfinished(models, sample["net_input"], tokens)
        if beam == 1:
            return _draw_tokens(unfinished, sampling, chances.squeeze(2), limits, symbols, min_len)
        return draw_beams(unfinished, sampling, chances, limits, symbols, min_len, beam)


def _draw_tokens(
    unfinished: Unfinished, sampling: Sampling, chances: Tensor, limits: Tensor, symbols: Any, min_len: int
) -> Tensor:
    """Ancestral sampling.

    Args:
        unfinished: all sentences of the batch.
        sampling: temperature and truncation.
        chances: random numbers in [0, 1) of each step, shape (batch, steps).
        limits: the most tokens before ``</s>``, shape (batch,); the longest is the number of steps.
        symbols: the target dictionary.
        min_len: the fewest tokens before ``</s>``.

    Returns:
        As :func:`draw_rollouts`.
    """
    size, longest = chances.shape
    # One column before the drawn symbols, where fairseq's decoders start from </s>, and one behind them.
    drawn = limits.new_full((size, longest + 2), symbols.pad())
    drawn[:, 0] = symbols.eos()
    for step in range(longest):
        rows = unfinished.rows
        logits = unfinished.next_logits(drawn[rows, : step + 1])
        logits[:, symbols.pad()] = float("-inf")
        if step < min_len:
            logits[:, symbols.eos()] = float("-inf")
        chosen = draw_symbols(logits, sampling, chances[rows, step])
        drawn[rows, step + 1] = chosen
        if not unfinished.keep(chosen.ne(symbols.eos()) & limits[rows].gt(step + 1)):
            break
    # A row that is full without its </s> gets it now.
    last = drawn.gather(1, limits[:, None]).squeeze(1)
    cut = last.ne(symbols.eos()) & last.ne(symbols.pad())
    drawn[cut, limits[cut] + 1] = symbols.eos()
    lengths = drawn[:, 1:].ne(symbols.pad()).sum(dim=1)
    return drawn[:, 1 : 1 + int(lengths.max())]


def drawn_tokens(sequences: Tensor, limits: Tensor, pad: int) -> Tensor:
    """Mask of the tokens that were drawn, shape (batch, length): without the ``</s>`` of a sequence that its limit cut.

    Args:
        sequences: from :func:`draw_rollouts`, shape (batch, length).
        limits: from :func:`length_limits`, shape (batch,).
        pad: the padding symbol.
    """
    places = torch.arange(sequences.size(1), device=sequences.device)
    return sequences.ne(pad) & places.lt(limits[:, None])


def check_top_k(sampling: Sampling, symbols: Any) -> None:
    """Check that the vocabulary has ``top_k`` symbols.

    Raises:
        UserError: it has fewer.
    """
    if sampling.top_k > len(symbols):
        raise UserError(f"top-k {sampling.top_k}: the vocabulary has {len(symbols)} symbols")


def length_limits(
    models: Sequence[FairseqEncoderDecoderModel],
    sample: dict[str, Any],
    sampling: Sampling,
    tokens: Sequence[TeacherTokens | None],
    positions: float = math.inf,
) -> Tensor:
    """The most tokens before ``</s>`` of each sentence's sequence, shape (batch,).

    ``positions`` are those of a further model that is to read the sequences.
    """
    more = [0 if one is None else one.more[1] for one in tokens]
    own = min(model.max_decoder_positions() - added for model, added in zip(models, more, strict=True))
    fewest = int(min(own, positions))
    sizes = sample["net_input"]["src_lengths"].tolist()
    return sample["net_input"]["src_tokens"].new_tensor([sampling.longest(size, fewest) for size in sizes])


def uniform_numbers(seed: tuple[int, int], sentences: list[int], count: int) -> Tensor:
    """``count`` random numbers in [0, 1) for each sentence, shape (sentences, count), float32.

    A sentence's numbers depend on ``seed`` and its own number alone, and the first of them do not depend on ``count``.
    The generator is Philox with the seed and the sentence's number as its key.
    """
    # As a plain list, numpy makes floats of a key above 63 bits: they lose its lower bits, and so the second number.
    keys = (np.array([seed[0] << 32 | seed[1], one], np.uint64) for one in sentences)
    streams = (np.random.Generator(np.random.Philox(key=key)) for key in keys)
    return torch.from_numpy(np.stack([stream.random(count, dtype=np.float32) for stream in streams]))
