"""The maths of one decoding step: p is the teacher's distribution, q the student's, both over the vocabulary.

Functions take log-probabilities of shape (tokens, vocabulary) in float32 or wider, padding already left out, and
return one value per token, in nats. Gradients flow into the student's side alone.
"""

import torch
from torch import Tensor


def cross_entropy(teacher_log_probs: Tensor, student_log_probs: Tensor) -> Tensor:
    """−Σ_k p(k)·log q(k), shape (tokens,): the inner sum of Kim & Rush 2016's word-level KD.

    It is KL(p‖q) plus the teacher's entropy, so its gradient is that of the KL and its value at p = q the entropy.
    A term with p(k) = 0 is 0, also where q(k) = 0.
    """
    p = teacher_log_probs.exp()
    return -torch.where(p > 0, p * student_log_probs, 0.0).sum(dim=-1)


def temper(log_probs: Tensor, temperature: float) -> Tensor:
    """The distribution at ``temperature``: softmax(log p / τ), as log-probabilities of the same shape.

    Log-probabilities differ from logits by a constant per token, which the softmax cancels.
    """
    if temperature == 1.0:
        return log_probs
    return torch.log_softmax(log_probs / temperature, dim=-1)


def buckets(log_probs: Tensor, index: Tensor) -> Tensor:
    """Log-probabilities of the symbols ``index``, shape (tokens, k), and of all the rest: shape (tokens, k + 1)."""
    # log(1 − Σ top) cancels badly where the tail is small; summing the tail itself does not.
    tail = log_probs.scatter(-1, index, float("-inf")).logsumexp(dim=-1, keepdim=True)
    return torch.cat([log_probs.gather(-1, index), tail], dim=-1)


def top_k_and_tail(teacher_log_probs: Tensor, student_log_probs: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """Both distributions over the teacher's ``k`` likeliest symbols and one bucket for all the rest.

    Returns two tensors of shape (tokens, k + 1), or the arguments where ``k`` is 0 (all) or leaves out at most one
    symbol. The buckets keep the mass, so both sides remain distributions: a divergence is still 0 at p = q, and by
    the data-processing inequality at most the full one.
    """
    if k == 0 or k + 1 >= teacher_log_probs.size(-1):
        return teacher_log_probs, student_log_probs
    index = teacher_log_probs.topk(k, dim=-1).indices
    return buckets(teacher_log_probs, index), buckets(student_log_probs, index)
