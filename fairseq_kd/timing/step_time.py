"""How long a step takes, and how much memory the steps need."""

import statistics
import time
from collections.abc import Callable

import torch

from fairseq_kd.timing import process_memory


def peak_memory() -> float:
    """The most memory this process has held so far, in MiB: the GPU's where there is one, else resident memory."""
    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated() / 2**20
    return process_memory.peak()  # not ru_maxrss, which a process inherits from the one that started it


def time_steps(step: Callable[[int], object], warm_up: int, steps: int) -> dict[str, float]:
    """Call ``step`` with 0, 1, 2, … and time it.

    Args:
        step: called with its own number.
        warm_up: how many first steps are not timed.
        steps: how many are timed after these.

    Returns:
        "seconds", the median of a step, and "memory", by how many MiB the peak rose over all steps.
    """
    if torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()  # an earlier call's peak is none of these steps'
    before, seconds = peak_memory(), []
    for number in range(warm_up + steps):
        start = time.perf_counter()
        step(number)
        if torch.cuda.is_available():
            torch.cuda.synchronize()  # the step has only been started there
        if number >= warm_up:
            seconds.append(time.perf_counter() - start)
    return {"seconds": statistics.median(seconds), "memory": peak_memory() - before}
