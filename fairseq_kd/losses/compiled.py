"""The loss of one chunk as a few compiled kernels, for GPUs.

Uncompiled, a chunk's loss reads and writes its logits some thirty times, and a GPU waits for its memory.
`torch.compile` merges the passes into a few kernels. The first update of a process waits for the compiler.
"""

import logging
from collections.abc import Callable
from dataclasses import replace
from functools import cache

import torch
from torch import Tensor

from fairseq_kd.losses.chunk import Objective, chunk_loss
from fairseq_kd.losses.truncation import Truncated

logger = logging.getLogger(__name__)
_failed = False


def compiled_chunk_loss(
    compute: Callable[[], Tensor], target: Tensor, teacher: Tensor | Truncated | None, objective: Objective
) -> tuple[tuple[Tensor, ...], Tensor]:
    """:func:`fairseq_kd.losses.chunk.chunk_loss`, compiled where torch can compile here, with the same results.

    ``compute`` gives the logits, again where the compiler fails: it may have run a part, which has overwritten them.
    A first failure of the compiler is logged, and from then on the process computes without it.
    `TORCH_COMPILE_DISABLE=1` in the environment, torch's own switch, turns the compiler off.
    """
    global _failed
    logits = compute()
    if _failed:
        return chunk_loss(logits, target, teacher, objective)

    # The compiler would make kernels for each number that it meets: of weights, and of rows (a last chunk is short).
    hard, soft = (_tensor(weight, logits) for weight in (objective.hard_weight, objective.soft_weight))
    for rows in (logits, target, hard, soft, *_tensors(teacher)):
        if len(rows) > 1:
            torch._dynamo.maybe_mark_dynamic(rows, 0)
    weighted = replace(objective, hard_weight=hard, soft_weight=soft)
    try:
        return _compiled()(logits, target, teacher, weighted)
    except torch.cuda.OutOfMemoryError:
        raise
    except Exception as error:  # a compiler can fail in any way; an error that is not its own comes again below
        _failed = True
        logger.warning("torch.compile failed (%s); the loss is computed without it, more slowly", _first_line(error))
        return chunk_loss(compute(), target, teacher, objective)


@cache
def _compiled() -> Callable[..., tuple[tuple[Tensor, ...], Tensor]]:
    """Made at the first call: torch's compiler takes a second to import, and a CPU does not need it."""
    return torch.compile(chunk_loss)


def _tensor(weight: float | Tensor, logits: Tensor) -> Tensor:
    return weight if isinstance(weight, Tensor) else logits.new_full((len(logits), 1), weight)


def _tensors(teacher: Tensor | Truncated | None) -> tuple[Tensor, ...]:
    if isinstance(teacher, Truncated):
        return teacher.ids, teacher.log_probs
    return () if teacher is None else (teacher,)


def _first_line(error: Exception) -> str:
    return f"{type(error).__name__}: {str(error).strip().splitlines()[0] if str(error).strip() else ''}"
