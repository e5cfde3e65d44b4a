"""The fused loss by its definitions: at full size, in float64, by autograd."""

import pytest
import torch

from fairseq_kd.losses.chunk import NextTokens, Objective
from fairseq_kd.losses.fused import Losses


def random_model(draw: torch.Generator, tokens: int, vocabulary: int, projection: str, scale: float) -> NextTokens:
    """What a decoder answers, at random; ``projection``: weight, biased, or none (the features are logits)."""

    def normal(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=draw, dtype=torch.float64)

    if projection == "none":
        return NextTokens(scale * normal(tokens, vocabulary))
    width = 3
    bias = normal(vocabulary) if projection == "biased" else None
    return NextTokens(normal(tokens, width), scale * normal(vocabulary, width), bias)


def cast(model: NextTokens, dtype: torch.dtype) -> NextTokens:
    """A copy whose tensors require a gradient."""
    return NextTokens(
        *(
            None if t is None else t.to(dtype).clone().requires_grad_()
            for t in (model.features, model.weight, model.bias)
        )
    )


def dense_logits(model: NextTokens) -> torch.Tensor:
    """(tokens, vocabulary)."""
    if model.weight is None:
        return model.features
    return model.features @ model.weight.t() + (0 if model.bias is None else model.bias)


def dense_buckets(log_probs: torch.Tensor, ids: torch.Tensor) -> torch.Tensor:
    """(tokens, k + 1): the log-probabilities of ``ids``, and that of all other symbols together."""
    inside = torch.zeros_like(log_probs, dtype=torch.bool).scatter(1, ids, True)
    tail = log_probs.exp().masked_fill(inside, 0).sum(1, keepdim=True).log()
    return torch.cat([log_probs.gather(1, ids), tail], dim=1)


def dense_loss(
    student: NextTokens, target: torch.Tensor, objective: Objective, teachers: list[NextTokens] | None
) -> dict[str, torch.Tensor]:
    """Everything at full size, by autograd."""
    logits = dense_logits(student)
    log_q = logits.log_softmax(-1)
    vocabulary = logits.size(-1)
    smooth = torch.full_like(log_q, objective.label_smoothing / (vocabulary - 1))
    smooth.scatter_(1, target[:, None], 1 - objective.label_smoothing)
    nll = -log_q.gather(1, target[:, None]).sum()
    hard = -(smooth * log_q).sum()
    result = {"nll_loss": nll, "loss": objective.hard_weight * hard}
    if teachers is None:
        return {**result, "soft_loss": torch.tensor(0.0), "agreed": torch.tensor(0.0)}
    p = torch.stack([dense_logits(teacher).softmax(-1) for teacher in teachers]).mean(0).detach()
    agreed = (p.argmax(-1) == logits.argmax(-1)).sum()
    tau = objective.temperature
    log_p = (p.log() / (objective.teacher_temperature or tau)).log_softmax(-1)
    log_q = (logits / tau).log_softmax(-1)
    if 0 < objective.kept < vocabulary - 1:
        ids = log_p.topk(objective.kept).indices
        log_p, log_q = dense_buckets(log_p, ids), dense_buckets(log_q, ids)
    soft = objective.divergence(log_p, log_q).sum()
    return {**result, "loss": result["loss"] + objective.soft_weight * soft, "soft_loss": soft, "agreed": agreed}


def compare(losses: Losses, expected: dict[str, torch.Tensor], rel: float) -> None:
    """Each value of the losses beside the expected one."""
    for name, value in expected.items():
        assert getattr(losses, name).item() == pytest.approx(value.item(), rel=rel, abs=rel), name


def compare_gradients(model: NextTokens, expected: NextTokens, rtol: float) -> None:
    """The gradient of each tensor beside that of the reference's."""
    for name in ("features", "weight", "bias"):
        tensor, reference = getattr(model, name), getattr(expected, name)
        if tensor is not None:
            scale = reference.grad.abs().max().item()
            torch.testing.assert_close(tensor.grad.double(), reference.grad, rtol=rtol, atol=rtol * max(scale, 1.0))
