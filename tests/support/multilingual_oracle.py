"""Losses of a bilingual student against a multilingual teacher, from the teacher's own task's batches, in float64."""

from pathlib import Path
from typing import Any

import torch

from tests.support.models import batch
from tests.support.multilingual import own_task


def own_log_probs(task: Any, teacher: Any, row: int, gold: list[int], kept: int) -> tuple[torch.Tensor, torch.Tensor]:
    """The teacher's log-probabilities of the first ``kept`` symbols at a row's gold tokens, and all others' mass.

    The positions are those of the gold tokens in the target of the teacher's own task, so that nothing here knows where
    the task puts its symbols.

    Returns:
        Shape (tokens, kept), renormalised; and (tokens,).
    """
    sample = batch(task, "valid", [row])
    with torch.no_grad():
        logits = teacher.double()(**sample["net_input"])[0][0]
    target = sample["target"][0].tolist()
    first = next(start for start in range(len(target)) if target[start : start + len(gold)] == gold)
    probabilities = logits.softmax(-1)[first : first + len(gold)]
    mass = probabilities[:, kept:].sum(-1)
    return (probabilities[:, :kept] / (1 - mass)[:, None]).log(), mass


def token_kd_loss(
    data: Path, kind: str, teacher: Any, student: Any, task: Any, rows: list[int], alpha: float, tau: float
) -> float:
    """The sum over the rows' tokens of (1 − α)·NLL + α·τ²·(−Σ p_τ·log q_τ), row by row."""
    own, kept, total = own_task(data, kind), len(task.target_dictionary), 0.0
    for row in rows:
        sample = batch(task, "valid", [row])
        gold = sample["target"][0]
        with torch.no_grad():
            logits = student.double()(**sample["net_input"])[0][0]
        log_p, _ = own_log_probs(own, teacher, row, gold.tolist(), kept)
        p, log_q = (log_p / tau).softmax(-1), (logits / tau).log_softmax(-1)
        nll = -logits.log_softmax(-1).gather(1, gold[:, None]).sum().item()
        total += (1 - alpha) * nll - alpha * tau**2 * (p * log_q).sum().item()
    return total
