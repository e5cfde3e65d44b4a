"""The parts of a chunk's loss that read all logits of a row: the softmax, the divergence and their gradients.

Each function overwrites the student's logits, shape (rows, vocabulary), with the gradient: memory of that size is what
a chunk is short of.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from fairseq_kd.losses.divergences import cross_entropy
from fairseq_kd.losses.family import Divergence
from fairseq_kd.losses.truncation import Truncated

RowTerms = tuple[Tensor, Tensor, Tensor]
"""Log-sum-exp (rows,), divergence (rows,), and the gradient with respect to the logits (rows, vocabulary)."""
Weight = float | Tensor
"""One for all rows, or one for each: then its shape is (rows, 1)."""


def plain_terms(logits: Tensor, hard: Weight) -> RowTerms:
    """The terms where there is no teacher: the divergence is 0 and the gradient ``hard`` · q."""
    top, total = _exponentials(logits)
    return (top + total.log()).squeeze(1), torch.zeros_like(top[:, 0]), logits.mul_(hard / total)


def soft_terms(
    logits: Tensor, hard: Weight, teacher: Tensor | Truncated, soft: Weight, divergence: Divergence
) -> RowTerms:
    """The terms with a teacher: the gradient is ``hard`` · q + ``soft`` · the divergence's.

    Args:
        logits: the student's, shape (rows, vocabulary); they are overwritten.
        hard: weight of q in the gradient.
        teacher: logits, shape (rows, vocabulary), or a truncated distribution.
        soft: weight of the divergence's gradient.
        divergence: a function of the teacher's and the student's log-probabilities.
    """
    if isinstance(teacher, Truncated):
        return _buckets(logits, hard, teacher, soft, divergence)
    if divergence is cross_entropy:
        return _cross_entropy(logits, hard, teacher, soft)
    log_p = torch.log_softmax(teacher, dim=-1)
    values, soft_slope = _with_slope(lambda leaf: divergence(log_p, torch.log_softmax(leaf, dim=-1)), logits)
    log_sum, _, slope = plain_terms(logits, hard)
    return log_sum, values, slope.add_(soft_slope.mul_(soft))


def _with_slope(values: Callable[[Tensor], Tensor], at: Tensor) -> tuple[Tensor, Tensor]:
    """A function's values, shape (rows,), and the gradient of their sum with respect to its argument.

    The function may have leaves of its own, such as a mixture's log-odds: their ``grad`` is added to.
    """
    if torch.compiler.is_compiling():
        # torch.compile cannot trace backward(); a compiled function has no leaves of its own.
        slope, result = torch.func.grad(lambda leaf: (values(leaf).sum(), values(leaf)), has_aux=True)(at)
        return result, slope
    with torch.enable_grad():
        leaf = at.clone().requires_grad_()
        result = values(leaf)
        # backward() and not autograd.grad, for the leaves of the function's own.
        result.sum().backward()
        assert leaf.grad is not None
    return result.detach(), leaf.grad


def _exponentials(logits: Tensor) -> tuple[Tensor, Tensor]:
    """Turn logits into exp(logits − their maximum), in place; returns the maximum and the sum, both (rows, 1)."""
    top = logits.amax(dim=-1, keepdim=True)
    return top, logits.sub_(top).exp_().sum(dim=-1, keepdim=True)


def _cross_entropy(logits: Tensor, hard: Weight, teacher: Tensor, soft: Weight) -> RowTerms:
    """−Σ p·log q = log-sum-exp − Σ p·logit, with gradient q − p: one softmax serves both parts of the loss."""
    p = torch.softmax(teacher, dim=-1)  # (rows, vocabulary)
    # Σ p·logit, (rows,): before the softmax overwrites the logits.
    expected = _dot(p, logits)
    # A compiled function cannot ask; there the second sum is part of the same pass.
    if torch.compiler.is_compiling() or not expected.isfinite().all():
        # 0 · −∞ is NaN: a symbol that p rules out has to count 0, also where its logit is −∞.
        expected = _dot(p, logits.clamp_(min=torch.finfo(logits.dtype).min))
    # The gradient hard·q + soft·(q − p): q once, with both weights, then p.
    log_sum, _, slope = plain_terms(logits, hard + soft)
    # One number is the faster way: a CPU's axpy reads p once.
    scaled = slope.addcmul_(p, soft, value=-1) if isinstance(soft, Tensor) else slope.sub_(p, alpha=soft)
    return log_sum, log_sum - expected, scaled


def _dot(one: Tensor, other: Tensor) -> Tensor:
    """Σ one·other of each row, shape (rows,), in one pass and without memory for the product."""
    if torch.compiler.is_compiling():
        return (one * other).sum(dim=-1)  # one pass too, together with what stands around it
    return torch.bmm(one.unsqueeze(1), other.unsqueeze(2)).flatten()


def _buckets(logits: Tensor, hard: Weight, teacher: Truncated, soft: Weight, divergence: Divergence) -> RowTerms:
    """Any divergence over the k kept symbols and a bucket: after the softmax it reads k entries of a row.

    Let G be the divergence's gradient over the student's k + 1 log-probabilities and S the sum of G. A kept symbol's
    logit gets G − q·S. A symbol in the bucket gets G_bucket·q/q_bucket − q·S: one factor of q for the whole row.
    """
    kept_logits = logits.gather(1, teacher.ids)  # (rows, k), before they are overwritten
    # logits are exp(logit − top) from here on; q = logits / total.
    top, total = _exponentials(logits)  # both (rows, 1)
    log_sum = top + total.log()
    kept = logits.gather(1, teacher.ids) / total  # q of the kept symbols, (rows, k)
    # The bucket's mass times total, (rows, 1), summed from its own symbols: 1 − Σ kept would cancel.
    tail = logits.scatter_(1, teacher.ids, 0.0).sum(dim=-1, keepdim=True).clamp_(min=torch.finfo(logits.dtype).tiny)
    # The student's log-probabilities, (rows, k + 1): the kept symbols', then the bucket's.
    log_q = torch.cat([kept_logits, tail.log() + top], dim=1).sub_(log_sum)
    log_p = teacher.log_probs.to(log_q.dtype)
    values, slope = _with_slope(lambda leaf: divergence(log_p, leaf), log_q)  # slope: G, (rows, k + 1)
    mass = slope.sum(dim=-1, keepdim=True)  # S, (rows, 1)
    # Every symbol of the bucket by the row's one factor; q/q_bucket = logits/tail. The kept symbols are 0 here …
    logits.mul_(hard / total + soft * (slope[:, -1:] / tail - mass / total))
    # … and get their own gradient, k entries a row.
    logits.scatter_(1, teacher.ids, hard * kept + soft * (slope[:, :-1] - kept * mass))
    return log_sum.squeeze(1), values, logits
