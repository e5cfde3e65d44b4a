"""What a model says of each token, in brief: made chunk by chunk, so that no tensor of tokens × vocabulary exists."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from fairseq_kd.losses.chunk import NextTokens, Objective, TeacherAnswer, Truncated, chunk_loss, mean_log_probs
from fairseq_kd.losses.fused import Gradients, chunk_tokens, chunks
from fairseq_kd.losses.truncation import temper, truncate


def token_nll(model: NextTokens, target: Tensor, chunk_memory: float = 0) -> Tensor:
    """−log q of each target symbol, shape (tokens,), in nats and with a gradient, for which all is made again.

    Args:
        model: the tokens' distributions, (tokens, …).
        target: symbols, shape (tokens,).
        chunk_memory: as for :func:`fairseq_kd.losses.fused.fused_loss`.
    """
    chunk = chunk_tokens(model.vocabulary, model.features.device, chunk_memory)
    with torch.autocast(model.features.device.type, enabled=False):
        return _TokenNLL.apply(model.features, model.weight, model.bias, target, chunk)  # type: ignore


class _TokenNLL(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, features: Tensor, weight: Tensor | None, bias: Tensor | None, target: Tensor, chunk: int
    ) -> Tensor:
        ctx.save_for_backward(features, weight, bias, target)
        ctx.chunk = chunk
        model, parts = NextTokens(features, weight, bias), []
        room = model.room(chunk)
        for rows in chunks(len(target), chunk):
            logits = model.logits(rows, room)
            parts.append(logits.logsumexp(dim=-1) - logits.gather(1, target[rows, None]).squeeze(1))
        return torch.cat(parts)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, nll_gradient: Tensor) -> tuple[Tensor | None, ...]:
        features, weight, bias, target = ctx.saved_tensors
        model = NextTokens(features, weight, bias)
        gradients, room = Gradients(model, ctx.needs_input_grad, nll_gradient), model.room(ctx.chunk)
        for rows in chunks(len(target), ctx.chunk):
            gradients.add(rows, chunk_loss(model.logits(rows, room), target[rows], None, Objective())[1])
        if gradients.features is not None:
            gradients.features *= nll_gradient[:, None]
        narrowed = (None if one is None else one[0].to(one[1]) for one in gradients.result())
        return (*narrowed, None, None)


def truncated(models: Sequence[NextTokens], k: int, temperature: float, chunk_memory: float = 0) -> Truncated:
    """The answer of one model, or of several as the mean of their probabilities, in short and chunk by chunk."""
    first = models[0]
    chunk = chunk_tokens(first.vocabulary, first.features.device, chunk_memory)
    parts = [
        truncate(temper(mean_log_probs(models, rows), temperature), k) for rows in chunks(len(first.features), chunk)
    ]
    return Truncated(*(torch.cat(tensors) for tensors in zip(*parts, strict=True)))


def entropies(answer: TeacherAnswer, chunk_memory: float = 0) -> Tensor:
    """Entropy of each token's distribution in nats, shape (tokens,), chunk by chunk.

    Several models count as the mean of their probabilities. Of an answer in short it is that over its buckets, which is
    at most the whole one.
    """
    if isinstance(answer, Truncated):
        return _entropy(answer.log_probs)
    first = answer[0]
    chunk = chunk_tokens(first.vocabulary, first.features.device, chunk_memory)
    return torch.cat([_entropy(mean_log_probs(answer, rows)) for rows in chunks(len(first.features), chunk)])


def _entropy(log_probs: Tensor) -> Tensor:
    return torch.special.entr(log_probs.exp()).sum(dim=-1)
