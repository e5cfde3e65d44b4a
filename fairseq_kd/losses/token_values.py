"""One value, or a few, for each token: computed chunk by chunk, so that no tensor of tokens × vocabulary exists."""

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from fairseq_kd.losses.chunk import NextTokens, Objective, TeacherAnswer, chunk_loss, mean_log_probs
from fairseq_kd.losses.fused import Gradients, chunk_tokens, chunks
from fairseq_kd.losses.truncation import Truncated, temper, truncate


def token_nll(model: NextTokens, target: Tensor, chunk_memory: float = 0) -> Tensor:
    """−log q of each target symbol, in nats, with a gradient. The backward pass computes the logits again.

    Args:
        model: the tokens' distributions.
        target: symbols, shape (tokens,).
        chunk_memory: as for :func:`fairseq_kd.losses.fused.fused_loss`.

    Returns:
        Shape (tokens,).
    """
    # As in fused_loss: the features' dtype decides, not autocast.
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
        model, values = NextTokens(features, weight, bias), []
        room = model.room(chunk)
        for rows in chunks(len(target), chunk):
            logits = model.logits(rows, room)  # (rows, vocabulary), in the same memory for every chunk
            values.append(logits.logsumexp(dim=-1) - logits.gather(1, target[rows, None]).squeeze(1))  # (rows,)
        return torch.cat(values)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, nll_gradient: Tensor) -> tuple[Tensor | None, ...]:
        features, weight, bias, target = ctx.saved_tensors
        model = NextTokens(features, weight, bias)
        # The gradient that arrives, (tokens,), is each token's weight: Gradients puts it into weight's and bias's sums.
        gradients, room = Gradients(model, ctx.needs_input_grad, nll_gradient), model.room(ctx.chunk)
        for rows in chunks(len(target), ctx.chunk):
            # Objective() is the NLL alone; its slope is q − [k = target], (rows, vocabulary).
            gradients.add(rows, chunk_loss(model.logits(rows, room), target[rows], None, Objective())[1])
        # Gradients leaves those of the features without the weights.
        if gradients.features is not None:
            gradients.features *= nll_gradient[:, None]
        narrowed = (None if one is None else one[0].to(one[1]) for one in gradients.result())
        return (*narrowed, None, None)


def chunks_of(model: NextTokens, chunk_memory: float = 0) -> Iterator[slice]:
    """The rows of each chunk of a model's tokens; ``chunk_memory`` is as for :func:`token_nll`."""
    return chunks(len(model.features), chunk_tokens(model.vocabulary, model.features.device, chunk_memory))


def truncated(models: Sequence[NextTokens], k: int, temperature: float) -> Truncated:
    """The truncated distributions of one model, or of the mean of several models' probabilities.

    Args:
        models: each model's distributions of the same tokens.
        k: number of kept symbols.
        temperature: applied to the mean before it is truncated.
    """
    # The mean comes first, then the temperature, as in training without a cache; the bucket is of what results.
    chunked = chunks_of(models[0])
    truncations = [truncate(temper(mean_log_probs(models, rows), temperature), k) for rows in chunked]
    # From pairs (ids, log_probs) of chunks to one pair of all tokens.
    return Truncated(*(torch.cat(tensors) for tensors in zip(*truncations, strict=True)))


def entropies(answer: TeacherAnswer, chunk_memory: float = 0) -> Tensor:
    """Entropy of each token's distribution in nats, shape (tokens,).

    Several models count as the mean of their probabilities. The entropy of a truncated distribution is that over its
    kept symbols and its bucket, which is at most the entropy of the whole distribution.
    """
    if isinstance(answer, Truncated):
        return _entropy(answer.log_probs)
    return torch.cat([_entropy(mean_log_probs(answer, rows)) for rows in chunks_of(answer[0], chunk_memory)])


def _entropy(log_probs: Tensor) -> Tensor:
    # entr(p) = −p·log p with entr(0) = 0, where p·log p would be NaN.
    return torch.special.entr(log_probs.exp()).sum(dim=-1)
