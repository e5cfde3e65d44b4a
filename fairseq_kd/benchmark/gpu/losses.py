"""Time and memory of the fused loss beside the dense one and beside Liger-Kernel's, at the sizes of large models.

Liger-Kernel (Hsu et al. 2024) is measured where it is installed; it needs a GPU.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from fairseq_kd.losses.chunk import NextTokens, Objective
from fairseq_kd.losses.divergences import generalized_js
from fairseq_kd.losses.fused import CHUNK_MEMORY, fused_loss
from fairseq_kd.timing.step_time import time_steps

CHECKED_TOKENS = 256
"""How many tokens the comparison with float64 takes: a dense float64 loss of all would not fit."""


@dataclass(frozen=True)
class Inputs:
    """Decoder features and output projections of two models, and gold symbols.

    Attributes:
        features: the student's, shape (tokens, width), with a gradient.
        weight: the student's projection, shape (vocabulary, width), with a gradient.
        teacher_features: shape (tokens, width).
        teacher_weight: shape (vocabulary, width).
        target: gold symbols, shape (tokens,).
    """

    features: Tensor
    weight: Tensor
    teacher_features: Tensor
    teacher_weight: Tensor
    target: Tensor

    def first(self, tokens: int, dtype: torch.dtype) -> "Inputs":
        """The first tokens alone, in another number format."""
        return Inputs(
            self.features[:tokens].detach().to(dtype).requires_grad_(),
            self.weight.detach().to(dtype).requires_grad_(),
            self.teacher_features[:tokens].to(dtype),
            self.teacher_weight.to(dtype),
            self.target[:tokens],
        )


Loss = Callable[[Inputs], Tensor]
"""A loss of all tokens, a scalar: the sum over tokens, or their mean."""


def draw(vocabulary: int, tokens: int, width: int, device: str, dtype: torch.dtype) -> Inputs:
    """Random inputs whose logits have about the variance 1 (student) and 4 (teacher)."""
    torch.manual_seed(1)

    def normal(rows: int, scale: float) -> Tensor:
        return (torch.randn(rows, width, device=device) * scale).to(dtype)

    shrink = width**-0.5
    return Inputs(
        normal(tokens, 1.0).requires_grad_(),
        normal(vocabulary, shrink).requires_grad_(),
        normal(tokens, 1.0),
        normal(vocabulary, 2 * shrink),
        torch.randint(vocabulary, (tokens,), device=device),
    )


def _dense_js(given: Inputs) -> Tensor:
    """The textbook's JS: the logits of all tokens, two log_softmax in float32, F.kl_div to their mean."""
    log_q = functional.log_softmax(functional.linear(given.features, given.weight), -1, dtype=_wide(given))
    with torch.no_grad():
        teacher = functional.linear(given.teacher_features, given.teacher_weight)
        log_p = functional.log_softmax(teacher, -1, dtype=_wide(given))
    log_m = torch.logsumexp(torch.stack([log_p, log_q]), 0) - math.log(2.0)
    halves = (functional.kl_div(log_m, own, reduction="sum", log_target=True) for own in (log_p, log_q))
    return sum(halves, torch.zeros((), device=log_q.device)) / 2


def _dense_ce(given: Inputs) -> Tensor:
    logits = functional.linear(given.features, given.weight).to(_wide(given))
    return functional.cross_entropy(logits, given.target, reduction="sum")


def _wide(given: Inputs) -> torch.dtype:
    return torch.promote_types(given.features.dtype, torch.float32)


def _fused_js(memory: float) -> Loss:
    objective = Objective(hard_weight=0.0, soft_weight=1.0, divergence=lambda p, q: generalized_js(p, q, weight=0.5))

    def loss(given: Inputs) -> Tensor:
        teacher = [NextTokens(given.teacher_features, given.teacher_weight)]
        return fused_loss(NextTokens(given.features, given.weight), given.target, objective, teacher, memory).loss

    return loss


def _uncompiled(loss: Loss) -> Loss:
    def run(given: Inputs) -> Tensor:
        with torch.compiler.set_stance("force_eager"):
            return loss(given)

    return run


def _fused_ce(given: Inputs) -> Tensor:
    return fused_loss(NextTokens(given.features, given.weight), given.target, Objective()).loss


def _liger_js(given: Inputs) -> Tensor:
    from liger_kernel.transformers.fused_linear_jsd import LigerFusedLinearJSD

    return LigerFusedLinearJSD()(
        given.features, given.weight, given.teacher_features, given.teacher_weight, given.target
    )


def _liger_chunked_js(given: Inputs) -> Tensor:
    from liger_kernel.chunked_loss.jsd_loss import LigerFusedLinearJSDLoss

    loss = LigerFusedLinearJSDLoss(weight_hard_loss=0.0, weight_soft_loss=1.0)
    return loss(given.features, given.weight, given.teacher_features, given.teacher_weight, given.target)


def _liger_ce(given: Inputs) -> Tensor:
    from liger_kernel.transformers.fused_linear_cross_entropy import LigerFusedLinearCrossEntropyLoss

    return LigerFusedLinearCrossEntropyLoss(reduction="sum")(given.weight, given.features, given.target)


def losses(device: str) -> dict[str, dict[str, tuple[Loss, bool]]]:
    """The losses by section and name, and whether each is a mean over tokens rather than their sum."""
    default = CHUNK_MEMORY[device]
    found: dict[str, dict[str, tuple[Loss, bool]]] = {
        "JS": {
            "dense": (_dense_js, False),
            f"fused, chunks of {default} MiB (default)": (_fused_js(0), False),
            f"fused, chunks of {default / 4:g} MiB": (_fused_js(default / 4), False),
            f"fused, chunks of {default * 4:g} MiB": (_fused_js(default * 4), False),
        },
        "Cross-entropy": {"dense": (_dense_ce, False), "fused": (_fused_ce, False)},
    }
    if device == "cuda":
        found["JS"]["fused, not compiled"] = (_uncompiled(_fused_js(0)), False)
        found["Cross-entropy"]["fused, not compiled"] = (_uncompiled(_fused_ce), False)
        found["JS"] |= {
            "Liger-Kernel, fused linear JSD": (_liger_js, True),
            "Liger-Kernel, chunked JSD": (_liger_chunked_js, True),
        }
        found["Cross-entropy"]["Liger-Kernel, fused linear cross-entropy"] = (_liger_ce, False)
    return found


def measure_losses(
    vocabulary: int, tokens: int, width: int, device: str, steps: int = 10
) -> list[dict[str, float | str]]:
    """Time each loss from features to the gradients of features and projection, in bfloat16.

    Args:
        vocabulary: number of symbols.
        tokens: number of positions.
        width: of both models' features.
        device: "cuda" or "cpu".
        steps: how many steps are timed, after two that are not.

    Returns:
        For each loss its "section" and "name", and either "seconds" of a step, "memory" in MiB above the inputs, and
        "error", the distance of the features' gradient from float64's, relative to its norm; or "reason", why it did
        not run.
    """
    given = draw(vocabulary, tokens, width, device, torch.bfloat16)
    few = given.first(CHECKED_TOKENS, torch.float64)
    lines = []
    for title, entries in losses(device).items():
        exact = _gradient(entries["dense"][0], few)
        for name, (loss, mean) in entries.items():
            line: dict[str, float | str] = {"section": f"{title}, vocabulary {vocabulary:,}", "name": name}
            try:
                line |= _time(loss, given, steps)
                found = _gradient(loss, given.first(CHECKED_TOKENS, torch.bfloat16)).double()
                found *= len(few.target) if mean else 1
                line["error"] = ((found - exact).norm() / exact.norm()).item()
            except torch.OutOfMemoryError:
                line["reason"] = "out of memory"
            except ImportError as error:
                line["reason"] = str(error)
            lines.append(line)
            if device == "cuda":
                torch.cuda.empty_cache()
    return lines


def _time(loss: Loss, given: Inputs, steps: int) -> dict[str, Any]:
    def step(_: int) -> None:
        given.features.grad = given.weight.grad = None
        loss(given).backward()

    return time_steps(step, warm_up=2, steps=steps)


def _gradient(loss: Loss, given: Inputs) -> Tensor:
    """The gradient of the features, shape (tokens, width)."""
    given.features.grad = None
    loss(given).backward()
    assert given.features.grad is not None
    return given.features.grad
