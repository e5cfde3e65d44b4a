"""One symbol for each row, drawn from its distribution."""

import torch
from torch import Tensor

from fairseq_kd.decoding.options import Sampling

BLOCK = 128
"""Symbols in a block: :func:`_choose` first chooses a block, then a symbol in it."""


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
