"""One chunk of tokens: what models say about it, what is wanted, and the loss with its gradient."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from fairseq_kd.losses.divergences import Divergence, cross_entropy
from fairseq_kd.losses.truncation import truncate


@dataclass(frozen=True)
class NextTokens:
    """A model's next-token distributions before the softmax, as features and the projection that makes them logits.

    Attributes:
        features: shape (tokens, width); or, where ``weight`` is None, the logits, shape (tokens, vocabulary).
        weight: of the output projection, shape (vocabulary, width).
        bias: of the output projection, shape (vocabulary,), or None.
    """

    features: Tensor
    weight: Tensor | None = None
    bias: Tensor | None = None

    @property
    def vocabulary(self) -> int:
        """Number of symbols."""
        return (self.features if self.weight is None else self.weight).size(-1 if self.weight is None else 0)

    def logits(self, rows: slice, room: Tensor | None = None) -> Tensor:
        """Logits of these tokens, float32 or wider, shape (rows, vocabulary); the caller's to overwrite.

        Args:
            rows: which tokens.
            room: memory for them where they are not narrower than float32, as :meth:`room` gives it.
        """
        features = self.features[rows]
        wide = torch.promote_types(features.dtype, torch.float32)
        if self.weight is None:
            return features.to(wide, copy=True)
        weight = self.weight.to(features.dtype)
        out = None if room is None or wide != features.dtype else room[: len(features)]
        if self.bias is None:
            return torch.mm(features, weight.t(), out=out).to(wide)
        return torch.addmm(self.bias.to(features.dtype), features, weight.t(), out=out).to(wide)

    def room(self, chunk: int) -> Tensor | None:
        """Memory for the logits of a chunk. Reused, it is not faulted in page by page for every chunk."""
        if self.weight is None:
            return None
        size = (min(chunk, len(self.features)), self.vocabulary)
        return self.features.new_empty(size, dtype=torch.promote_types(self.features.dtype, torch.float32))


@dataclass(frozen=True)
class Truncated:
    """A teacher's answer in short: its likeliest symbols, and one bucket for all the rest.

    Attributes:
        ids: shape (tokens, k), likeliest first.
        log_probs: shape (tokens, k + 1), the last column the bucket's.
    """

    ids: Tensor
    log_probs: Tensor


@dataclass(frozen=True)
class Objective:
    """hard_weight · label-smoothed NLL + soft_weight · divergence(teacher, student), both at their own temperature.

    Attributes:
        hard_weight: of the gold target's part.
        label_smoothing: fairseq's: every symbol gets ε / (vocabulary − 1), the target 1 − ε.
        soft_weight: of the teacher's part.
        divergence: what is taken between the teacher's distribution and the student's.
        temperature: of both in the soft part. (Hinton et al. 2015's τ² is the caller's to put into ``soft_weight``.)
        kept: keep the teacher's k likeliest symbols and a bucket for the rest; 0 is all.
    """

    hard_weight: float = 1.0
    label_smoothing: float = 0.0
    soft_weight: float = 0.0
    divergence: Divergence = cross_entropy
    temperature: float = 1.0
    kept: int = 0


TeacherAnswer = Sequence[NextTokens] | Truncated
"""Several models count as the mean of their probabilities."""


def teacher_chunk(
    teacher: TeacherAnswer | None, rows: slice, objective: Objective, room: Tensor | None
) -> Tensor | Truncated | None:
    """A chunk of the answer at the objective's temperature: the likeliest symbols, or logits (rows, vocabulary)."""
    if teacher is None:
        return None
    if isinstance(teacher, Truncated):
        return Truncated(teacher.ids[rows], teacher.log_probs[rows])
    # Log-probabilities are logits too.
    answer = teacher[0].logits(rows, room) if len(teacher) == 1 else mean_log_probs(teacher, rows)
    if objective.temperature != 1.0:
        answer /= objective.temperature
    if 0 < objective.kept < answer.size(-1) - 1:
        return Truncated(*truncate(torch.log_softmax(answer, dim=-1), objective.kept))
    return answer


def mean_log_probs(models: Sequence[NextTokens], rows: slice) -> Tensor:
    """Log of the mean of the models' probabilities, float32 or wider, shape (rows, vocabulary)."""
    answers = [torch.log_softmax(model.logits(rows), dim=-1) for model in models]
    if len(answers) == 1:
        return answers[0]
    return torch.logsumexp(torch.stack(answers), dim=0) - math.log(len(answers))


RowTerms = tuple[Tensor, Tensor, Tensor]
"""Log-sum-exp (rows,), divergence (rows,), and the gradient with respect to the logits (rows, vocabulary)."""


def chunk_loss(
    logits: Tensor, target: Tensor, teacher: Tensor | Truncated | None, objective: Objective
) -> tuple[tuple[Tensor, ...], Tensor]:
    """Loss, NLL, divergence and agreement of each row, and the gradient; ``logits`` are overwritten."""
    smoothing = objective.label_smoothing / (logits.size(-1) - 1)
    on_gold = 1 - objective.label_smoothing - smoothing
    gold = logits.gather(1, target[:, None]).squeeze(1)
    everywhere = logits.sum(dim=-1) if smoothing else gold
    agreed = _agreement(logits, teacher)
    log_sum, divergence, slope = _row_terms(logits, teacher, objective)
    nll = log_sum - gold
    # -sum_k log q(k) is what fairseq's label smoothing adds to the NLL, weighted by `smoothing`.
    hard = on_gold * nll + smoothing * (logits.size(-1) * log_sum - everywhere)
    loss = objective.hard_weight * hard + objective.soft_weight * divergence
    if smoothing:
        slope -= objective.hard_weight * smoothing
    slope.scatter_add_(1, target[:, None], slope.new_full((len(target), 1), -objective.hard_weight * on_gold))
    return (loss, nll, divergence, agreed), slope


def _agreement(logits: Tensor, teacher: Tensor | Truncated | None) -> Tensor:
    if teacher is None:
        return torch.zeros_like(logits[:, 0])
    best = logits.amax(dim=-1, keepdim=True)
    if isinstance(teacher, Truncated):
        return logits.gather(1, teacher.ids[:, :1]).eq(best).squeeze(1)
    # Two comparisons cost a fraction of an argmax on a CPU.
    return logits.eq(best).logical_and_(teacher.eq(teacher.amax(dim=-1, keepdim=True))).any(dim=-1)


def _row_terms(logits: Tensor, teacher: Tensor | Truncated | None, objective: Objective) -> RowTerms:
    """What is left when the gold symbol's own entry is taken out: hard_weight · q is its share of the gradient."""
    hard, soft, temperature = objective.hard_weight, objective.soft_weight, objective.temperature
    if teacher is None:
        return _plain(logits, hard)
    if temperature == 1.0:
        return _soft_terms(logits, hard, teacher, soft, objective.divergence)
    _, divergence, soft_slope = _soft_terms(
        logits / temperature, 0.0, teacher, soft / temperature, objective.divergence
    )
    log_sum, _, slope = _plain(logits, hard)
    return log_sum, divergence, slope.add_(soft_slope)


def _plain(logits: Tensor, hard: float) -> RowTerms:
    top, total = _exponentials(logits)
    return (top + total.log()).squeeze(1), torch.zeros_like(top[:, 0]), logits.mul_(hard / total)


def _exponentials(logits: Tensor) -> tuple[Tensor, Tensor]:
    """Turn logits into exp(logits − their maximum), in place; the maximum and the sum, both (rows, 1)."""
    top = logits.amax(dim=-1, keepdim=True)
    return top, logits.sub_(top).exp_().sum(dim=-1, keepdim=True)


def _soft_terms(
    logits: Tensor, hard: float, teacher: Tensor | Truncated, soft: float, divergence: Divergence
) -> RowTerms:
    if isinstance(teacher, Truncated):
        return _buckets(logits, hard, teacher, soft, divergence)
    if divergence is cross_entropy:
        return _cross_entropy(logits, hard, teacher, soft)
    with torch.enable_grad():
        leaf = logits.clone().requires_grad_()
        values = divergence(torch.log_softmax(teacher, dim=-1), torch.log_softmax(leaf, dim=-1))
        # Not autograd.grad: a divergence may have leaves of its own, as the mixture of sequences.
        values.sum().backward()
        assert leaf.grad is not None
    log_sum, _, slope = _plain(logits, hard)
    return log_sum, values.detach(), slope.add_(leaf.grad, alpha=soft)


def _cross_entropy(logits: Tensor, hard: float, teacher: Tensor, soft: float) -> RowTerms:
    """−Σ p·log q = log-sum-exp − Σ p·logit, its gradient q − p: one softmax serves both parts of the loss."""
    p = torch.softmax(teacher, dim=-1)
    expected = _dot(p, logits)
    if not expected.isfinite().all():
        # A symbol that p rules out counts nothing, also where its logit is −∞.
        expected = _dot(p, logits.clamp_(min=torch.finfo(logits.dtype).min))
    log_sum, _, slope = _plain(logits, hard + soft)
    return log_sum, log_sum - expected, slope.sub_(p, alpha=soft)


def _dot(one: Tensor, other: Tensor) -> Tensor:
    """Row by row, shape (rows,), in one pass and without a product's memory."""
    return torch.bmm(one.unsqueeze(1), other.unsqueeze(2)).flatten()


def _buckets(logits: Tensor, hard: float, teacher: Truncated, soft: float, divergence: Divergence) -> RowTerms:
    """Any divergence over k symbols and a bucket: beyond the softmax it reads k entries a row, not the vocabulary.

    With G the divergence's gradient over the student's buckets (log-probabilities) and S its sum, a kept symbol's
    logit gets G − q·S and one of the tail G_tail·q/q_tail − q·S: a factor per row, and k entries to put right.
    """
    kept_logits = logits.gather(1, teacher.ids)
    top, total = _exponentials(logits)
    log_sum = top + total.log()
    kept = logits.gather(1, teacher.ids) / total
    # The tail is summed itself: 1 − Σ kept would cancel.
    tail = logits.scatter_(1, teacher.ids, 0.0).sum(dim=-1, keepdim=True).clamp_(min=torch.finfo(logits.dtype).tiny)
    with torch.enable_grad():
        leaf = torch.cat([kept_logits, tail.log() + top], dim=1).sub_(log_sum).requires_grad_()
        values = divergence(teacher.log_probs.to(leaf.dtype), leaf)
        (slope,) = torch.autograd.grad(values.sum(), leaf)
    mass = slope.sum(dim=-1, keepdim=True)
    logits.mul_(hard / total + soft * (slope[:, -1:] / tail - mass / total))
    logits.scatter_(1, teacher.ids, hard * kept + soft * (slope[:, :-1] - kept * mass))
    return log_sum.squeeze(1), values.detach(), logits
