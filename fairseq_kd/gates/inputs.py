"""What gates compute of a batch: places of tokens, distances between targets, and the inputs of a gate's network.

A gate is one function g(x) of a sentence, or g(x, u) of the relative place u in a target sequence. Both losses read it:
1 − g at the sentence-level loss's tokens, g at the token-level loss's. A gate that could tell the two target sequences
apart could weigh both away.
"""

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Places:
    """Where tokens lie, in the order of a batch's real tokens.

    Attributes:
        sentence: the token's row, shape (tokens,).
        column: the token's place among its row's tokens, from 0, shape (tokens,). Its relative place is the middle of
            the token, (column + ½) / length.
        lengths: of the sequences, shape (sentences,).
    """

    sentence: Tensor
    column: Tensor
    lengths: Tensor

    @classmethod
    def of(cls, real: Tensor) -> "Places":
        """The places of the mask's tokens; the mask has shape (sentences, length) and padding anywhere."""
        sentence, place = real.nonzero(as_tuple=True)
        return cls(sentence, real.cumsum(dim=1)[sentence, place] - 1, real.sum(dim=1))

    def within(self, lengths: Tensor) -> Tensor:
        """For each token, the column at its relative place in a sequence of another length.

        Args:
            lengths: of the other sequences, shape (sentences,).

        Returns:
            Columns from 0, shape (tokens,).
        """
        # ⌊(column + ½) / length · other length⌋, in integers: numerator and denominator are doubled.
        return (2 * self.column + 1) * lengths[self.sentence] // (2 * self.lengths[self.sentence])

    def mean(self, values: Tensor) -> Tensor:
        """Each sentence's mean of its tokens' values (tokens,); shape (sentences,)."""
        sums = values.new_zeros(len(self.lengths)).index_add_(0, self.sentence, values)
        return sums / self.lengths


def real_first(real: Tensor) -> Tensor:
    """The columns of each row, those of the mask's tokens first, in their order; shape (sentences, length)."""
    return real.logical_not().int().argsort(dim=1, stable=True)


def certainty(entropy: Tensor) -> Tensor:
    """exp(−H): 1 where only one symbol can follow, and towards 0 with more. exp(H) is the number of choices."""
    return torch.exp(-entropy)


def at_same_places(values: Tensor, own: Places, others: Places) -> Tensor:
    """The values at the relative places of other tokens.

    Args:
        values: of the tokens ``own``, shape (own tokens,).
        own: places of these tokens.
        others: places of tokens in other sequences of the same sentences.

    Returns:
        Shape (other tokens,).
    """
    first = own.lengths.cumsum(0) - own.lengths  # where each sentence's values begin, (sentences,)
    return values[first[others.sentence] + others.within(own.lengths)]


def edit_distance(one: Tensor, other: Tensor, pad: int) -> Tensor:
    """Levenshtein distance over the length of the longer sequence: 0 where both are equal, at most 1.

    Args:
        one: shape (sentences, length), padded anywhere.
        other: shape (sentences, its length), padded anywhere.
        pad: the padding symbol, which does not count.

    Returns:
        Shape (sentences,).
    """
    one, other = (side.gather(1, real_first(side.ne(pad))) for side in (one, other))  # padding moves to the right
    lengths, other_lengths = one.ne(pad).sum(dim=1), other.ne(pad).sum(dim=1)
    column = torch.arange(other.size(1) + 1, device=one.device)
    # A row of the usual table, for all sentences: edits[s, j] is the least number of edits from the first `token`
    # tokens of `one` to the first j of `other`; (sentences, other length + 1). At token 0 it is j insertions.
    edits = column.expand(len(one), -1)
    for token in range(one.size(1)):
        # From j − 1 to j, with this token kept or replaced: (sentences, other length).
        replaced = edits[:, :-1] + other.ne(one[:, token : token + 1])
        # Or with this token deleted; both without insertions yet: (sentences, other length + 1).
        best = torch.cat([edits[:, :1], torch.minimum(replaced, edits[:, 1:] + 1)], dim=1)
        best[:, 0] += 1
        # Then insertions: min over i ≤ j of best[i] + (j − i), a running minimum of best[i] − i.
        inserted = torch.cummin(best - column, dim=1).values + column
        # Sequences that have ended keep their row.
        edits = torch.where((token < lengths)[:, None], inserted, edits)
    # The entry at the other sequence's own length: (sentences,).
    return edits.gather(1, other_lengths[:, None]).squeeze(1) / torch.maximum(lengths, other_lengths)


def gate_inputs(states: Tensor, real: Tensor) -> Tensor:
    """A gate's input for each sentence: the mean of the encoder's states over real source positions.

    Args:
        states: shape (sentences, length, width).
        real: mask of real positions, shape (sentences, length).

    Returns:
        Shape (sentences, width), float32 or wider.
    """
    states = states.to(torch.promote_types(states.dtype, torch.float32))
    return states.masked_fill(~real[:, :, None], 0).sum(dim=1) / real.sum(dim=1, keepdim=True)


def local_inputs(states: Tensor, real: Tensor, places: Places) -> Tensor:
    """A gate's input for each token: the sentence's mean state, and the state at the token's relative place.

    Args:
        states: shape (sentences, length, width).
        real: mask of real positions, shape (sentences, length).
        places: of the tokens.

    Returns:
        Shape (tokens, 2 · width), float32 or wider.
    """
    column = real_first(real)[places.sentence, places.within(real.sum(dim=1))]  # (tokens,)
    mean = gate_inputs(states, real)  # (sentences, width)
    return torch.cat([mean[places.sentence], states[places.sentence, column].to(mean.dtype)], dim=1)
