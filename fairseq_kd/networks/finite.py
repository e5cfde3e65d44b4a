"""Find a teacher whose answers are no numbers, before they reach a student."""

from typing import Any

import torch
from torch import Tensor

from fairseq_kd.errors import UserError
from fairseq_kd.losses.chunk import NextTokens

NAMED = 5
"""Rows that an error names."""


def finite_projection(answer: NextTokens) -> bool:
    """Whether the output projection holds no NaN and no infinity; true where the answer has none."""
    return all(part is None or bool(part.isfinite().all()) for part in (answer.weight, answer.bias))


def check_finite(
    answer: NextTokens, real: Tensor, sample: dict[str, Any], teacher: str, update: int | None, sound: bool
) -> None:
    """Refuse a teacher's answer that holds NaN, or infinite features.

    A logit may be minus infinity: it forbids a symbol.

    Args:
        answer: about the real tokens.
        real: mask of the tokens that it is about, shape (batch, length).
        sample: the batch; "id" has its rows' numbers.
        teacher: the model's name.
        update: of the training; None: there is no training.
        sound: what :func:`finite_projection` says; without it every row is bad.

    Raises:
        UserError: it does; the message names the teacher, the rows and the update.
    """
    values = answer.features
    bad = ~values.isfinite() if answer.weight is not None else values.isnan() | values.isposinf()
    if sound and not bad.any():
        return
    if not sound:
        bad = torch.ones_like(bad)
    tokens = bad.any(dim=1)
    batch_rows = torch.nonzero(real, as_tuple=True)[0][tokens.to(real.device)].unique().tolist()
    rows = sorted(sample["id"].tolist()[row] for row in batch_rows) if "id" in sample else batch_rows
    named = ", ".join(map(str, rows[:NAMED])) + (f" and {len(rows) - NAMED} more" if len(rows) > NAMED else "")
    when = "" if update is None else f" at update {update}"
    half = "; it may overflow in float16" if values.dtype == torch.float16 else ""
    raise UserError(
        f"teacher {teacher}: its answer{when} is NaN or infinite for rows {named} (from 0); check its weights{half}"
    )
