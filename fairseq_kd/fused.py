"""Projection, softmax and loss over chunks of tokens, the gradient computed on the way forward.

Nothing of size tokens × vocabulary ever exists, on either side: a chunk's logits are made, turned into the gradient in
place, multiplied back onto features and weights, and forgotten. Besides memory this saves time on every device whose
cache or bandwidth is the limit.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from fairseq_kd.divergences import Divergence, cross_entropy, temper, top_k_and_tail

CHUNK_MEMORY = {"cpu": 4, "cuda": 256}
"""Default size of one chunk's logits in MiB: on a CPU what its cache holds, on a GPU what keeps it busy."""


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
class TopK:
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
        top_k: keep the teacher's k likeliest symbols and a bucket for the rest; 0 is all.
    """

    hard_weight: float = 1.0
    label_smoothing: float = 0.0
    soft_weight: float = 0.0
    divergence: Divergence = cross_entropy
    temperature: float = 1.0
    top_k: int = 0


@dataclass(frozen=True)
class Losses:
    """Sums over tokens, scalars in nats; only ``loss`` carries a gradient."""

    loss: Tensor
    nll_loss: Tensor
    soft_loss: Tensor
    agreed: Tensor
    """Tokens whose likeliest symbol is the same for teacher and student."""


TeacherAnswer = Sequence[NextTokens] | TopK
"""Several models count as the mean of their probabilities."""


def fused_loss(
    student: NextTokens,
    target: Tensor,
    objective: Objective,
    teacher: TeacherAnswer | None = None,
    chunk_memory: float = 0,
) -> Losses:
    """The loss of all tokens and, if anything requires it, the gradient of the student's features and projection.

    Args:
        student: over the real tokens (no padding), (tokens, …).
        target: gold symbols, shape (tokens,).
        objective: the loss.
        teacher: the same tokens' answer; None where the soft part is not wanted.
        chunk_memory: MiB that one chunk's logits may take (a chunk needs two to four times as much); 0: the device's
            default, and at least 128 tokens.
    """
    chunk = chunk_tokens(student.vocabulary, student.features.device, chunk_memory)
    # Autocast would choose a dtype for each product; here the features' own decides, as autocast left them.
    with torch.autocast(student.features.device.type, enabled=False):
        loss, sums = _Fused.apply(  # type: ignore[no-untyped-call]
            student.features, student.weight, student.bias, target, objective, teacher, chunk, torch.is_grad_enabled()
        )
    return Losses(loss, *sums)


def chunk_tokens(vocabulary: int, device: torch.device, chunk_memory: float = 0) -> int:
    """How many tokens a chunk has whose float32 logits fit ``chunk_memory`` MiB."""
    if chunk_memory:
        return max(1, int(chunk_memory * 2**20 / (4 * vocabulary)))
    # Below 128 tokens reading and writing the weight's gradient, once a chunk, costs more than the cache saves.
    return max(128, int(CHUNK_MEMORY.get(device.type, 256) * 2**20 / (4 * vocabulary)))


class _Fused(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        features: Tensor,
        weight: Tensor | None,
        bias: Tensor | None,
        target: Tensor,
        objective: Objective,
        teacher: TeacherAnswer | None,
        chunk: int,
        with_gradient: bool,
    ) -> tuple[Tensor, Tensor]:
        student = NextTokens(features, weight, bias)
        gradients = _Gradients(student, ctx.needs_input_grad if with_gradient else (False,) * 3)
        sums = torch.zeros(4, dtype=torch.float64, device=features.device)
        own, theirs = student.room(chunk), None
        if isinstance(teacher, Sequence) and len(teacher) == 1:
            theirs = teacher[0].room(chunk)
        for rows in _chunks(len(target), chunk):
            answer = _teacher_chunk(teacher, rows, objective, theirs)
            values, slope = _chunk_loss(student.logits(rows, own), target[rows], answer, objective)
            sums += torch.stack([value.sum(dtype=torch.float64) for value in values])
            gradients.add(rows, slope)
        ctx.gradients = gradients.result()
        loss = sums[0].to(torch.promote_types(features.dtype, torch.float32))
        rest = sums[1:].to(loss.dtype)
        ctx.mark_non_differentiable(rest)
        return loss, rest

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, loss_gradient: Tensor, _: Tensor) -> tuple[Tensor | None, ...]:
        def scaled(gradient: tuple[Tensor, torch.dtype] | None) -> Tensor | None:
            # Scaled before it is narrowed: fp16's loss scale is what keeps small gradients from vanishing.
            return None if gradient is None else (gradient[0] * loss_gradient).to(gradient[1])

        return (*map(scaled, ctx.gradients), None, None, None, None, None)


class _Gradients:
    """Gradients of features, weight and bias, summed chunk by chunk in float32 or wider."""

    def __init__(self, student: NextTokens, needed: Sequence[bool]):
        self.student = student
        self.features, self.weight, self.bias = (
            torch.zeros(tensor.shape, dtype=torch.promote_types(tensor.dtype, torch.float32), device=tensor.device)
            if need and tensor is not None
            else None
            for need, tensor in zip(needed, (student.features, student.weight, student.bias), strict=False)
        )

    def add(self, rows: slice, slope: Tensor) -> None:
        """Take in ``slope``, the loss's gradient with respect to these rows' logits."""
        if self.student.weight is None:
            if self.features is not None:
                self.features[rows] = slope
            return
        if self.bias is not None:
            self.bias += slope.sum(dim=0)
        # bfloat16 has float32's range, so the products may be as narrow as the features; float16 would lose the
        # gradients of unlikely symbols, which no loss scale has lifted yet.
        narrow = self.student.features.dtype
        narrow = slope.dtype if narrow == torch.float16 else narrow
        slope = slope.to(narrow)
        if self.features is not None:
            self.features[rows] = torch.mm(slope, self.student.weight.to(narrow))
        if self.weight is not None:
            features = self.student.features[rows].to(narrow)
            if narrow == self.weight.dtype:
                self.weight.addmm_(slope.t(), features)
            else:
                self.weight += torch.mm(slope.t(), features)

    def result(self) -> list[tuple[Tensor, torch.dtype] | None]:
        """Each gradient, or None, with the dtype it has to have in the end."""
        own = (self.student.features, self.student.weight, self.student.bias)
        sums = (self.features, self.weight, self.bias)
        return [
            None if total is None or tensor is None else (total, tensor.dtype)
            for total, tensor in zip(sums, own, strict=True)
        ]


def _chunks(tokens: int, size: int) -> Iterator[slice]:
    return (slice(start, min(start + size, tokens)) for start in range(0, tokens, size))


def _teacher_chunk(
    teacher: TeacherAnswer | None, rows: slice, objective: Objective, room: Tensor | None
) -> Tensor | TopK | None:
    """A chunk of the answer at the objective's temperature: the likeliest symbols, or logits (rows, vocabulary)."""
    if teacher is None:
        return None
    if isinstance(teacher, TopK):
        return TopK(teacher.ids[rows], teacher.log_probs[rows])
    # Log-probabilities are logits too.
    answer = teacher[0].logits(rows, room) if len(teacher) == 1 else mean_log_probs(teacher, rows)
    if objective.temperature != 1.0:
        answer /= objective.temperature
    if 0 < objective.top_k < answer.size(-1) - 1:
        return TopK(*top_k_and_tail(torch.log_softmax(answer, dim=-1), objective.top_k))
    return answer


def mean_log_probs(models: Sequence[NextTokens], rows: slice) -> Tensor:
    """Log of the mean of the models' probabilities, float32 or wider, shape (rows, vocabulary)."""
    answers = [torch.log_softmax(model.logits(rows), dim=-1) for model in models]
    if len(answers) == 1:
        return answers[0]
    return torch.logsumexp(torch.stack(answers), dim=0) - math.log(len(answers))


def top_k(models: Sequence[NextTokens], k: int, temperature: float, chunk_memory: float = 0) -> TopK:
    """The answer of one model, or of several as the mean of their probabilities, in short and chunk by chunk."""
    first = models[0]
    chunk = chunk_tokens(first.vocabulary, first.features.device, chunk_memory)
    parts = [
        top_k_and_tail(temper(mean_log_probs(models, rows), temperature), k)
        for rows in _chunks(len(first.features), chunk)
    ]
    return TopK(*(torch.cat(tensors) for tensors in zip(*parts, strict=True)))


Part = tuple[Tensor, Tensor, Tensor]
"""Log-sum-exp (rows,), divergence (rows,), and the gradient with respect to the logits (rows, vocabulary)."""


def _chunk_loss(
    logits: Tensor, target: Tensor, teacher: Tensor | TopK | None, objective: Objective
) -> tuple[tuple[Tensor, ...], Tensor]:
    """Loss, NLL, divergence and agreement of each row, and the gradient; ``logits`` are overwritten."""
    smoothing = objective.label_smoothing / (logits.size(-1) - 1)
    on_gold = 1 - objective.label_smoothing - smoothing
    gold = logits.gather(1, target[:, None]).squeeze(1)
    everywhere = logits.sum(dim=-1) if smoothing else gold
    agreed = _agreement(logits, teacher)
    log_sum, divergence, slope = _parts(logits, teacher, objective)
    nll = log_sum - gold
    # -sum_k log q(k) is what fairseq's label smoothing adds to the NLL, weighted by `smoothing`.
    hard = on_gold * nll + smoothing * (logits.size(-1) * log_sum - everywhere)
    loss = objective.hard_weight * hard + objective.soft_weight * divergence
    if smoothing:
        slope -= objective.hard_weight * smoothing
    slope.scatter_add_(1, target[:, None], slope.new_full((len(target), 1), -objective.hard_weight * on_gold))
    return (loss, nll, divergence, agreed), slope


def _agreement(logits: Tensor, teacher: Tensor | TopK | None) -> Tensor:
    if teacher is None:
        return torch.zeros_like(logits[:, 0])
    best = logits.amax(dim=-1, keepdim=True)
    if isinstance(teacher, TopK):
        return logits.gather(1, teacher.ids[:, :1]).eq(best).squeeze(1)
    # Two comparisons cost a fraction of an argmax on a CPU.
    return logits.eq(best).logical_and_(teacher.eq(teacher.amax(dim=-1, keepdim=True))).any(dim=-1)


def _parts(logits: Tensor, teacher: Tensor | TopK | None, objective: Objective) -> Part:
    """What is left when the gold symbol's own entry is taken out: hard_weight · q is its share of the gradient."""
    hard, soft, temperature = objective.hard_weight, objective.soft_weight, objective.temperature
    if teacher is None:
        return _plain(logits, hard)
    if temperature == 1.0:
        return _soft_part(logits, hard, teacher, soft, objective.divergence)
    _, divergence, soft_slope = _soft_part(logits / temperature, 0.0, teacher, soft / temperature, objective.divergence)
    log_sum, _, slope = _plain(logits, hard)
    return log_sum, divergence, slope.add_(soft_slope)


def _plain(logits: Tensor, hard: float) -> Part:
    top, total = _exponentials(logits)
    return (top + total.log()).squeeze(1), torch.zeros_like(top[:, 0]), logits.mul_(hard / total)


def _exponentials(logits: Tensor) -> tuple[Tensor, Tensor]:
    """Turn logits into exp(logits − their maximum), in place; the maximum and the sum, both (rows, 1)."""
    top = logits.amax(dim=-1, keepdim=True)
    return top, logits.sub_(top).exp_().sum(dim=-1, keepdim=True)


def _soft_part(logits: Tensor, hard: float, teacher: Tensor | TopK, soft: float, divergence: Divergence) -> Part:
    if isinstance(teacher, TopK):
        return _buckets(logits, hard, teacher, soft, divergence)
    if divergence is cross_entropy:
        return _cross_entropy(logits, hard, teacher, soft)
    with torch.enable_grad():
        leaf = logits.clone().requires_grad_()
        values = divergence(torch.log_softmax(teacher, dim=-1), torch.log_softmax(leaf, dim=-1))
        (soft_slope,) = torch.autograd.grad(values.sum(), leaf)
    log_sum, _, slope = _plain(logits, hard)
    return log_sum, values.detach(), slope.add_(soft_slope, alpha=soft)


def _cross_entropy(logits: Tensor, hard: float, teacher: Tensor, soft: float) -> Part:
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


def _buckets(logits: Tensor, hard: float, teacher: TopK, soft: float, divergence: Divergence) -> Part:
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
