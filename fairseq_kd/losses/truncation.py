"""Distributions at another temperature, and truncated to their likeliest symbols and one bucket for all others."""

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Truncated:
    """A teacher's truncated distributions: the kept symbols, and one bucket for all others.

    Attributes:
        ids: the kept symbols, shape (tokens, k), likeliest first.
        log_probs: log-probabilities, shape (tokens, k + 1); the last column is the bucket's.
    """

    ids: Tensor
    log_probs: Tensor


def temper(log_probs: Tensor, temperature: float) -> Tensor:
    """The distribution at ``temperature``: softmax(log p / τ), as log-probabilities of the same shape.

    Log-probabilities differ from logits by a constant per token, which the softmax cancels.
    """
    if temperature == 1.0:
        return log_probs
    return torch.log_softmax(log_probs / temperature, dim=-1)


def truncate(log_probs: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """Truncate distributions to their ``k`` likeliest symbols and one bucket with the mass of all others.

    The result is still a distribution. An f-divergence between two truncated distributions is 0 where they are equal,
    and by the data-processing inequality at most that of the whole distributions.

    Args:
        log_probs: shape (tokens, vocabulary).
        k: number of kept symbols, below the vocabulary's size.

    Returns:
        The kept symbols, shape (tokens, k), likeliest first, and log-probabilities, shape (tokens, k + 1), the
        bucket's last.
    """
    best, ids = log_probs.topk(k, dim=-1)
    # log(1 − Σ best) cancels badly where the tail is small; summing the tail itself does not.
    tail = log_probs.scatter(-1, ids, float("-inf")).logsumexp(dim=-1, keepdim=True)
    return ids, torch.cat([best, tail], dim=-1)
