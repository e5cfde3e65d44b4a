"""Projection, softmax and loss over chunks of tokens, the gradient computed on the way forward.

No tensor of tokens × vocabulary ever exists, for student or teacher. Each chunk's logits are computed, turned into
their gradient in place, multiplied back onto features and weights, and dropped. This saves memory, and time where a
device's cache or bandwidth is the limit.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from fairseq_kd.losses.chunk import NextTokens, Objective, TeacherAnswer, check_tokens, chunk_loss, flat, teacher_chunk
from fairseq_kd.losses.compiled import compiled_chunk_loss

CHUNK_MEMORY = {"cpu": 4, "cuda": 256}
"""Default size of one chunk's logits in MiB: as much as a CPU's cache holds, or enough to keep a GPU busy."""


@dataclass(frozen=True)
class Losses:
    """Sums over tokens, scalars in nats, and each token's share in them; only ``loss`` carries a gradient."""

    loss: Tensor
    """Sum of the tokens' losses, each times its weight; the other sums are not weighted."""
    nll_loss: Tensor
    soft_loss: Tensor
    agreed: Tensor
    """Number of tokens whose likeliest symbol is the same for teacher and student."""
    hard: Tensor
    """Each token's label-smoothed NLL, shape (tokens,)."""
    divergence: Tensor
    """Each token's divergence, shape (tokens,)."""
    objective: Objective
    """What makes the loss of these two."""
    slopes: Tensor | None
    """Gradient of each token's loss, before its weight, in its features, (tokens, width); None: they need none."""

    @property
    def by_token(self) -> Tensor:
        """Each token's loss before its weight, shape (tokens,)."""
        return self.objective.of(self.hard, self.divergence)


def fused_loss(
    student: NextTokens,
    target: Tensor,
    objective: Objective,
    teacher: TeacherAnswer | None = None,
    chunk_memory: float = 0,
    weights: Tensor | None = None,
    log_odds: Tensor | None = None,
) -> Losses:
    """The loss of all tokens, with a gradient for the student's features and projection.

    Args:
        student: distributions of the real tokens, without padding.
        target: gold symbols, shape (tokens,). A ValueError says where student, target and teacher have other numbers.
        objective: the loss.
        teacher: the same tokens' distributions, float64 only where the student's are; None: the divergence counts 0.
        chunk_memory: MiB that one chunk's logits may take (a chunk needs two to four times as much); 0: the device's
            default, and at least 128 tokens.
        weights: the tokens' weights in the loss, shape (tokens,), without a gradient; None: 1 each.
        log_odds: third argument of the objective's divergence, shape (tokens,), with a gradient.
    """
    check_tokens(student, target, teacher)
    width = 0 if student.weight is None else student.weight.size(1)
    chunk = chunk_tokens(student.vocabulary, student.features.device, chunk_memory, width)
    # Autocast would choose a dtype for each product; here the features' own decides, as autocast left them.
    with torch.autocast(student.features.device.type, enabled=False):
        loss, sums, parts, slopes = _Fused.apply(  # type: ignore[no-untyped-call]
            student.features,
            student.weight,
            student.bias,
            log_odds,
            target,
            objective,
            teacher,
            chunk,
            torch.is_grad_enabled(),
            None if weights is None else weights.detach(),
        )
    nll_loss, soft_loss, agreed = sums
    hard, divergence = parts
    return Losses(loss, nll_loss, soft_loss, agreed, hard, divergence, objective, slopes)


def chunk_tokens(vocabulary: int, device: torch.device, chunk_memory: float = 0, width: int = 0) -> int:
    """Tokens in a chunk whose float32 logits fit ``chunk_memory`` MiB; 0: the device's default and at least 128.

    ``width`` is that of the projection, where its gradient is computed too; 0: there is none.
    """
    if chunk_memory:
        return max(1, int(chunk_memory * 2**20 / (4 * vocabulary)))
    # Below 128 tokens reading and writing the weight's gradient, once a chunk, costs more than the cache saves.
    # On a GPU that is so below half the width: from there on the matrix products take most of the time, and a chunk's
    # logits take half of the memory of the weight's gradient, (vocabulary, width).
    least = max(128, width // 2) if device.type == "cuda" else 128
    return max(least, int(CHUNK_MEMORY.get(device.type, 256) * 2**20 / (4 * vocabulary)))


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
        weights: Tensor | None,
    ) -> tuple[Tensor, Tensor, Tensor, Tensor | None]:
        # Features (tokens, width), weight (vocabulary, width), bias (vocabulary,), odds (tokens,), weights (tokens,).
        student = NextTokens(features, weight, bias)
        gradients = Gradients(student, ctx.needs_input_grad if with_gradient else (False,) * 3, weights)
        # A leaf of its own: each chunk's divergence adds its rows' gradient to odds.grad.
        odds = None if log_odds is None else log_odds.detach().requires_grad_()
        # Sums in float64: loss, NLL, divergence, agreed.
        sums = torch.zeros(4, dtype=torch.float64, device=features.device)
        # Label-smoothed NLL and divergence of each token, (2, tokens).
        parts = features.new_empty((2, len(target)), dtype=torch.promote_types(features.dtype, torch.float32))
        # Student and teacher each compute their logits in the same memory for every chunk.
        own, theirs = student.room(chunk), None
        if isinstance(teacher, Sequence) and len(teacher) == 1:
            theirs = teacher[0].room(chunk)
        # The log-odds collect their gradient outside of what can be compiled.
        compilable = features.is_cuda and odds is None
        for rows in chunks(len(target), chunk):
            own_objective = _at(objective, odds, rows)
            given = target[rows], teacher_chunk(teacher, rows, objective, theirs), own_objective
            logits = partial(student.logits, rows, own)
            # The slope, (rows, vocabulary), is the gradient of the rows' losses, in the memory of their logits.
            found = compiled_chunk_loss(logits, *given) if compilable else chunk_loss(logits(), *given)
            (hard, nll, divergence, agreed), slope = found
            parts[0, rows], parts[1, rows] = hard, divergence
            row_losses = own_objective.of(hard, divergence)
            weighted = row_losses if weights is None else row_losses * weights[rows]
            sums += torch.stack([value.sum(dtype=torch.float64) for value in (weighted, nll, divergence, agreed)])
            # At once: the next chunk's logits overwrite the slope.
            gradients.add(rows, slope)
        ctx.gradients, ctx.weights = gradients.result(), weights
        # odds.grad is of the bare divergence; the loss has soft_weight times it.
        ctx.odds_gradient = None if odds is None or odds.grad is None else odds.grad * flat(objective.soft_weight)
        loss, rest = sums[0].to(parts.dtype), sums[1:].to(parts.dtype)
        # Only the loss is differentiable. The features' gradient is returned as a result, for Losses.slopes.
        results = (rest, parts) if gradients.features is None else (rest, parts, gradients.features)
        ctx.mark_non_differentiable(*results)
        return loss, rest, parts, gradients.features

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, loss_gradient: Tensor, *_: Tensor) -> tuple[Tensor | None, ...]:
        def scaled(gradient: tuple[Tensor, torch.dtype] | None, factor: Tensor) -> Tensor | None:
            # Multiplied before it is narrowed: fp16's loss scale keeps small gradients from vanishing.
            return None if gradient is None else (gradient[0] * factor).to(gradient[1])

        features, *projection = ctx.gradients
        # Weight's and bias's sums have the tokens' weights in them. The rows of features get theirs here: a scalar, or
        # (tokens, 1) with weights.
        per_token = loss_gradient if ctx.weights is None else loss_gradient * ctx.weights[:, None]
        own = (scaled(features, per_token), *(scaled(one, loss_gradient) for one in projection))
        odds = None if ctx.odds_gradient is None else ctx.odds_gradient * per_token.flatten()
        # None for target, objective, teacher, chunk, with_gradient and weights.
        return (*own, odds, *[None] * 6)


def _at(objective: Objective, odds: Tensor | None, rows: slice) -> Objective:
    """The objective of these rows: their weights, and their log-odds in its divergence.

    The log-odds are sliced in the divergence, where autograd records it.
    """
    weights = {"hard_weight": objective.hard_weight, "soft_weight": objective.soft_weight}
    changed: dict[str, Any] = {name: one[rows] for name, one in weights.items() if isinstance(one, Tensor)}
    if odds is not None:
        changed["divergence"] = lambda teacher, student: objective.divergence(teacher, student, odds[rows])
    return replace(objective, **changed) if changed else objective


class Gradients:
    """Gradients of features, weight and bias, summed chunk by chunk in float32 or wider.

    The features' gradient has a row for each token and is without the tokens' weights; the sums over tokens, those of
    weight and bias, are with them.

    Args:
        student: whose features, weight and bias they are.
        needed: whether features, weight and bias need a gradient; more entries are ignored.
        weights: the tokens' weights, shape (tokens,); None: 1 each.
    """

    def __init__(self, student: NextTokens, needed: Sequence[bool], weights: Tensor | None):
        self.student, self.weights = student, weights
        self.features, self.weight, self.bias = (
            torch.zeros(tensor.shape, dtype=torch.promote_types(tensor.dtype, torch.float32), device=tensor.device)
            if need and tensor is not None
            else None
            for need, tensor in zip(needed, (student.features, student.weight, student.bias), strict=False)
        )

    def add(self, rows: slice, slope: Tensor) -> None:
        """Add a chunk: ``slope``, (rows, vocabulary), is the gradient of its losses with respect to its logits."""
        # Where the features are the logits, the slope is their gradient.
        if self.student.weight is None:
            if self.features is not None:
                self.features[rows] = slope
            return
        shares = None if self.weights is None else self.weights[rows].to(slope.dtype)  # (rows,)
        # (vocabulary,): Σ over rows of share · slope, before the slope is narrowed.
        if self.bias is not None:
            self.bias += slope.sum(dim=0) if shares is None else torch.mv(slope.t(), shares)
        # bfloat16 has float32's range, so the products may be as narrow as the features; float16 would lose the
        # gradients of unlikely symbols, which no loss scale has lifted yet.
        narrow = self.student.features.dtype
        narrow = slope.dtype if narrow == torch.float16 else narrow
        slope = slope.to(narrow)
        # (rows, vocabulary) @ (vocabulary, width).
        if self.features is not None:
            self.features[rows] = torch.mm(slope, self.student.weight.to(narrow))
        if self.weight is not None:
            # (vocabulary, rows) @ (rows, width). The shares multiply the features: the smaller tensor.
            features = self.student.features[rows]
            features = (features if shares is None else features * shares[:, None]).to(narrow)
            # Added in place where the dtypes agree: no second tensor of the weight's size.
            if narrow == self.weight.dtype:
                self.weight.addmm_(slope.t(), features)
            else:
                self.weight += torch.mm(slope.t(), features)

    def result(self) -> list[tuple[Tensor, torch.dtype] | None]:
        """Each gradient with the dtype of its tensor, to which the caller narrows it; None where it is not needed."""
        own = (self.student.features, self.student.weight, self.student.bias)
        sums = (self.features, self.weight, self.bias)
        return [
            None if total is None or tensor is None else (total, tensor.dtype)
            for total, tensor in zip(sums, own, strict=True)
        ]


def chunks(tokens: int, size: int) -> Iterator[slice]:
    """The rows of each chunk of ``size`` tokens; the last may be shorter."""
    return (slice(start, min(start + size, tokens)) for start in range(0, tokens, size))
