"""A distribution in brief: at another temperature, or as its likeliest symbols and the mass of all others."""

import torch
from torch import Tensor

from fairseq_kd.errors import UserError


def check_kept(option: str, k: int, vocabulary: int, *, or_all: bool = False) -> None:
    """Refuse a number of kept symbols that leaves fewer than two for the bucket of all others.

    Args:
        option: the option that gave it.
        k: how many of the likeliest symbols are kept.
        vocabulary: number of symbols.
        or_all: whether the option can also be 0, for all symbols; the message then says so.

    Raises:
        UserError: k is below 1, or not below ``vocabulary`` − 1.
    """
    if not 1 <= k < vocabulary - 1:
        raise UserError(
            f"{option} {k}: give at least 1 and less than {vocabulary - 1}, the vocabulary's {vocabulary} symbols "
            f"less one{', or 0 for all' if or_all else ''}"
        )


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
