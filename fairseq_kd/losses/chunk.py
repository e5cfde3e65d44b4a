"""The loss of one chunk of tokens, with its gradient: from two models' distributions and an objective."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from fairseq_kd.losses.divergences import cross_entropy
from fairseq_kd.losses.family import Divergence
from fairseq_kd.losses.row_terms import RowTerms, plain_terms, soft_terms
from fairseq_kd.losses.truncation import Truncated, truncate


@dataclass(frozen=True)
class NextTokens:
    """A model's next-token distributions before the softmax, as features and the projection that makes them logits.

    Attributes:
        features: shape (tokens, width); or, where ``weight`` is None, the logits, shape (tokens, vocabulary).
        weight: of the output projection, shape (vocabulary, width).
        bias: of the output projection, shape (vocabulary,), or None.
    """

    features: Tensor
    weight: Tensor | None = None
    bias: Tensor | None = None

    @property
    def vocabulary(self) -> int:
        """Number of symbols."""
        return (self.features if self.weight is None else self.weight).size(-1 if self.weight is None else 0)

    def logits(self, rows: slice, room: Tensor | None = None) -> Tensor:
        """Logits of these tokens, float32 or wider, shape (rows, vocabulary). The caller may overwrite them.

        Args:
            rows: which tokens.
            room: memory from :meth:`room`, used where the features are float32 or wider.
        """
        features = self.features[rows]
        wide = torch.promote_types(features.dtype, torch.float32)
        if self.weight is None:
            return features.to(wide, copy=True)
        weight = self.weight.to(features.dtype)
        out = None if room is None or wide != features.dtype else room[: len(features)]
        if self.bias is None:
            return torch.mm(features, weight.t(), out=out).to(wide)
        return torch.addmm(self.bias.to(features.dtype), features, weight.t(), out=out).to(wide)

    def room(self, chunk: int) -> Tensor | None:
        """Memory for the logits of ``chunk`` tokens, shape (chunk, vocabulary); None where the features are logits.

        Memory that is used again is not faulted in page by page for every chunk.
        """
        if self.weight is None:
            return None
        size = (min(chunk, len(self.features)), self.vocabulary)
        return self.features.new_empty(size, dtype=torch.promote_types(self.features.dtype, torch.float32))


def flat(weight: float | Tensor) -> float | Tensor:
    """A weight of :class:`Objective` for values of shape (tokens,)."""
    return weight.squeeze(1) if isinstance(weight, Tensor) else weight


@dataclass(frozen=True)
class Objective:
    """hard_weight · label-smoothed NLL + soft_weight · divergence(teacher, student).

    A weight is one number, or one for each token: then its shape is (tokens, 1), and it carries no gradient.

    Attributes:
        hard_weight: weight of the gold target's NLL, which is taken at temperature 1.
        label_smoothing: ε, as in fairseq: the target gets 1 − ε, every other symbol ε / (vocabulary − 1).
        soft_weight: weight of the divergence.
        divergence: a function of the teacher's and the student's log-probabilities.
        temperature: of both distributions in the divergence. The factor τ² of Hinton et al. 2015 is not applied; the
            caller multiplies ``soft_weight`` by it.
        teacher_temperature: of the teacher's distribution alone; None: ``temperature``.
        kept: number of the teacher's likeliest symbols that are kept, with one bucket for all others; 0: all symbols.
    """

    hard_weight: float | Tensor = 1.0
    label_smoothing: float = 0.0
    soft_weight: float | Tensor = 0.0
    divergence: Divergence = cross_entropy
    temperature: float = 1.0
    kept: int = 0
    teacher_temperature: float | None = None

    def of(self, hard: Tensor, divergence: Tensor) -> Tensor:
        """The loss of tokens from their label-smoothed NLL and their divergence, shape (tokens,) each."""
        return flat(self.hard_weight) * hard + flat(self.soft_weight) * divergence


TeacherAnswer = Sequence[NextTokens] | Truncated
"""A teacher's distributions: of one model, of the mean of several models' probabilities, or truncated."""


def check_tokens(student: NextTokens, target: Tensor, teacher: TeacherAnswer | None) -> None:
    """Refuse tensors that are not about the same tokens.

    Raises:
        ValueError: student, target and teacher differ in their number of tokens.
    """
    answers = [teacher.ids] if isinstance(teacher, Truncated) else [one.features for one in teacher or ()]
    found = [len(one) for one in (student.features, target, *answers)]
    if len(set(found)) > 1:
        of_teacher = f", of the teacher {found[2:]}" if answers else ""
        raise ValueError(f"tokens of the student {found[0]}, of the target {found[1]}{of_teacher}: give the same ones")


def teacher_chunk(
    teacher: TeacherAnswer | None, rows: slice, objective: Objective, room: Tensor | None
) -> Tensor | Truncated | None:
    """The teacher's distributions of one chunk at the objective's temperature.

    Args:
        teacher: all tokens' distributions. Truncated ones have the temperature already.
        rows: the chunk's tokens.
        objective: with the temperature and the number of kept symbols.
        room: as in :meth:`NextTokens.logits`.

    Returns:
        Logits, shape (rows, vocabulary), or the truncated distributions; None where there is no teacher.
    """
    if teacher is None:
        return None
    if isinstance(teacher, Truncated):
        return Truncated(teacher.ids[rows], teacher.log_probs[rows])
    # Log-probabilities are logits too: a softmax gives the probabilities back.
    answer = teacher[0].logits(rows, room) if len(teacher) == 1 else mean_log_probs(teacher, rows)
    own = objective.teacher_temperature
    temperature = objective.temperature if own is None else own
    if temperature != 1.0:
        answer /= temperature
    if 0 < objective.kept < answer.size(-1) - 1:
        return Truncated(*truncate(torch.log_softmax(answer, dim=-1), objective.kept))
    return answer


def mean_log_probs(models: Sequence[NextTokens], rows: slice) -> Tensor:
    """Log of the mean of the models' probabilities, float32 or wider, shape (rows, vocabulary)."""
    answers = [torch.log_softmax(model.logits(rows), dim=-1) for model in models]
    if len(answers) == 1:
        return answers[0]
    return torch.logsumexp(torch.stack(answers), dim=0) - math.log(len(answers))


def chunk_loss(
    logits: Tensor, target: Tensor, teacher: Tensor | Truncated | None, objective: Objective
) -> tuple[tuple[Tensor, ...], Tensor]:
    """The values and the gradient of one chunk's losses.

    Args:
        logits: the student's, shape (rows, vocabulary), float32 or wider; they are overwritten.
        target: gold symbols, shape (rows,).
        teacher: from :func:`teacher_chunk`.
        objective: the loss.

    Returns:
        Label-smoothed NLL, NLL, divergence and agreement (1 or 0), each of shape (rows,); and the gradient of each
        row's loss with respect to its logits, shape (rows, vocabulary).
    """
    # fairseq smooths with ε/(V − 1) on every symbol, and what the target then lacks to 1 − ε.
    smoothing = objective.label_smoothing / (logits.size(-1) - 1)
    on_gold = 1 - objective.label_smoothing - smoothing
    # All that reads the logits comes before _row_terms, which overwrites them.
    gold = logits.gather(1, target[:, None]).squeeze(1)  # (rows,)
    everywhere = logits.sum(dim=-1) if smoothing else gold  # (rows,)
    agreed = _agreement(logits, teacher)
    log_sum, divergence, slope = _row_terms(logits, teacher, objective)
    nll = log_sum - gold
    # −Σ_k log q(k) = V·log-sum-exp − Σ_k logit(k): the label smoothing's part of the loss.
    hard = on_gold * nll + smoothing * (logits.size(-1) * log_sum - everywhere)
    # ∂hard/∂logits = q − smoothing − on_gold·[k = gold], as the targets' shares sum to 1. The slope has q already.
    if smoothing:
        slope -= objective.hard_weight * smoothing
    on_gold_slope = slope.new_zeros(len(target), 1) - objective.hard_weight * on_gold  # (rows, 1)
    slope.scatter_add_(1, target[:, None], on_gold_slope)
    return (hard, nll, divergence, agreed), slope


def _agreement(logits: Tensor, teacher: Tensor | Truncated | None) -> Tensor:
    """1 where the student's likeliest symbol is the teacher's, else 0, shape (rows,). 0 between other vocabularies."""
    if teacher is None or (isinstance(teacher, Tensor) and teacher.shape != logits.shape):
        return torch.zeros_like(logits[:, 0])
    best = logits.amax(dim=-1, keepdim=True)
    if isinstance(teacher, Truncated):
        return logits.gather(1, teacher.ids[:, :1]).eq(best).squeeze(1)
    # Two comparisons cost a fraction of an argmax on a CPU.
    return logits.eq(best).logical_and_(teacher.eq(teacher.amax(dim=-1, keepdim=True))).any(dim=-1)


def _row_terms(logits: Tensor, teacher: Tensor | Truncated | None, objective: Objective) -> RowTerms:
    """The terms without the gold symbol: of the hard loss the gradient has hard_weight · q."""
    hard, soft, temperature = objective.hard_weight, objective.soft_weight, objective.temperature
    if teacher is None:
        return plain_terms(logits, hard)
    if temperature == 1.0:
        return soft_terms(logits, hard, teacher, soft, objective.divergence)
    # The divergence reads logits / τ. By the chain rule its gradient with respect to the logits is divided by τ.
    _, divergence, soft_slope = soft_terms(logits / temperature, 0.0, teacher, soft / temperature, objective.divergence)
    log_sum, _, slope = plain_terms(logits, hard)
    return log_sum, divergence, slope.add_(soft_slope)
