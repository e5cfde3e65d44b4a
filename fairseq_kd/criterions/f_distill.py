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

from fairseq_kd.criterions.base import FusedConfig, FusedCriterion, summed
from fairseq_kd.criterions.interleave import interleave, select, tokens_of
from fairseq_kd.decoding.options import Sampling
from fairseq_kd.decoding.rollouts import draw_rollouts, uniform_numbers
from fairseq_kd.errors import UserError
from fairseq_kd.losses.chunk import NextTokens, Objective
from fairseq_kd.losses.divergences import DIVERGENCES, Divergence, sequence_log_odds
from fairseq_kd.losses.fused import Losses, fused_loss
from fairseq_kd.losses.token_values import token_nll
from fairseq_kd.networks.distributions import next_tokens, real_tokens, unwrap
from fairseq_kd.networks.teacher import Teacher
from fairseq_kd.tasks.rollouts_ahead import RolloutsAhead
from fairseq_kd.tasks.translation_kd import TranslationKDTask

PREFIXES = ("paper", "gold", "teacher", "student", "both")
MIXTURES = ("step", "sequence")
TURN = 2**62
"""In the place of a sentence's number where the kind of an update's prefixes is drawn."""
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
    js_mixture: ChoiceEnum(MIXTURES) = field(  # type: ignore[valid-type]
        default="step", metadata={"help": "js and generalized_js: to the mixture of each step, or of whole sequences"}
    )
    student_fraction: float = field(
        default=0.0, metadata={"help": "share of updates on the student's own sequences, not on the gold or teacher's"}
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
    rollout_refresh: int = field(
        default=0,
        metadata={"help": "decode the student's for so many updates ahead with CTranslate2 (0: from current weights)"},
    )
    update_freq: list[int] = field(default=II("optimization.update_freq"))
    sentence_avg: bool = II("optimization.sentence_avg")
    seed: int = II("common.seed")


@dataclass(frozen=True)
class Term:
    """Sequences, shape (batch, length) padded on the right, and the loss on their prefixes."""

    name: str
    sequences: Tensor
    objective: Objective


@register_criterion("f_distill", dataclass=FDistillConfig)
class FDistillCriterion(FusedCriterion):
    """L = (1−α)·NLL(gold) + α·D, D the step-wise form of a sequence-level divergence.

    D sums over the steps of teacher samples, of student samples, or halves over both (Wen et al. 2023, eqs. 6, 7, 8 and
    10; JS with the step-wise mixture that their code has, or with that of their section 7). No gradient flows through
    the drawing of a sequence.

    Raises:
        UserError: an option out of its range, or a task without a teacher.
    """

    def __init__(self, cfg: FDistillConfig, task: TranslationKDTask):
        super().__init__(task, cfg.label_smoothing, cfg.chunk_memory, cfg.sentence_avg)
        _check_task(task)
        if not 0 <= cfg.kd_alpha <= 1:
            raise UserError(f"--kd-alpha {cfg.kd_alpha}: give a weight between 0 and 1")
        family = DIVERGENCES[str(cfg.divergence)]
        try:
            self.divergence = family.at(cfg.divergence_parameter)
        except ValueError as error:
            raise UserError(f"--divergence-parameter {cfg.divergence_parameter}, {cfg.divergence}: {error}") from None
        self.of_sequences = str(cfg.js_mixture) == "sequence"
        if self.of_sequences and self.divergence.teacher_share is None:
            raise UserError(
                f"--js-mixture sequence: {cfg.divergence} is taken to no mixture; js and generalized_js are"
            )
        self.prefixes = family.prefixes if str(cfg.prefixes) == "paper" else str(cfg.prefixes)
        _check_prefixes(cfg, self.prefixes, task)
        self.online = cfg.online_teacher_samples
        self.student_fraction = cfg.student_fraction
        self.alpha = cfg.kd_alpha
        self.sampling = Sampling(
            cfg.rollout_top_k,
            cfg.rollout_top_p,
            cfg.rollout_temperature,
            cfg.rollout_max_len_a,
            cfg.rollout_max_len_b,
        )
        self.seed = cfg.seed
        self.ahead: RolloutsAhead | None = None
        if cfg.rollout_refresh:
            self.ahead = RolloutsAhead(task, self.sampling, cfg.rollout_refresh, cfg.update_freq, cfg.seed)

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

    def _gold(self, sample: dict[str, Any], hard_weight: float = 1.0) -> Term:
        return Term("gold", sample["target"], Objective(hard_weight, self.label_smoothing))

    def _parts(self, model: BaseFairseqModel, teacher: Teacher, sample: dict[str, Any]) -> list[Term]:
        def soft(divergence: Divergence, hard_weight: float = 0.0) -> Objective:
            return Objective(hard_weight, self.label_smoothing, self.alpha, divergence)

        whole, on_teacher, on_student = (
            self.divergence.value,
            self.divergence.on_teacher_prefixes,
            self.divergence.on_student_prefixes,
        )
        parts = []
        prefixes = "student" if self._students_turn() else self.prefixes
        if prefixes in ("teacher", "both"):
            drawn = self._teacher_sequences(teacher, sample)
            parts.append(Term("teacher", drawn, soft(on_teacher if prefixes == "both" else whole)))
        if prefixes in ("student", "both"):
            bare = unwrap(model)
            ahead = self.ahead if self.training else None
            drawn = ahead.draw(bare, sample) if ahead else self._draw(bare, sample)
            parts.append(Term("student", drawn, soft(on_student if prefixes == "both" else whole)))
        if prefixes == "gold":
            parts.append(Term("gold", sample["target"], soft(whole, 1 - self.alpha)))
        elif self.alpha < 1:
            parts.append(self._gold(sample, 1 - self.alpha))
        return parts

    def _students_turn(self) -> bool:
        """Whether this update is one of the student's (Agarwal et al. 2024, algorithm 1); the same in every process.

        Validation is on the fixed prefixes alone.
        """
        if not self.training or self.student_fraction == 0:
            return False
        return float(uniform_numbers((self.seed, self.task.update), [TURN], 1)) < self.student_fraction

    def _teacher_sequences(self, teacher: Teacher, sample: dict[str, Any]) -> Tensor:
        if self.online:
            return self._draw(teacher.models[0], sample)
        # A validation set has no teacher samples: its gold targets stand in.
        return sample["distilled"] if "distilled" in sample else sample["target"]

    def _draw(self, model: Any, sample: dict[str, Any]) -> Tensor:
        update = self.task.update if self.training else EVALUATION
        return draw_rollouts([model], sample, self.sampling, (self.seed, update), self.task.target_dictionary)

    def _losses(
        self, model: BaseFairseqModel, teacher: Teacher | None, sample: dict[str, Any], parts: Sequence[Term]
    ) -> list[tuple[Term, int, Losses]]:
        """Each part with its number of tokens and its losses; the student's forward is one for all of them."""
        target, batch = interleave(sample, [part.sequences for part in parts], self.task.target_dictionary)
        real = real_tokens(target, self.padding_idx)
        student = next_tokens(model, batch, real)
        answers = teacher.next_tokens(batch, real) if teacher else []
        gold, result = target[real], []
        for number, part in enumerate(parts):
            own = tokens_of(number, len(parts), real)
            asked = None if part.objective.soft_weight == 0 else [select(answer, own) for answer in answers]
            mine, odds = select(student, own), None
            if self.of_sequences and asked is not None:
                odds = self._log_odds(mine, asked, part.sequences, gold[own])
            losses = fused_loss(mine, gold[own], part.objective, asked, self.chunk_memory, log_odds=odds)
            result.append((part, len(own), losses))
        return result

    def _log_odds(
        self, student: NextTokens, teacher: Sequence[NextTokens], sequences: Tensor, tokens: Tensor
    ) -> Tensor:
        """How much likelier each prefix is to the teacher, for the mixture of sequences, shape (tokens,)."""
        each = torch.stack([-token_nll(one, tokens, self.chunk_memory) for one in teacher])
        return sequence_log_odds(
            each.logsumexp(dim=0) - math.log(len(each)),
            -token_nll(student, tokens, self.chunk_memory),
            real_tokens(sequences, self.padding_idx).sum(dim=1),
            self.divergence.teacher_share or 0.0,
        )

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


def _check_task(task: TranslationKDTask) -> None:
    if not isinstance(task, TranslationKDTask):
        raise UserError("--criterion f_distill needs a task with a teacher: --task translation_kd")
    if task.cfg.teacher_cache:
        raise UserError("--criterion f_distill asks about sequences that no cache holds: give --teacher-path")


def _check_prefixes(cfg: FDistillConfig, prefixes: str, task: TranslationKDTask) -> None:
    """Raise a UserError where the options cannot give sequences for these prefixes, or would for others."""
    if prefixes in ("teacher", "both") and not (cfg.online_teacher_samples or task.cfg.distilled_data):
        raise UserError(
            f"--divergence {cfg.divergence} on teacher prefixes: give the teacher's samples with "
            "--distilled-data DATABIN, or draw them with --online-teacher-samples"
        )
    if not 0 <= cfg.student_fraction <= 1:
        raise UserError(f"--student-fraction {cfg.student_fraction}: give a share between 0 and 1")
    if prefixes in ("student", "both") and cfg.student_fraction > 0:
        raise UserError(
            f"--student-fraction is the student's share among fixed prefixes, and these are of {prefixes!r}: "
            "give --prefixes gold or teacher, or leave it out"
        )
    if prefixes in ("gold", "teacher") and cfg.rollout_refresh and not cfg.student_fraction:
        raise UserError(f"--rollout-refresh: --divergence {cfg.divergence} draws nothing from the student here")
