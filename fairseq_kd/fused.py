"""Projection, softmax and loss over chunks of tokens, the gradient computed on the way forward.

Nothing of size tokens × vocabulary ever exists, on either side: a chunk's logits are made, turned into the gradient in
place, multiplied back onto features and weights, and forgotten. Besides memory this saves time on every device whose
cache or bandwidth is the limit.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from fairseq_kd.chunk_loss import NextTokens, Objective, TeacherAnswer, TopK, chunk_loss, mean_log_probs, teacher_chunk
from fairseq_kd.divergences import temper, top_k_and_tail

CHUNK_MEMORY = {"cpu": 4, "cuda": 256}
"""Default size of one chunk's logits in MiB: on a CPU what its cache holds, on a GPU what keeps it busy."""


@dataclass(frozen=True)
class Losses:
    """Sums over tokens, scalars in nats; only ``loss`` carries a gradient."""

    loss: Tensor
    nll_loss: Tensor
    soft_loss: Tensor
    agreed: Tensor
    """Tokens whose likeliest symbol is the same for teacher and student."""


def fused_loss(
    student: NextTokens,
    target: Tensor,
    objective: Objective,
    teacher: TeacherAnswer | None = None,
    chunk_memory: float = 0,
    log_odds: Tensor | None = None,
) -> Losses:
    """The loss of all tokens and, if anything requires it, the gradient of the student's features and projection.

    Args:
        student: over the real tokens (no padding), (tokens, …).
        target: gold symbols, shape (tokens,).
        objective: the loss.
        teacher: the same tokens' answer; None where the soft part is not wanted.
        chunk_memory: MiB that one chunk's logits may take (a chunk needs two to four times as much); 0: the device's
            default, and at least 128 tokens.
        log_odds: third argument of the objective's divergence, shape (tokens,); it too gets its gradient.
    """
    chunk = chunk_tokens(student.vocabulary, student.features.device, chunk_memory)
    # Autocast would choose a dtype for each product; here the features' own decides, as autocast left them.
    with torch.autocast(student.features.device.type, enabled=False):
        loss, sums = _Fused.apply(  # type: ignore[no-untyped-call]
            *(student.features, student.weight, student.bias, log_odds),
            *(target, objective, teacher, chunk, torch.is_grad_enabled()),
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
        log_odds: Tensor | None,
        target: Tensor,
        objective: Objective,
        teacher: TeacherAnswer | None,
        chunk: int,
        with_gradient: bool,
    ) -> tuple[Tensor, Tensor]:
        student = NextTokens(features, weight, bias)
        gradients = _Gradients(student, ctx.needs_input_grad if with_gradient else (False,) * 3)
        odds = None if log_odds is None else log_odds.detach().requires_grad_()
        sums = torch.zeros(4, dtype=torch.float64, device=features.device)
        own, theirs = student.room(chunk), None
        if isinstance(teacher, Sequence) and len(teacher) == 1:
            theirs = teacher[0].room(chunk)
        for rows in _chunks(len(target), chunk):
            answer = teacher_chunk(teacher, rows, objective, theirs)
            values, slope = chunk_loss(student.logits(rows, own), target[rows], answer, _at(objective, odds, rows))
            sums += torch.stack([value.sum(dtype=torch.float64) for value in values])
            gradients.add(rows, slope)
        ctx.gradients = gradients.result()
        ctx.gradients.append(
            None if odds is None or odds.grad is None else (odds.grad * objective.soft_weight, odds.dtype)
        )
        loss = sums[0].to(torch.promote_types(features.dtype, torch.float32))
        rest = sums[1:].to(loss.dtype)
        ctx.mark_non_differentiable(rest)
        return loss, rest

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, loss_gradient: Tensor, _: Tensor) -> tuple[Tensor | None, ...]:
        # Scaled before it is narrowed: fp16's loss scale is what keeps small gradients from vanishing.
        scaled = (None if one is None else (one[0] * loss_gradient).to(one[1]) for one in ctx.gradients)
        return (*scaled, None, None, None, None, None)


def _at(objective: Objective, odds: Tensor | None, rows: slice) -> Objective:
    """The objective of these rows. Their log-odds are cut out where the divergence is taken, under autograd."""
    if odds is None:
        return objective
    return replace(objective, divergence=lambda teacher, student: objective.divergence(teacher, student, odds[rows]))


def token_nll(student: NextTokens, target: Tensor, chunk_memory: float = 0) -> Tensor:
    """−log q of each target symbol, shape (tokens,), in nats and with a gradient; chunk by chunk, made twice for it.

    Args:
        student: the tokens' distributions, (tokens, …).
        target: symbols, shape (tokens,).
        chunk_memory: as for :func:`fused_loss`.
    """
    chunk = chunk_tokens(student.vocabulary, student.features.device, chunk_memory)
    with torch.autocast(student.features.device.type, enabled=False):
        return _TokenNLL.apply(student.features, student.weight, student.bias, target, chunk)  # type: ignore


class _TokenNLL(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, features: Tensor, weight: Tensor | None, bias: Tensor | None, target: Tensor, chunk: int
    ) -> Tensor:
        ctx.save_for_backward(features, weight, bias, target)
        ctx.chunk = chunk
        student, parts = NextTokens(features, weight, bias), []
        room = student.room(chunk)
        for rows in _chunks(len(target), chunk):
            logits = student.logits(rows, room)
            parts.append(logits.logsumexp(dim=-1) - logits.gather(1, target[rows, None]).squeeze(1))
        return torch.cat(parts)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, nll_gradient: Tensor) -> tuple[Tensor | None, ...]:
        features, weight, bias, target = ctx.saved_tensors
        student = NextTokens(features, weight, bias)
        gradients, room = _Gradients(student, ctx.needs_input_grad), student.room(ctx.chunk)
        for rows in _chunks(len(target), ctx.chunk):
            slope = student.logits(rows, room).softmax(dim=-1)
            slope.scatter_add_(1, target[rows, None], slope.new_full((len(slope), 1), -1.0))
            gradients.add(rows, slope.mul_(nll_gradient[rows, None]))
        narrowed = (None if one is None else one[0].to(one[1]) for one in gradients.result())
        return (*narrowed, None, None)


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


def top_k(models: Sequence[NextTokens], k: int, temperature: float, chunk_memory: float = 0) -> TopK:
    """The answer of one model, or of several as the mean of their probabilities, in short and chunk by chunk."""
    first = models[0]
    chunk = chunk_tokens(first.vocabulary, first.features.device, chunk_memory)
    parts = [
        top_k_and_tail(temper(mean_log_probs(models, rows), temperature), k)
        for rows in _chunks(len(first.features), chunk)
    ]
    return TopK(*(torch.cat(tensors) for tensors in zip(*parts, strict=True)))
