"""Criterion ``f_distill``: f-divergences between teacher and student over sequences (Wen et al. 2023)."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from fairseq.criterions import register_criterion
from fairseq.models import BaseFairseqModel
from torch import Tensor

from fairseq_kd.criterions.base import FusedCriterion, log_mean, summed
from fairseq_kd.criterions.f_distill_options import (
    FDistillConfig,
    bound_divergence,
    check_rollouts,
    check_temperatures,
    chosen_prefixes,
)
from fairseq_kd.criterions.interleave import Answer, select
from fairseq_kd.decoding.options import Sampling
from fairseq_kd.decoding.sampling.rollouts import draw_rollouts, drawn_tokens, length_limits, uniform_numbers
from fairseq_kd.errors import UserError
from fairseq_kd.losses.chunk import NextTokens, Objective
from fairseq_kd.losses.divergences import sequence_log_odds
from fairseq_kd.losses.family import Divergence
from fairseq_kd.losses.fused import Losses, fused_loss
from fairseq_kd.losses.ranges import check_share
from fairseq_kd.losses.token_values import token_nll
from fairseq_kd.networks.distributions import real_tokens, unwrap
from fairseq_kd.networks.teacher import Teacher
from fairseq_kd.networks.teacher_tokens import TeacherTokens
from fairseq_kd.tasks.rollouts_ahead import RolloutsAhead
from fairseq_kd.tasks.translation_kd import TranslationKDTask

TURN = 2**62
"""In the place of a sentence's number where the kind of an update's prefixes is drawn."""
EVALUATION = 2**32 - 1
"""In the place of the update's number in validation, which thus draws the same sequences every time."""
TEACHERS = 2**31
"""Added to the update's number where the teacher draws. From the student's random numbers it would draw sequences like
the student's, and the errors of both halves of a divergence would add up."""


@dataclass(frozen=True)
class Term:
    """A part of the loss: sequences, shape (batch, length) padded on either side, and the loss on their prefixes."""

    name: str
    sequences: Tensor
    objective: Objective


@register_criterion("f_distill", dataclass=FDistillConfig)
class FDistillCriterion(FusedCriterion):
    """L = (1−α)·NLL(gold) + α·D, D the step-wise form of a sequence-level divergence.

    D sums over the steps of teacher samples, of student samples, or halves over both (Wen et al. 2023, eqs. 6, 7, 8 and
    10). JS takes the step-wise mixture of their code, or with --js-mixture sequence that of their section 7.

    The student's samples depend on its weights, but no gradient flows through the sampling. The gradient of a term on
    student samples is therefore not that of the sequence-level divergence (Wen et al. 2023, section 7). That also
    holds for the mixture of sequences, which is exact in value only.

    Raises:
        UserError: an option is out of its range, or the task has no teacher.
    """

    needs_teacher = "f_distill"
    takes_distilled = True

    def __init__(self, cfg: FDistillConfig, task: TranslationKDTask):
        super().__init__(task, cfg.label_smoothing, cfg.chunk_memory, cfg.sentence_avg)
        if task.cfg.teacher_cache:
            raise UserError(
                "--criterion f_distill needs the teacher's answers about sequences that a cache does not hold: "
                "give --teacher-path"
            )
        check_share("--kd-alpha", cfg.kd_alpha)
        self.divergence = bound_divergence(cfg)
        self.of_sequences = str(cfg.js_mixture) == "sequence"
        self.prefixes = chosen_prefixes(cfg, task)
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
        check_rollouts(cfg)
        check_temperatures(cfg)
        self.beam, self.min_len, self.own_lengths = cfg.rollout_beam, cfg.rollout_min_len, cfg.own_lengths
        self.temperatures = (cfg.kd_temperature, cfg.teacher_temperature)
        self.seed = cfg.seed
        self.ahead: RolloutsAhead | None = None
        if cfg.rollout_refresh:
            self.ahead = RolloutsAhead(
                task, self.sampling, cfg.rollout_refresh, cfg.update_freq, cfg.seed, self.min_len
            )

    def forward(self, model: BaseFairseqModel, sample: dict[str, Any]) -> tuple[Tensor, int, dict[str, Any]]:
        """The loss summed over the steps of all sequences (a scalar, in nats), the sample size, and what to log.

        The sample size is that of the gold targets, so that a step weighs the same whatever was drawn.
        """
        teacher = self.task.teacher(model)
        terms = [self._gold(sample)] if teacher is None else self._terms(model, teacher, sample)
        total, gold_nll = torch.zeros((), device=sample["target"].device), None
        log: dict[str, Any] = {}
        for term, answer, losses in self._losses(model, teacher, sample, terms):
            total = total + losses.loss
            gold_nll = losses.nll_loss if term.name == "gold" else gold_nll
            log |= {
                f"{term.name}_tokens": len(answer.symbols),
                f"{term.name}_nll": losses.nll_loss,
                f"{term.name}_divergence": losses.soft_loss / self.divergence.unit,
            }
            if term.name == "student":
                log |= self._of_drawn(model, teacher, sample, term.sequences, answer, losses)
        sample_size = self.sample_size(sample)
        return total, sample_size, self.common_log(sample, sample_size, total, gold_nll) | log

    def _gold(self, sample: dict[str, Any], hard_weight: float = 1.0) -> Term:
        return Term("gold", sample["target"], Objective(hard_weight, self.label_smoothing))

    def _terms(self, model: BaseFairseqModel, teacher: Teacher, sample: dict[str, Any]) -> list[Term]:
        """The parts of this update's loss, with the sequences drawn that they need."""

        def soft(divergence: Divergence, hard_weight: float = 0.0) -> Objective:
            temperature, of_teacher = self.temperatures
            weights = (hard_weight, self.label_smoothing, self.alpha)
            return Objective(*weights, divergence, temperature, teacher_temperature=of_teacher)

        whole, on_teacher, on_student = (
            self.divergence.value,
            self.divergence.on_teacher_prefixes,
            self.divergence.on_student_prefixes,
        )
        terms = []
        prefixes = "student" if self._students_turn() else self.prefixes
        if prefixes in ("teacher", "both"):
            drawn = self._teacher_sequences(teacher, sample, unwrap(model).max_decoder_positions())
            terms.append(Term("teacher", drawn, soft(on_teacher if prefixes == "both" else whole)))
        if prefixes in ("student", "both"):
            bare, positions = unwrap(model), teacher.max_positions()[1]
            ahead = self.ahead if self.training else None
            drawn = ahead.draw(bare, sample, positions) if ahead else self._draw([bare], sample, positions=positions)
            terms.append(Term("student", drawn, soft(on_student if prefixes == "both" else whole)))
        if prefixes == "gold":
            terms.append(Term("gold", sample["target"], soft(whole, 1 - self.alpha)))
        elif self.alpha < 1:
            terms.append(self._gold(sample, 1 - self.alpha))
        return terms

    def _students_turn(self) -> bool:
        """Whether this update is one of the student's (Agarwal et al. 2024, algorithm 1); the same in every process.

        Validation is on the fixed prefixes alone.
        """
        if not self.training or self.student_fraction == 0:
            return False
        return float(uniform_numbers((self.seed, self.task.update), [TURN], 1)) < self.student_fraction

    def _teacher_sequences(self, teacher: Teacher, sample: dict[str, Any], positions: float = math.inf) -> Tensor:
        """The teacher's sequences, (batch, length): drawn now from the mean of its models, or those of the data."""
        if self.online and self.training:
            return self._draw(teacher.models, sample, teacher.tokens, positions, stream=TEACHERS)
        # In validation gold targets stand in, so that runs with drawn and with given sequences can be compared.
        return sample["distilled"] if "distilled" in sample else sample["target"]

    def _draw(
        self,
        models: Sequence[Any],
        sample: dict[str, Any],
        tokens: Sequence[TeacherTokens | None] | None = None,
        positions: float = math.inf,
        stream: int = 0,
    ) -> Tensor:
        """Sequences of ``models``, no longer than the ``positions`` of the model that is to read them."""
        seed = (self.seed, stream + self.task.update if self.training else EVALUATION)
        how = (self.sampling, seed, self.task.target_dictionary, tokens)
        return draw_rollouts(models, sample, *how, beam=self.beam, min_len=self.min_len, positions=positions)

    def _losses(
        self, model: BaseFairseqModel, teacher: Teacher | None, sample: dict[str, Any], terms: Sequence[Term]
    ) -> Iterator[tuple[Term, Answer, Losses]]:
        """Each term with the answer about its tokens and its losses, from one forward of the student for all."""
        answers = self.answers(model, sample, [term.sequences for term in terms], teacher)
        for term, answer in zip(terms, answers, strict=True):
            asked = None if term.objective.soft_weight == 0 else answer.teacher()
            odds = None
            if self.of_sequences and asked is not None:
                odds = self._log_odds(answer, asked, term.sequences)
            weights = self._weights(sample, term.sequences) if self.own_lengths else None
            how = (term.objective, asked, self.chunk_memory, weights)
            losses = fused_loss(answer.student, answer.symbols, *how, log_odds=odds)
            yield term, answer, losses

    def _of_drawn(
        self, model: Any, teacher: Any, sample: dict[str, Any], sequences: Tensor, answer: Answer, losses: Losses
    ) -> dict[str, Any]:
        """NLL and number of the tokens that the student drew; nobody drew the ``</s>`` of a sequence that was cut."""
        limits = length_limits([unwrap(model)], sample, self.sampling, [None], teacher.max_positions()[1])
        drawn = drawn_tokens(sequences, limits, self.padding_idx)[real_tokens(sequences, self.padding_idx)]
        added = drawn.logical_not().nonzero().squeeze(1)
        nll = losses.nll_loss
        if len(added):
            with torch.no_grad():
                nll = nll - token_nll(select(answer.student, added), answer.symbols[added], self.chunk_memory).sum()
        return {"student_nll": nll, "student_drawn": len(drawn) - len(added)}

    def _weights(self, sample: dict[str, Any], sequences: Tensor) -> Tensor:
        """Each token's weight, shape (tokens,), with which a sequence counts as much as its gold target's tokens.

        A weight is a sentence's own, so that the sum over sentences does not depend on how they are cut into batches.
        """
        own = real_tokens(sequences, self.padding_idx).sum(dim=1)
        gold = real_tokens(sample["target"], self.padding_idx).sum(dim=1)
        return (gold / own).repeat_interleave(own)

    def _log_odds(self, answer: Answer, teacher: Sequence[NextTokens], sequences: Tensor) -> Tensor:
        """Log-odds, shape (tokens,), of the teacher's share in the mixture of sequences, from each token's prefix."""
        # log p(y_t | y_<t) by each of the teacher's models: (models, tokens).
        each = torch.stack([-token_nll(one, answer.symbols, self.chunk_memory) for one in teacher])
        return sequence_log_odds(
            each.logsumexp(dim=0) - math.log(len(each)),  # of the mean of their probabilities, (tokens,)
            -token_nll(answer.student, answer.symbols, self.chunk_memory),  # log q(y_t | y_<t), (tokens,)
            real_tokens(sequences, self.padding_idx).sum(dim=1),  # tokens of each sequence, (batch,)
            self.divergence.teacher_share or 0.0,
        )

    @classmethod
    def reduce_metrics(cls, logging_outputs: list[dict[str, Any]]) -> None:
        """Log also each half of the divergence, per token of its own sequences, in bits where it has this unit.

        Where the student's own sequences are used, log their mean length, and the entropy as their mean −log₂ q. The
        base logs nll_loss and ppl where the student learns from gold targets.
        """
        super().reduce_metrics(logging_outputs)
        for prefixes in ("teacher", "student", "gold"):
            if summed(logging_outputs, f"{prefixes}_divergence") != 0:
                log_mean(logging_outputs, f"{prefixes}_divergence", per=f"{prefixes}_tokens", unit=1.0)
        log_mean(logging_outputs, "student_nll", per="student_drawn", name="entropy")
        if summed(logging_outputs, "student_tokens") > 0:
            log_mean(logging_outputs, "student_tokens", per="nsentences", name="rollout_length", unit=1.0)
