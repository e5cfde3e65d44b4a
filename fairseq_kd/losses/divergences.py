"""The maths of one decoding step: p is the teacher's distribution, q the student's, both over the same symbols.

A divergence is a function of two tensors of log-probabilities, shape (tokens, symbols), float32 or wider, without
padding. It gives one value per token, in nats. Gradients flow into the student's log-probabilities alone.
Log-probabilities below −10⁴ count as −10⁴: a divergence that is infinite by definition is then very large.

An f-divergence is D_f(p‖q) = Σ_k q(k)·f(p(k)/q(k)) with f convex and f(1) = 0 (Wen et al. 2023, eq. 4).
"""

import math
from functools import partial

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from fairseq_kd.losses.family import Family

LOWEST = -1e4


def cross_entropy(teacher_log_probs: Tensor, student_log_probs: Tensor) -> Tensor:
    """−Σ p·log q: the inner sum of Kim & Rush 2016's word-level KD.

    It is KL(p‖q) plus the teacher's entropy, so its gradient is that of the KL and its value at p = q the entropy.
    """
    return -(teacher_log_probs.exp() * _finite(student_log_probs)).sum(dim=-1)


def engine(teacher_log_probs: Tensor, student_log_probs: Tensor) -> Tensor:
    """−Σ q·log p: the reverse KL without the student's entropy (ENGINE; Tu et al. 2020)."""
    return -(student_log_probs.exp() * _finite(teacher_log_probs)).sum(dim=-1)


def kl(teacher_log_probs: Tensor, student_log_probs: Tensor) -> Tensor:
    """KL(p‖q) = Σ p·(log p − log q)."""
    return _expected_log_ratio(teacher_log_probs, student_log_probs)


def rkl(teacher_log_probs: Tensor, student_log_probs: Tensor) -> Tensor:
    """KL(q‖p) = Σ q·(log q − log p)."""
    return _expected_log_ratio(student_log_probs, teacher_log_probs)


def tvd(teacher_log_probs: Tensor, student_log_probs: Tensor) -> Tensor:
    """Total variation distance ½·Σ |p − q|, between 0 and 1."""
    return (teacher_log_probs.exp() - student_log_probs.exp()).abs().sum(dim=-1) / 2


def hellinger(teacher_log_probs: Tensor, student_log_probs: Tensor) -> Tensor:
    """Squared Hellinger distance ½·Σ (√p − √q)², between 0 and 1."""
    one, other = ((_finite(side) / 2).exp() for side in (teacher_log_probs, student_log_probs))
    return (one - other).square().sum(dim=-1) / 2


def skew_kl(teacher_log_probs: Tensor, student_log_probs: Tensor, weight: float) -> Tensor:
    """KL(p‖λ·p + (1−λ)·q): the KL against a student that is mixed with the teacher (Ko et al. 2024, DistiLLM)."""
    return kl(teacher_log_probs, mixture(teacher_log_probs, student_log_probs, weight))


def skew_rkl(teacher_log_probs: Tensor, student_log_probs: Tensor, weight: float) -> Tensor:
    """KL(q‖(1−λ)·p + λ·q): the reverse KL against a teacher that is mixed with the student (Ko et al. 2024)."""
    return kl(student_log_probs, mixture(student_log_probs, teacher_log_probs, weight))


def generalized_js(
    teacher_log_probs: Tensor, student_log_probs: Tensor, log_odds: Tensor | None = None, *, weight: float
) -> Tensor:
    """β·KL(p‖m) + (1−β)·KL(q‖m) with m = β·p + (1−β)·q (Agarwal et al. 2024, GKD); JS at β = ½.

    With ``log_odds``, shape (tokens,), m is the mixture of :func:`sequence_log_odds`.
    """
    middle = _middle(teacher_log_probs, student_log_probs, log_odds, weight)
    return weight * kl(teacher_log_probs, middle) + (1 - weight) * kl(student_log_probs, middle)


def alpha(teacher_log_probs: Tensor, student_log_probs: Tensor, weight: float) -> Tensor:
    """(Σ p^α·q^(1−α) − 1) / (α·(α−1)), Amari's family between the reverse KL (α → 0) and the KL (α → 1)."""
    powers = weight * _finite(teacher_log_probs) + (1 - weight) * _finite(student_log_probs)
    return (powers.exp().sum(dim=-1) - 1) / (weight * (weight - 1))


def mixture(one_log_probs: Tensor, other_log_probs: Tensor, weight: float) -> Tensor:
    """Log-probabilities of ``weight`` · one + (1 − ``weight``) · other, same shape; the weight is in [0, 1)."""
    if weight == 0:
        return other_log_probs
    return torch.logaddexp(_finite(one_log_probs) + math.log(weight), _finite(other_log_probs) + math.log1p(-weight))


def sequence_log_odds(
    teacher_log_probs: Tensor, student_log_probs: Tensor, lengths: Tensor, weight: float = 0.5
) -> Tensor:
    """The log-odds that turn the step-wise mixture into the mixture of whole sequences (Wen et al. 2023, section 7).

    The mixture m = β·p + (1−β)·q of two distributions over sequences has m(y_t | y_<t) = w·p(y_t | y_<t) +
    (1−w)·q(y_t | y_<t) with w = β·p(y_<t) / (β·p(y_<t) + (1−β)·q(y_<t)). This gives log w/(1−w).

    With them the divergence is exact in value, not in gradient. Gradients flow through the log-odds, but none flows
    through the sampling of the prefixes (Wen et al. 2023, section 7). Between three pairs of toy models whose sequences
    can be enumerated, the gradient had a cosine of 0.93 to 1.00 with the exact gradient, and 1.0 to 3.0 times its norm.

    Args:
        teacher_log_probs: log p(y_t | y_<t) of each sequence's own symbols, one sequence after the other, (tokens,).
        student_log_probs: log q(y_t | y_<t) of the same symbols, shape (tokens,).
        lengths: each sequence's number of tokens, shape (sequences,).
        weight: β.

    Returns:
        Shape (tokens,).
    """
    gained = teacher_log_probs - student_log_probs
    # Sums before each token, over all sequences one after the other; less the sum before its sequence's first token.
    before = gained.double().cumsum(dim=0) - gained.double()
    first = lengths.cumsum(dim=0) - lengths
    prefix = before - before[first].repeat_interleave(lengths)
    return prefix.to(gained.dtype) + math.log(weight) - math.log1p(-weight)


def _middle(teacher_log_probs: Tensor, student_log_probs: Tensor, log_odds: Tensor | None, weight: float) -> Tensor:
    if log_odds is None:
        return mixture(teacher_log_probs, student_log_probs, weight)
    shares = [logsigmoid(sign * log_odds)[:, None] for sign in (1, -1)]
    return torch.logaddexp(_finite(teacher_log_probs) + shares[0], _finite(student_log_probs) + shares[1])


def _expected_log_ratio(own_log_probs: Tensor, other_log_probs: Tensor) -> Tensor:
    """Σ own·(log own − log other)."""
    own = _finite(own_log_probs)
    return (own.exp() * (own - _finite(other_log_probs))).sum(dim=-1)


def _finite(log_probs: Tensor) -> Tensor:
    return log_probs.clamp(min=LOWEST)


def _teacher_to_middle(
    teacher_log_probs: Tensor, student_log_probs: Tensor, log_odds: Tensor | None = None, *, weight: float = 0.5
) -> Tensor:
    return weight * kl(teacher_log_probs, _middle(teacher_log_probs, student_log_probs, log_odds, weight))


def _student_to_middle(
    teacher_log_probs: Tensor, student_log_probs: Tensor, log_odds: Tensor | None = None, *, weight: float = 0.5
) -> Tensor:
    return (1 - weight) * kl(student_log_probs, _middle(teacher_log_probs, student_log_probs, log_odds, weight))


def _u_log(u: float, ratio: float) -> float:
    return u * math.log(ratio) if u else 0.0


def _js_generator(u: float, weight: float = 0.5) -> float:
    middle = weight * u + 1 - weight
    return weight * _u_log(u, u / middle) - (1 - weight) * math.log(middle)


_TO_MIDDLE = (_teacher_to_middle, _student_to_middle)
DIVERGENCES: dict[str, Family] = {
    "cross_entropy": Family(cross_entropy, None, "teacher"),
    "kl": Family(kl, lambda u: _u_log(u, u), "teacher"),
    "rkl": Family(rkl, lambda u: -math.log(u), "student"),
    "js": Family(partial(generalized_js, weight=0.5), _js_generator, "both", halves=_TO_MIDDLE, mixes=True),
    "tvd": Family(tvd, lambda u: abs(u - 1) / 2, "both", bits=False),
    "engine": Family(engine, None, "student"),
    "generalized_js": Family(generalized_js, _js_generator, "both", halves=_TO_MIDDLE, default=0.5, mixes=True),
    "skew_kl": Family(
        skew_kl, lambda u, weight: _u_log(u, u / (weight * u + 1 - weight)), "teacher", default=0.1, takes_zero=True
    ),
    "skew_rkl": Family(
        skew_rkl, lambda u, weight: -math.log((1 - weight) * u + weight), "student", default=0.1, takes_zero=True
    ),
    "alpha": Family(
        alpha, lambda u, weight: (u**weight - 1) / (weight * (weight - 1)), "both", default=0.5, bits=False
    ),
    "hellinger": Family(hellinger, lambda u: (math.sqrt(u) - 1) ** 2 / 2, "both", bits=False),
}
"""The registry: divergences by the names of `--divergence`."""
