"""hybrid_kd with each of its gates, on a student and a teacher of random weights."""

from pathlib import Path
from typing import Any

import torch

from fairseq_kd.networks.teacher import Teacher
from tests.support.gradients import gradient
from tests.support.models import build

TASK = ("--task", "translation_kd")
ROWS = [21, 3, 299, 0, 40, 17]
GATES = {
    "fixed": ("fixed", "--gate-value", "0.25"),
    "schedule": ("schedule", "--gate-updates", "10"),
    "free": ("learned", "--gate-signal", "loss", "--gate-prior-weight", "0"),
    "normalised": ("learned", "--gate-signal", "normalised"),
    "held_out": ("learned", "--gate-signal", "held_out"),
    "by token": ("learned", "--gate-level", "token", "--gate-signal", "loss"),
    "teacher_entropy": ("teacher_entropy",),
    "teacher_entropy by token": ("teacher_entropy", "--gate-level", "token"),
    "agreement": ("agreement",),
    "scalar": ("scalar", "--gate-signal", "normalised"),
}


def setup(
    data: Path,
    distilled: Path,
    gate: str,
    *options: str,
    student: str = "transformer",
    dtype: torch.dtype | None = None,
) -> tuple[Any, Any, Any]:
    """A student, its task and criterion, and a teacher of other weights in the task's hands."""
    words = (*TASK, "--criterion", "hybrid_kd", "--distilled-data", str(distilled), "--gate", *GATES[gate], *options)
    task, model, criterion = build(data, *words, architecture=student)
    _, other, _ = build(data, seed=2)
    task._teacher = Teacher([other.eval().requires_grad_(False)])
    task.update = 4
    if hasattr(getattr(criterion.gate, "network", None), "output"):
        with torch.no_grad():
            torch.manual_seed(3)
            criterion.gate.network.output.weight.normal_()
    for one in (model, criterion, other):
        one.to(dtype)
    return task, model.train(), criterion.train()


def loss_and_gradient(model: Any, criterion: Any, samples: list[dict[str, Any]]) -> tuple[float, float, torch.Tensor]:
    """Loss, sample size and the gradient of both modules, summed over batches."""
    model.zero_grad(), criterion.zero_grad()
    results = [criterion(model, sample) for sample in samples]
    sum(result[0] for result in results).backward()
    loss, size = (sum(float(result[part]) for result in results) for part in (0, 1))
    return loss, size, gradient(model, criterion)
