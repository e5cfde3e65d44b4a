"""The soft loss of ``token_kd`` with a teacher whose vocabulary is not the student's."""

from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from fairseq_kd.criterions.interleave import select
from fairseq_kd.losses.chunk import NextTokens, Objective
from fairseq_kd.losses.fused import Losses, fused_loss
from fairseq_kd.losses.other_vocabulary import (
    mapped,
    sorted_distance,
    span_cross_entropy,
    span_log_probs,
    student_log_probs,
    teacher_log_probs,
)


@dataclass(frozen=True)
class Batch:
    """A batch's real tokens, and a teacher's answer about the same text.

    Attributes:
        student: the student's distributions.
        target: the student's symbols, shape (tokens,).
        teacher: the teacher's distributions, one for each of its models.
        teacher_target: the teacher's symbols, shape (teacher's tokens,).
        places: what is compared with what; see :meth:`fairseq_kd.data.text.teacher_text.TeacherText.batch`.
    """

    student: NextTokens
    target: Tensor
    teacher: list[NextTokens]
    teacher_target: Tensor
    places: dict[str, Any]


def aligned_losses(
    batch: Batch, objective: Objective, symbol_map: Tensor, chunk_memory: float
) -> tuple[Tensor, Tensor, dict[str, Any]]:
    """The loss where distributions are compared at equal tokens, and probabilities of all other common spans.

    Args:
        batch: the real tokens.
        objective: of ``token_kd``.
        symbol_map: the student's symbol for each of the teacher's; see
            :func:`fairseq_kd.data.text.symbol_map.symbol_map`.
        chunk_memory: as for :func:`fairseq_kd.losses.fused.fused_loss`.

    Returns:
        The loss, the gold targets' NLL, and what to log.
    """
    size = batch.student.vocabulary
    answer = [mapped(one, symbol_map.to(batch.target.device), size) for one in batch.teacher]
    loss, nll, compared = _compared(replace(batch, teacher=answer), "pairs", objective, chunk_memory)
    spans = _spans(batch, objective.temperature, chunk_memory)
    # Summed in float64, as the fused loss sums its tokens.
    span_loss = spans.sum(dtype=torch.float64).to(loss.dtype)
    log = {
        "kd_loss": nll.new_zeros(()) if compared is None else compared.soft_loss,
        "agreed": nll.new_zeros(()) if compared is None else compared.agreed,
        "kd_ntokens": batch.places["pairs"].size(1),
        "one_to_one": batch.places["pairs"].size(1),
        "span_loss": span_loss.detach(),
        "spans": batch.places["spans"],
        "unaligned": batch.places["unaligned"],
    }
    return loss + objective.soft_weight * span_loss, nll, log


def sorted_losses(batch: Batch, objective: Objective, chunk_memory: float) -> tuple[Tensor, Tensor, dict[str, Any]]:
    """The loss of ULD: sorted distributions, the first token of each row with the first, and so on.

    Args and returns as :func:`aligned_losses`.
    """
    objective = replace(objective, divergence=sorted_distance)
    loss, nll, compared = _compared(batch, "positions", objective, chunk_memory)
    log = {
        "uld_loss": nll.new_zeros(()) if compared is None else compared.soft_loss,
        "uld_ntokens": batch.places["positions"].size(1),
        "one_to_one": batch.places["pairs"].size(1),
        "unaligned": batch.places["unaligned"],
    }
    return loss, nll, log


def _compared(
    batch: Batch, places: str, objective: Objective, chunk_memory: float
) -> tuple[Tensor, Tensor, Losses | None]:
    """The loss with the teacher's distributions at these places, and its gold part alone at all other tokens.

    Returns:
        The loss, the NLL, and the losses at the places; None where there are none.
    """
    own, theirs = batch.places[places]
    rest = torch.ones_like(batch.target, dtype=torch.bool).index_fill_(0, own, False).nonzero().squeeze(1)
    gold = Objective(objective.hard_weight, objective.label_smoothing)
    found = [
        fused_loss(select(batch.student, tokens), batch.target[tokens], its_objective, answer, chunk_memory)
        for tokens, its_objective, answer in (
            (own, objective, [select(one, theirs) for one in batch.teacher]),
            (rest, gold, None),
        )
        if len(tokens)
    ]
    compared = found[0] if len(own) else None
    return sum(one.loss for one in found), sum(one.nll_loss for one in found), compared  # type: ignore[return-value]


def _spans(batch: Batch, temperature: float, chunk_memory: float) -> Tensor:
    """The cross-entropy of each span, shape (spans,)."""
    (own, own_spans), (theirs, their_spans) = batch.places["student_spans"], batch.places["teacher_spans"]
    count = batch.places["spans"]
    if not count:
        return batch.student.features.new_zeros(0)
    log_p = teacher_log_probs(
        [select(one, theirs) for one in batch.teacher], batch.teacher_target[theirs], temperature, chunk_memory
    )
    log_q = student_log_probs(select(batch.student, own), batch.target[own], temperature, chunk_memory)
    return span_cross_entropy(span_log_probs(log_p, their_spans, count), span_log_probs(log_q, own_spans, count))
