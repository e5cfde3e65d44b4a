"""Criterion ``f_distill``: f-divergences between teacher and student over sequences (Wen et al. 2023)."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Optional

import torch
from fairseq import utils
from fairseq.criterions import register_criterion
from fairseq.dataclass import ChoiceEnum
from fairseq.logging import metrics
from fairseq.models import BaseFairseqModel
from omegaconf import II
from torch import Tensor

from fairseq_kd.chunk_loss import Objective
from fairseq_kd.criterions.base import FusedConfig, FusedCriterion, summed
from fairseq_kd.criterions.interleave import interleave, select, tokens_of
from fairseq_kd.distributions import next_tokens, real_tokens, unwrap
from fairseq_kd.divergences import DIVERGENCES, Divergence
from fairseq_kd.errors import UserError
from fairseq_kd.fused import Losses, fused_loss
from fairseq_kd.rollouts import Sampling, draw_rollouts
from fairseq_kd.tasks.translation_kd import TranslationKDTask
from fairseq_kd.teacher import Teacher

PREFIXES = ("paper", "gold", "teacher", "student", "both")
EVALUATION = 2**32 - 1
"""In the place of the update's number where nothing is trained: validation draws the same sequences every time."""


@dataclass
class FDistillConfig(FusedConfig):
    """Options of ``f_distill``."""

    divergence: ChoiceEnum(list(DIVERGENCES)) = field(  # type: ignore[valid-type]
        default="kl", metadata={"help": "between the teacher's and the student's next-token distributions"}
    )
    divergence_parameter: Optional[float] = field(  # noqa: UP045 (fairseq reads the annotation)
        default=None, metadata={"help": "beta of generalized_js, lambda of skew_kl and skew_rkl, alpha of alpha"}
    )
    prefixes: ChoiceEnum(PREFIXES) = field(  # type: ignore[valid-type]
        default="paper", metadata={"help": "on whose sequences (paper: as its authors take the divergence)"}
    )
    kd_alpha: float = field(
        default=1.0, metadata={"help": "weight of the divergence; 1 - alpha is the gold target's cross-entropy"}
    )
    online_teacher_samples: bool = field(
        default=False, metadata={"help": "draw the teacher's sequences at each step (default: --distilled-data's)"}
    )
    rollout_top_k: int = field(default=0, metadata={"help": "draw from the k likeliest symbols (0: all)"})
    rollout_top_p: float = field(default=1.0, metadata={"help": "draw from the fewest symbols of this probability"})
    rollout_temperature: float = field(default=1.0, metadata={"help": "temperature of what is drawn from"})
    rollout_max_len_a: float = field(default=1.2, metadata={"help": "longest sequence drawn: a x source length + b"})
    rollout_max_len_b: int = field(default=10, metadata={"help": "see --rollout-max-len-a"})
    sentence_avg: bool = II("optimization.sentence_avg")
    seed: int = II("common.seed")


@dataclass(frozen=True)
class Part:
    """Sequences, shape (batch, length) padded on the right, and the loss on their prefixes."""

    name: str
    sequences: Tensor
    objective: Objective


@register_criterion("f_distill", dataclass=FDistillConfig)
class FDistillCriterion(FusedCriterion):
    """L = (1−α)·NLL(gold) + α·D, D the step-wise form of a sequence-level divergence.

    D sums over the steps of teacher samples, of student samples, or halves over both (Wen et al. 2023, eqs. 6, 7, 8 and
    10; JS with the step-wise mixture that their code has). No gradient flows through the drawing of a sequence.

    Raises:
        UserError: an option out of its range, or a task without a teacher.
    """

    def __init__(self, cfg: FDistillConfig, task: TranslationKDTask):
        super().__init__(task, cfg.label_smoothing, cfg.chunk_memory, cfg.sentence_avg)
        if not isinstance(task, TranslationKDTask):
            raise UserError("--criterion f_distill needs a task with a teacher: --task translation_kd")
        if task.cfg.teacher_cache:
            raise UserError("--criterion f_distill asks about sequences that no cache holds: give --teacher-path")
        if not 0 <= cfg.kd_alpha <= 1:
            raise UserError(f"--kd-alpha {cfg.kd_alpha}: give a weight between 0 and 1")
        family = DIVERGENCES[str(cfg.divergence)]
        try:
            self.divergence = family.at(cfg.divergence_parameter)
        except ValueError as error:
            raise UserError(f"--divergence-parameter {cfg.divergence_parameter}, {cfg.divergence}: {error}") from None
        self.prefixes = family.prefixes if str(cfg.prefixes) == "paper" else str(cfg.prefixes)
        self.online = cfg.online_teacher_samples
        if self.prefixes in ("teacher", "both") and not (self.online or task.cfg.distilled_data):
            raise UserError(
                f"--divergence {cfg.divergence} on teacher prefixes: give the teacher's samples with "
                "--distilled-data DATABIN, or draw them with --online-teacher-samples"
            )
        self.alpha = cfg.kd_alpha
        self.sampling = Sampling(
            cfg.rollout_top_k,
            cfg.rollout_top_p,
            cfg.rollout_temperature,
            cfg.rollout_max_len_a,
            cfg.rollout_max_len_b,
        )
        self.seed = cfg.seed

    def forward(self, model: BaseFairseqModel, sample: dict[str, Any]) -> tuple[Tensor, int, dict[str, Any]]:
        """The loss summed over the steps of all sequences (a scalar, in nats), the sample size, and what to log.

        The sample size is that of the gold targets, so that a step weighs the same whatever was drawn.
        """
        teacher = self.task.teacher(model)
        parts = [self._gold(sample)] if teacher is None else self._parts(model, teacher, sample)
        sample_size = sample["target"].size(0) if self.sentence_avg else sample["ntokens"]
        log = {"ntokens": sample["ntokens"], "nsentences": sample["target"].size(0), "sample_size": sample_size}
        total = torch.zeros((), device=sample["target"].device)
        for part, tokens, losses in self._losses(model, teacher, sample, parts):
            total = total + losses.loss
            log |= {
                f"{part.name}_tokens": tokens,
                f"{part.name}_nll": losses.nll_loss,
                f"{part.name}_divergence": losses.soft_loss,
            }
        return total, sample_size, {"loss": total.data, **log}

    def _gold(self, sample: dict[str, Any], hard_weight: float = 1.0) -> Part:
        return Part("gold", sample["target"], Objective(hard_weight, self.label_smoothing))

    def _parts(self, model: BaseFairseqModel, teacher: Teacher, sample: dict[str, Any]) -> list[Part]:
        def soft(divergence: Divergence, hard_weight: float = 0.0) -> Objective:
            return Objective(hard_weight, self.label_smoothing, self.alpha, divergence)

        whole, on_teacher, on_student = (
            self.divergence.value,
            self.divergence.on_teacher_prefixes,
            self.divergence.on_student_prefixes,
        )
        parts = []
        if self.prefixes in ("teacher", "both"):
            drawn = self._teacher_sequences(teacher, sample)
            parts.append(Part("teacher", drawn, soft(on_teacher if self.prefixes == "both" else whole)))
        if self.prefixes in ("student", "both"):
            drawn = self._draw(unwrap(model), sample)
            parts.append(Part("student", drawn, soft(on_student if self.prefixes == "both" else whole)))
        if self.prefixes == "gold":
            parts.append(Part("gold", sample["target"], soft(whole, 1 - self.alpha)))
        elif self.alpha < 1:
            parts.append(self._gold(sample, 1 - self.alpha))
        return parts

    def _teacher_sequences(self, teacher: Teacher, sample: dict[str, Any]) -> Tensor:
        if self.online:
            return self._draw(teacher.models[0], sample)
        # A validation set has no teacher samples: its gold targets stand in.
        return sample["distilled"] if "distilled" in sample else sample["target"]

    def _draw(self, model: Any, sample: dict[str, Any]) -> Tensor:
        update = self.task.update if self.training else EVALUATION
        return draw_rollouts(model, sample, self.sampling, (self.seed, update), self.task.target_dictionary)

    def _losses(
        self, model: BaseFairseqModel, teacher: Teacher | None, sample: dict[str, Any], parts: Sequence[Part]
    ) -> list[tuple[Part, int, Losses]]:
        """Each part with its number of tokens and its losses; the student's forward is one for all of them."""
        target, batch = interleave(sample, [part.sequences for part in parts], self.task.target_dictionary)
        real = real_tokens(target, self.padding_idx)
        student = next_tokens(model, batch, real)
        answers = teacher.next_tokens(batch, real) if teacher else []
        gold, result = target[real], []
        for number, part in enumerate(parts):
            own = tokens_of(number, len(parts), real)
            asked = None if part.objective.soft_weight == 0 else [select(answer, own) for answer in answers]
            losses = fused_loss(select(student, own), gold[own], part.objective, asked, self.chunk_memory)
            result.append((part, len(own), losses))
        return result

    @classmethod
    def reduce_metrics(cls, logging_outputs: list[dict[str, Any]]) -> None:
        """Log the loss per gold token and, per token of their own, each half of the divergence, all in bits.

        Of the student's own sequences also the mean length, and the entropy as their mean −log₂ q; of gold targets that
        are learnt from, nll_loss and ppl.
        """

        def logged(name: str, key: str, per: str, unit: float = math.log(2)) -> None:
            count = summed(logging_outputs, per)
            if count > 0:
                metrics.log_scalar(name, summed(logging_outputs, key) / count / unit, count, round=3)

        logged("loss", "loss", "sample_size")
        for prefixes in ("teacher", "student", "gold"):
            if summed(logging_outputs, f"{prefixes}_divergence") != 0:
                logged(f"{prefixes}_divergence", f"{prefixes}_divergence", f"{prefixes}_tokens")
        logged("entropy", "student_nll", "student_tokens")
        if summed(logging_outputs, "student_tokens") > 0:
            logged("rollout_length", "student_tokens", "nsentences", unit=1.0)
        logged("nll_loss", "gold_nll", "gold_tokens")
        if summed(logging_outputs, "gold_tokens") > 0:
            metrics.log_derived("ppl", lambda meters: utils.get_perplexity(meters["nll_loss"].avg))
