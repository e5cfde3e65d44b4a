"""Weights between sentence-level and token-level loss: g in [0, 1] is the sentence's share, 1 − g the token's.

A sentence x has two target sequences, the gold one and the distilled one. A gate is one function g(x), or g(x, u) of
the relative place u in a target sequence, and weighs the tokens of both: it cannot tell them apart and weigh both away.
"""

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Places:
    """Where tokens lie, in the order of a batch's real tokens.

    Attributes:
        sentence: shape (tokens,).
        column: from 0, shape (tokens,). Its relative place is the middle of the token, (column + ½) / length.
        lengths: of the sequences, shape (sentences,).
    """

    sentence: Tensor
    column: Tensor
    lengths: Tensor

    @classmethod
    def of(cls, real: Tensor) -> "Places":
        """Those of the mask's tokens, shape (sentences, length), padded on the right."""
        sentence, column = real.nonzero(as_tuple=True)
        return cls(sentence, column, real.sum(dim=1))

    def within(self, lengths: Tensor) -> Tensor:
        """The tokens at the same relative places in other sequences of these lengths, from 0; shape (tokens,)."""
        return (2 * self.column + 1) * lengths[self.sentence] // (2 * self.lengths[self.sentence])

    def mean(self, values: Tensor) -> Tensor:
        """Each sentence's mean of its tokens' values, shape (sentences,)."""
        sums = values.new_zeros(len(self.lengths)).index_add_(0, self.sentence, values)
        return sums / self.lengths


def uncertainty(entropy: Tensor) -> Tensor:
    """1 − exp(−H), from 0 where only one thing can follow to 1 with more and more; exp(H) is how many there are."""
    return -torch.expm1(-entropy)


def at_same_places(values: Tensor, own: Places, others: Places) -> Tensor:
    """What the tokens ``own``, with these values, have at the relative places of other tokens; shape (others,)."""
    first = own.lengths.cumsum(0) - own.lengths
    return values[first[others.sentence] + others.within(own.lengths)]


def edit_distance(one: Tensor, other: Tensor, pad: int) -> Tensor:
    """Levenshtein distance over the length of the longer sequence: 0 where both are equal, at most 1.

    Args:
        one: shape (sentences, length), padded on the right.
        other: shape (sentences, its length).
        pad: symbol that does not count.

    Returns:
        Shape (sentences,).
    """
    lengths, other_lengths = one.ne(pad).sum(dim=1), other.ne(pad).sum(dim=1)
    column = torch.arange(other.size(1) + 1, device=one.device)
    # Least number of edits from the first tokens of one to the first 0, 1, … of the other.
    edits = column.expand(len(one), -1)
    for token in range(one.size(1)):
        replaced = edits[:, :-1] + other.ne(one[:, token : token + 1])
        best = torch.cat([edits[:, :1], torch.minimum(replaced, edits[:, 1:] + 1)], dim=1)
        best[:, 0] += 1
        inserted = torch.cummin(best - column, dim=1).values + column
        edits = torch.where((token < lengths)[:, None], inserted, edits)
    return edits.gather(1, other_lengths[:, None]).squeeze(1) / torch.maximum(lengths, other_lengths)


def gate_inputs(states: Tensor, real: Tensor) -> Tensor:
    """Mean of the encoder's states, shape (sentences, length, width), over the mask's real source positions."""
    states = states.to(torch.promote_types(states.dtype, torch.float32))
    return states.masked_fill(~real[:, :, None], 0).sum(dim=1) / real.sum(dim=1, keepdim=True)


def local_inputs(states: Tensor, real: Tensor, places: Places) -> Tensor:
    """Beside that mean, the state at each token's relative place in the source; shape (tokens, 2 · width)."""
    first = real.int().argmax(dim=1)  # fairseq pads sources on the left
    column = first[places.sentence] + places.within(real.sum(dim=1))
    mean = gate_inputs(states, real)
    return torch.cat([mean[places.sentence], states[places.sentence, column].to(mean.dtype)], dim=1)
