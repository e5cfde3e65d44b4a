"""Several target sequences of each sentence in one batch, so that one forward of a model answers about all of them."""

from collections.abc import Sequence
from typing import Any

import torch
from fairseq.data import Dictionary, data_utils
from torch import Tensor

from fairseq_kd.losses.chunk import NextTokens
from fairseq_kd.networks.distributions import previous_tokens


def interleave(
    sample: dict[str, Any], sequences: Sequence[Tensor], symbols: Dictionary
) -> tuple[Tensor, dict[str, Any]]:
    """Each sentence's sequences below each other, its source as often: targets, and what a model is asked.

    The order keeps the sources sorted by length, as fairseq's LSTM wants them.

    Args:
        sample: the batch.
        sequences: each of shape (batch, own length), padded on the right.
        symbols: the target dictionary.
    """
    rows = [row for sentence in zip(*sequences, strict=True) for row in sentence]
    target = data_utils.collate_tokens(rows, symbols.pad())
    previous = previous_tokens(target, symbols)
    source = {
        name: value.repeat_interleave(len(sequences), dim=0)
        for name, value in sample["net_input"].items()
        if name != "prev_output_tokens"
    }
    return target, {"net_input": {**source, "prev_output_tokens": previous}}


def tokens_of(number: int, parts: int, real: Tensor) -> Tensor:
    """Which of the batch's real tokens are of the sequences with this number, among so many ``parts`` a sentence.

    They are in the order of that sequence's own real tokens.

    Args:
        number: from 0, in the order given to :func:`interleave`.
        parts: how many were given.
        real: mask of the targets' real tokens, shape (batch · parts, length).
    """
    part = torch.arange(len(real), device=real.device).remainder(parts)
    return part[:, None].expand_as(real)[real].eq(number).nonzero().squeeze(1)


def select(answer: NextTokens, tokens: Tensor) -> NextTokens:
    """The answer about these tokens alone."""
    return NextTokens(answer.features.index_select(0, tokens), answer.weight, answer.bias)
