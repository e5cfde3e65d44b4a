"""Speed and memory of a loss, from decoder features to gradients."""

from collections.abc import Callable

import torch
from fairseq.criterions.label_smoothed_cross_entropy import label_smoothed_nll_loss
from torch import Tensor
from torch.nn import functional

from fairseq_kd.losses.chunk import NextTokens, Objective
from fairseq_kd.losses.fused import fused_loss
from fairseq_kd.timing.step_time import time_steps

ALPHA, SMOOTHING = 0.5, 0.1


def measure_loss(loss: str, vocabulary: int, tokens: int, width: int, teacher_width: int) -> dict[str, float]:
    """Time forward and backward of one loss, the projections to the vocabulary included.

    Args:
        loss: a key of :data:`LOSSES`.
        vocabulary: how many symbols.
        tokens: how many positions.
        width: of the student's features.
        teacher_width: of the teacher's features.

    Returns:
        "seconds" of a step and "memory" in MiB, as :func:`time_steps`.
    """
    torch.manual_seed(1)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    # features (tokens, width) and projection (vocabulary, width) of either model
    student, teacher = (
        (torch.randn(tokens, size, device=device), torch.randn(vocabulary, size, device=device) * size**-0.5)
        for size in (width, teacher_width)
    )
    target = torch.randint(vocabulary, (tokens,), device=device)

    def step(_: int) -> None:
        own = [tensor.detach().requires_grad_() for tensor in student]
        LOSSES[loss](own, teacher, target).backward()

    return time_steps(step, warm_up=2, steps=5)


def _dense_kd(student: list[Tensor], teacher: tuple[Tensor, Tensor], target: Tensor) -> Tensor:
    """The textbook's form: log_softmax of both models, F.kl_div, mask, sum; and the NLL."""
    log_q = functional.log_softmax(functional.linear(*student), dim=-1)  # (tokens, vocabulary)
    with torch.no_grad():
        log_p = functional.log_softmax(functional.linear(*teacher), dim=-1)  # (tokens, vocabulary)
    padding = target.lt(0)  # there is none here; a textbook masks it all the same
    divergence = functional.kl_div(log_q, log_p, reduction="none", log_target=True)
    divergence = divergence.masked_fill(padding.unsqueeze(-1), 0.0).sum()
    nll = functional.nll_loss(log_q, target, reduction="none").masked_fill(padding, 0.0).sum()
    return (1 - ALPHA) * nll + ALPHA * divergence


def _stock_ce(student: list[Tensor], _: tuple[Tensor, Tensor], target: Tensor) -> Tensor:
    log_q = functional.log_softmax(functional.linear(*student), dim=-1)
    return label_smoothed_nll_loss(log_q, target.unsqueeze(-1), SMOOTHING)[0]


def _fused_kd(student: list[Tensor], teacher: tuple[Tensor, Tensor], target: Tensor) -> Tensor:
    objective = Objective(hard_weight=1 - ALPHA, soft_weight=ALPHA)
    return fused_loss(NextTokens(*student), target, objective, [NextTokens(*teacher)]).loss


def _fused_ce(student: list[Tensor], _: tuple[Tensor, Tensor], target: Tensor) -> Tensor:
    return fused_loss(NextTokens(*student), target, Objective(label_smoothing=SMOOTHING)).loss


LOSSES: dict[str, Callable[[list[Tensor], tuple[Tensor, Tensor], Tensor], Tensor]] = {
    "dense_kd": _dense_kd,
    "fused_kd": _fused_kd,
    "stock_ce": _stock_ce,
    "fused_ce": _fused_ce,
}
"""Losses of a student's features and projection, a teacher's, and the target, shape (tokens,)."""
