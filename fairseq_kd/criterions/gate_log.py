"""What is logged of a gate: sums that add up over batches and processes, and the figures made of them."""

import math
from collections.abc import Callable
from typing import Any

import torch
from fairseq.logging import metrics
from torch import Tensor

from fairseq_kd.criterions.base import summed
from fairseq_kd.gates.inputs import Places

SURE = 0.9
"""A gate above it, or below 1 − it, has all but decided for one half."""


def gate_sums(gates: Tensor, gold: Places, source_lengths: Tensor, entropy: Tensor | None, by_token: bool) -> dict:
    """Sums over sentences, or over gold tokens for a gate that looks at these, in float64.

    Args:
        gates: g of the gold tokens, shape (tokens,).
        gold: where these are.
        source_lengths: with ``</s>``, shape (sentences,).
        entropy: the teacher's, in nats, at each gold token; None for a gate that does not depend on the input.
        by_token: whether g differs within a sentence.
    """
    gates = gates.double()
    values = {"g": gates if by_token else gold.mean(gates)}
    if entropy is not None:
        values["length"] = (source_lengths[gold.sentence] if by_token else source_lengths).double()
        values["entropy"] = entropy.double() if by_token else gold.mean(entropy.double())
    g = values["g"]
    sums = {"count": len(g), "high": g.gt(SURE).sum(), "low": g.lt(1 - SURE).sum()}
    for name, value in values.items():
        sums |= {name: value.sum(), f"{name}_squares": value.square().sum(), f"g_{name}": (g * value).sum()}
    return {f"gate_{name}": value for name, value in sums.items()}


def log_gate(logging_outputs: list[dict[str, Any]]) -> None:
    """Log g's mean, spread (standard deviation), shares above 0.9 and below 0.1, and its correlations.

    The means that a spread is made of are kept under names that fairseq does not print, so that each figure is that of
    all sentences it stands for. A correlation is 0 where one side does not vary.
    """
    count = summed(logging_outputs, "gate_count")
    for key in logging_outputs[0]:
        if key.startswith("gate_") and key not in ("gate_count", "gate_high", "gate_low", "gate_loss"):
            metrics.log_scalar(f"_{key}", summed(logging_outputs, key) / count, count)
    metrics.log_scalar("gate", summed(logging_outputs, "gate_g") / count, count, round=4)
    metrics.log_derived("gate_spread", lambda meters: round(_spread(meters, "g"), 4))
    for share in ("high", "low"):
        metrics.log_scalar(f"gate_{share}", summed(logging_outputs, f"gate_{share}") / count, count, round=4)
    for name in ("length", "entropy"):
        if f"gate_{name}" in logging_outputs[0]:
            metrics.log_derived(f"gate_{name}_correlation", _correlation(name))
    if "gate_loss" in logging_outputs[0]:
        tokens = summed(logging_outputs, "ntokens")
        metrics.log_scalar("gate_loss", summed(logging_outputs, "gate_loss") / tokens, tokens, round=4)


def _mean(meters: Any, name: str) -> float:
    return float(torch.as_tensor(meters[f"_gate_{name}"].avg))


def _spread(meters: Any, name: str) -> float:
    variance = _mean(meters, f"{name}_squares") - _mean(meters, name) ** 2
    # Below that it is the rounding of the squares.
    return math.sqrt(variance) if variance > 1e-12 * _mean(meters, f"{name}_squares") else 0.0


def _correlation(name: str) -> Callable[[Any], float]:
    def value(meters: Any) -> float:
        covariance = _mean(meters, f"g_{name}") - _mean(meters, "g") * _mean(meters, name)
        spreads = _spread(meters, "g") * _spread(meters, name)
        return round(covariance / spreads, 3) if spreads else 0.0

    return value
