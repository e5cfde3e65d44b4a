"""A distribution in brief: at another temperature, or as its likeliest symbols and the mass of all others."""

import torch
from torch import Tensor


def temper(log_probs: Tensor, temperature: float) -> Tensor:
    """The distribution at ``temperature``: softmax(log p / τ), as log-probabilities of the same shape.

    Log-probabilities differ from logits by a constant per token, which the softmax cancels.
    """
    if temperature == 1.0:
        return log_probs
    return torch.log_softmax(log_probs / temperature, dim=-1)


def truncate(log_probs: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """The ``k`` likeliest symbols, shape (tokens, k), and log-probabilities (tokens, k + 1): theirs and all the rest's.

    The last bucket keeps the rest's mass, so what is left is still a distribution: between two such a divergence is
    0 where they are equal, and by the data-processing inequality at most the full one.
    """
    best, ids = log_probs.topk(k, dim=-1)
    # log(1 − Σ best) cancels badly where the tail is small; summing the tail itself does not.
    tail = log_probs.scatter(-1, ids, float("-inf")).logsumexp(dim=-1, keepdim=True)
    return ids, torch.cat([best, tail], dim=-1)
