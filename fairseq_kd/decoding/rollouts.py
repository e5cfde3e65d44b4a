"""Sequences drawn from models: batched ancestral sampling. Each step draws one token for each unfinished sentence."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from fairseq.models import FairseqEncoderDecoderModel
from torch import Tensor

from fairseq_kd.decoding.options import Sampling
from fairseq_kd.decoding.stepping import Unfinished
from fairseq_kd.errors import UserError
from fairseq_kd.networks.distributions import evaluating
from fairseq_kd.networks.teacher_tokens import TeacherTokens

BLOCK = 128
"""Symbols in a block: :func:`_choose` first chooses a block, then a symbol in it."""


@torch.no_grad()
def draw_rollouts(
    models: Sequence[FairseqEncoderDecoderModel],
    sample: dict[str, Any],
    sampling: Sampling,
    seed: tuple[int, int],
    symbols: Any,
    tokens: Sequence[TeacherTokens | None] | None = None,
    *,
    min_len: int = 0,
    positions: float = math.inf,
) -> Tensor:
    """Draw one sequence for each source of the batch. Several models are drawn from as the mean of their probabilities.

    A sentence's random numbers come from ``seed`` and its own number, its length limit from its own source. Its
    sequence is therefore the same in every batch, and torch's random state is not used. The models are put into eval
    mode and back.

    No gradient flows through the sampling. A loss on the student's own rollouts therefore has not the gradient of its
    expectation (Wen et al. 2023, Limitations).

    Args:
        models: one or more fairseq encoder-decoders with incremental decoders, not wrapped for several processes.
        sample: the batch; of ``net_input`` only the source is read.
        sampling: temperature, truncation and length limit.
        seed: two numbers, of the run and of the update.
        symbols: the target dictionary, that of the student.
        tokens: of each model's task; None: all take the batch as it is.
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
    longest = int(limits.max())
    chances = uniform_numbers(seed, sample["id"].tolist(), longest).to(source.device)
    # One column before the drawn symbols, where fairseq's decoders start from </s>, and one behind them.
    drawn = source.new_full((len(source), longest + 2), symbols.pad())
    drawn[:, 0] = symbols.eos()
    with evaluating(*models):
        unfinished = Unfinished(models, sample["net_input"], tokens)
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
        sequences: from :func:`draw_rollouts` or another drawing of this package, shape (batch, length).
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


def draw_symbols(logits: Tensor, sampling: Sampling, chances: Tensor) -> Tensor:
    """Draw a symbol for each row, by the inverse of the cumulated distribution.

    The temperature comes first, then top_k, then top_p among the symbols that top_k leaves.

    Args:
        logits: float32, shape (rows, vocabulary); they are overwritten.
        sampling: temperature, top_k and top_p.
        chances: random numbers in [0, 1), shape (rows,).

    Returns:
        Symbols, shape (rows,).
    """
    if sampling.temperature != 1.0:
        logits /= sampling.temperature
    if sampling.top_k:
        logits, symbols = logits.topk(sampling.top_k)  # both (rows, top_k)
    probabilities = logits.softmax(dim=-1)
    if sampling.top_p < 1:
        probabilities = _nucleus(probabilities, sampling.top_p)
    chosen = _choose(probabilities, chances[:, None])
    return (symbols.gather(1, chosen) if sampling.top_k else chosen).squeeze(1)


def _nucleus(probabilities: Tensor, share: float, candidates: int = 256) -> Tensor:
    """Keep the fewest likeliest symbols whose probabilities sum to at least ``share``; give the others 0.

    Args:
        probabilities: shape (rows, symbols).
        share: top_p.
        candidates: how many of the likeliest symbols are sorted first. Sorting the whole vocabulary takes longer than
            the remainder of a step, so only rows that need more symbols are sorted whole.

    Returns:
        Shape (rows, symbols). The sums are not made 1: :func:`_choose` scales its chances by them.
    """
    best, order = probabilities.topk(min(candidates, probabilities.size(1)))  # both (rows, candidates), likeliest first
    # A symbol is dropped where the symbols before it have the share: the one that reaches the share stays.
    dropped = best.cumsum(dim=-1) - best >= share
    # Back to the vocabulary's order, zeros everywhere else.
    kept = torch.zeros_like(probabilities).scatter_(1, order, best.masked_fill(dropped, 0.0))
    # Where not even the last candidate is dropped, more symbols may be needed.
    unsettled = ~dropped[:, -1]
    if best.size(1) < probabilities.size(1) and unsettled.any():
        kept[unsettled] = _nucleus(probabilities[unsettled], share, probabilities.size(1))
    return kept


def _choose(probabilities: Tensor, chances: Tensor) -> Tensor:
    """Choose the symbol at which the cumulated probability first exceeds ``chances`` times the row's sum.

    It first chooses a block by the blocks' sums and then a symbol in the block: summing is several times as fast as
    cumulating.

    Args:
        probabilities: shape (rows, symbols); a row's sum need not be 1.
        chances: in [0, 1), shape (rows, 1).

    Returns:
        Places in ``probabilities``, shape (rows, 1).
    """
    symbols = probabilities.size(1)
    # The blocks' sums, (rows, blocks). The symbols behind the last whole block make a shorter one.
    whole = symbols - symbols % BLOCK
    sums = probabilities[:, :whole].unflatten(1, (whole // BLOCK, BLOCK)).sum(dim=-1)
    if whole < symbols:
        sums = torch.cat([sums, probabilities[:, whole:].sum(dim=-1, keepdim=True)], dim=1)
    # The block, and how far into its probability the symbol lies, both (rows, 1).
    block, remainder = _first_beyond(sums, chances * sums.sum(dim=-1, keepdim=True))
    # The block's symbols, (rows, BLOCK); places beyond the vocabulary are read at its last symbol and count 0.
    places = block * BLOCK + torch.arange(BLOCK, device=block.device)
    within = probabilities.gather(1, places.clamp(max=symbols - 1)).masked_fill_(places >= symbols, 0.0)
    return places.gather(1, _first_beyond(within, remainder)[0])


def _first_beyond(weights: Tensor, wanted: Tensor) -> tuple[Tensor, Tensor]:
    """Find where the cumulated weights first exceed ``wanted``.

    Args:
        weights: at least 0, shape (rows, entries).
        wanted: shape (rows, 1).

    Returns:
        The place, and ``wanted`` less the weights before it; both of shape (rows, 1).
    """
    cumulated = weights.cumsum(dim=-1)
    # right=True finds a sum above ``wanted``, not equal to it: an entry of weight 0 adds nothing and is passed over.
    place = torch.searchsorted(cumulated, wanted, right=True)
    # Rounding can put ``wanted`` at or beyond the whole sum. Then the largest weight is taken, which is not 0.
    place = torch.where(place < weights.size(1), place, weights.argmax(dim=-1, keepdim=True))
    # (cumulated − weights) is the sum before the place; rounding could make the difference negative.
    return place, (wanted - (cumulated - weights).gather(1, place)).clamp_(min=0)
