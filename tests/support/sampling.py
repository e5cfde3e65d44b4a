"""Distributions that symbols are to be drawn from, by their definition, and a test of what was drawn."""

from typing import Any

import torch

from fairseq_kd.decoding.options import Sampling

SAMPLINGS: list[dict[str, Any]] = [
    {},
    {"temperature": 0.5},
    {"top_k": 6},
    {"top_p": 0.4},
    {"top_k": 9, "top_p": 0.5},
]


def exact(task: Any, model: Any, sample: dict[str, Any], sampling: Sampling) -> torch.Tensor:
    """The first step's distribution, without padding, by its definition."""
    model.eval()
    start = {**sample["net_input"], "prev_output_tokens": sample["net_input"]["prev_output_tokens"][:, :1]}
    with torch.no_grad():
        logits = model.get_normalized_probs(model(**start), log_probs=True)[0, 0].double()
    logits[task.target_dictionary.pad()] = float("-inf")
    return cut(logits, sampling)


def cut(logits: torch.Tensor, sampling: Sampling) -> torch.Tensor:
    """The probabilities of one row of logits after temperature, top-k and top-p, symbol by symbol."""
    p = (logits / sampling.temperature).softmax(-1)
    if sampling.top_k:
        p[p.argsort(descending=True)[sampling.top_k :]] = 0
        p /= p.sum()
    mass, kept = 0.0, torch.zeros_like(p)
    for symbol in p.argsort(descending=True).tolist():
        if mass < sampling.top_p:
            kept[symbol] = p[symbol]
        mass += p[symbol].item()
    return kept / kept.sum()


def assert_drawn_from(symbols: torch.Tensor, p: torch.Tensor) -> None:
    """Test by chi-squared that the symbols have the probabilities ``p``; with fixed seeds it always answers alike."""
    found = torch.bincount(symbols, minlength=len(p)).double()
    assert (found[p == 0] == 0).all()
    expected = len(symbols) * p[p > 0]
    statistic = ((found[p > 0] - expected) ** 2 / expected).sum().item()
    degrees = len(expected) - 1
    # Mean and variance of chi-squared are the degrees of freedom and twice them: four standard deviations.
    assert statistic < degrees + 4 * (2 * degrees) ** 0.5 + 4
