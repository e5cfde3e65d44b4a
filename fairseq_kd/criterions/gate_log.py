"""The log of a gate: sums that add up over batches and processes, and the figures made of them."""

import math
from collections.abc import Callable
from typing import Any

import torch
from fairseq.logging import metrics
from torch import Tensor

from fairseq_kd.criterions.base import log_mean
from fairseq_kd.gates.inputs import Places

SURE = 0.9
"""A gate above it, or below 1 − it, has all but decided for one loss."""
CORRELATED = ("length", "entropy")


def gate_sums(gates: Tensor, places: Places, source_lengths: Tensor, entropy: Tensor | None, by_token: bool) -> dict:
    """Sums over sentences, or over the tokens of the token-level loss for a gate with a g for each, in float64.

    Args:
        gates: g at the tokens of the token-level loss, gold or distilled; shape (tokens,).
        places: where these tokens lie.
        source_lengths: with ``</s>``, shape (sentences,).
        entropy: the teacher's, in nats, at each of these tokens, shape (tokens,); None for a gate that does not
            depend on the input.
        by_token: whether g differs within a sentence.
    """
    gates = gates.double()
    # Every value has the shape of g: (tokens,) or (sentences,).
    values = {"g": gates if by_token else places.mean(gates)}
    if entropy is not None:
        values["length"] = (source_lengths[places.sentence] if by_token else source_lengths).double()
        values["entropy"] = entropy.double() if by_token else places.mean(entropy.double())
    g = values["g"]
    sums = {"count": len(g), "high": g.gt(SURE).sum(), "low": g.lt(1 - SURE).sum()}
    # Σ v, Σ v² and Σ g·v: enough for means, standard deviations and correlations with g.
    for name, value in values.items():
        sums |= {name: value.sum(), f"{name}_squares": value.square().sum(), f"g_{name}": (g * value).sum()}
    return {f"gate_{name}": value for name, value in sums.items()}


def log_gate(logging_outputs: list[dict[str, Any]]) -> None:
    """Log g's mean, standard deviation (spread), shares above 0.9 and below 0.1, and its correlations.

    The means behind a spread are kept under names that fairseq does not print. Each figure is then that of all
    sentences it stands for. A correlation is 0 where one side does not vary.
    """
    present = [name for name in ("g", *CORRELATED) if f"gate_{name}" in logging_outputs[0]]
    for name in present:
        for key in (f"gate_{name}", f"gate_{name}_squares", f"gate_g_{name}"):
            log_mean(logging_outputs, key, "gate_count", f"_{key}", unit=1.0, digits=None)
    for key, name in (("gate_g", "gate"), ("gate_high", "gate_high"), ("gate_low", "gate_low")):
        log_mean(logging_outputs, key, "gate_count", name, unit=1.0, digits=4)
    metrics.log_derived("gate_spread", lambda meters: round(_spread(meters, "g"), 4))
    for name in present[1:]:
        metrics.log_derived(f"gate_{name}_correlation", _correlation(name))


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
