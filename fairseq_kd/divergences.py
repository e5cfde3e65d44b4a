"""The maths of one decoding step: p is the teacher's distribution, q the student's, both over the vocabulary.

Functions take log-probabilities of shape (tokens, vocabulary) in float32 or wider, padding already left out, and
return one value per token, in nats. Gradients flow into the student's side alone.
"""

from collections.abc import Callable

import torch
from torch import Tensor

Divergence = Callable[[Tensor, Tensor], Tensor]
"""(teacher's, student's log-probabilities), both (tokens, symbols), to one value per token."""


def cross_entropy(teacher_log_probs: Tensor, student_log_probs: Tensor) -> Tensor:
    """−Σ_k p(k)·log q(k), shape (tokens,): the inner sum of Kim & Rush 2016's word-level KD.

    It is KL(p‖q) plus the teacher's entropy, so its gradient is that of the KL and its value at p = q the entropy.
    A term with p(k) = 0 is 0, also where q(k) = 0.
    """
    p = teacher_log_probs.exp()
    return -torch.where(p > 0, p * student_log_probs, 0.0).sum(dim=-1)


def kl(teacher_log_probs: Tensor, student_log_probs: Tensor) -> Tensor:
    """KL(p‖q) = Σ_k p(k)·(log p(k) − log q(k)), shape (tokens,); terms with p(k) = 0 are 0."""
    p = teacher_log_probs.exp()
    return torch.where(p > 0, p * (teacher_log_probs - student_log_probs), 0.0).sum(dim=-1)


def temper(log_probs: Tensor, temperature: float) -> Tensor:
    """The distribution at ``temperature``: softmax(log p / τ), as log-probabilities of the same shape.

    Log-probabilities differ from logits by a constant per token, which the softmax cancels.
    """
    if temperature == 1.0:
        return log_probs
    return torch.log_softmax(log_probs / temperature, dim=-1)


def top_k_and_tail(log_probs: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """The ``k`` likeliest symbols, shape (tokens, k), and log-probabilities (tokens, k + 1): theirs and all the rest's.

    The last bucket keeps the rest's mass, so what is left is still a distribution: between two such a divergence is
    0 where they are equal, and by the data-processing inequality at most the full one.
    """
    best, ids = log_probs.topk(k, dim=-1)
    # log(1 − Σ best) cancels badly where the tail is small; summing the tail itself does not.
    tail = log_probs.scatter(-1, ids, float("-inf")).logsumexp(dim=-1, keepdim=True)
    return ids, torch.cat([best, tail], dim=-1)


DIVERGENCES: dict[str, Divergence] = {"cross_entropy": cross_entropy, "kl": kl}
"""By the names that options give them."""
