"""Criterion ``token_kd``: word-level knowledge distillation (Kim & Rush 2016, section 3.1)."""

import logging
from dataclasses import dataclass, field
from typing import Any

from fairseq.criterions import register_criterion
from fairseq.dataclass import ChoiceEnum
from fairseq.models import BaseFairseqModel
from torch import Tensor

from fairseq_kd.criterions.base import FusedConfig, FusedCriterion, log_mean
from fairseq_kd.criterions.other_vocabulary import Batch, aligned_losses, sorted_losses
from fairseq_kd.data.soft_targets import normalised
from fairseq_kd.data.text.symbol_map import symbol_map
from fairseq_kd.data.text.teacher_text import that_fits
from fairseq_kd.errors import UserError
from fairseq_kd.losses.chunk import Objective, TeacherAnswer
from fairseq_kd.losses.fused import Losses
from fairseq_kd.losses.ranges import check_kept, check_share, check_temperature
from fairseq_kd.losses.truncation import Truncated
from fairseq_kd.networks.distributions import next_tokens, real_tokens
from fairseq_kd.networks.teacher import Teacher
from fairseq_kd.tasks.translation_kd import TranslationKDTask

logger = logging.getLogger(__name__)


@dataclass
class WordKDConfig(FusedConfig):
    """Options of every criterion with word-level distillation."""

    kd_alpha: float = field(
        default=0.5,
        metadata={
            "help": "weight alpha of the teacher's distributions; the gold target's cross-entropy gets 1 - alpha"
        },
    )
    kd_temperature: float = field(
        default=1.0, metadata={"help": "temperature of both distributions; the soft loss is multiplied by its square"}
    )
    kd_top_k: int = field(
        default=0,
        metadata={"help": "keep the teacher's k likeliest symbols, and one bucket for all others (0: keep all)"},
    )


@dataclass
class TokenKDConfig(WordKDConfig):
    """Options of ``token_kd``."""

    teacher_vocabulary: ChoiceEnum(("same", "aligned", "uld")) = field(  # type: ignore[valid-type]
        default="same",
        metadata={
            "help": "same: the teacher has the student's subwords; if it has others (give --teacher-spm), aligned "
            "compares both models over common spans of text, and uld by sorted probabilities"
        },
    )


@register_criterion("token_kd", dataclass=TokenKDConfig)
class TokenKDCriterion(FusedCriterion):
    """L = (1−α)·NLL(gold) + α·τ²·Σ_t −Σ_k p_τ(k|y_<t, x)·log q_τ(k|y_<t, x), on gold prefixes.

    Kim & Rush 2016, eq. of L_WORD-KD, mixed with the NLL; τ² after Hinton et al. 2015, section 2. The label smoothing
    is fairseq's. With --teacher-vocabulary aligned or uld the teacher has other subwords; see
    :mod:`fairseq_kd.criterions.other_vocabulary`.

    Raises:
        UserError: an option is out of its range, or the task has no teacher.
    """

    needs_teacher = "token_kd"
    takes_tagged = True
    takes_other_vocabulary = True

    _symbol_map: Tensor | None = None
    _warned = False

    def __init__(
        self,
        task: TranslationKDTask,
        kd_alpha: float,
        kd_temperature: float,
        kd_top_k: int,
        label_smoothing: float,
        chunk_memory: float,
        sentence_avg: bool,
        teacher_vocabulary: str = "same",
    ):
        super().__init__(task, label_smoothing, chunk_memory, sentence_avg)
        self.teacher_vocabulary = str(teacher_vocabulary)
        _check_vocabulary(task, self.teacher_vocabulary, kd_top_k)
        check_share("--kd-alpha", kd_alpha)
        check_temperature("--kd-temperature", kd_temperature)
        if kd_top_k != 0:
            check_kept("--kd-top-k", kd_top_k, len(task.target_dictionary), or_all=True)
        _check_cache(task.cache_settings(), kd_temperature, kd_top_k)
        self.gold_alone = Objective(label_smoothing=label_smoothing)
        self.objective = Objective(
            hard_weight=1 - kd_alpha,
            label_smoothing=label_smoothing,
            soft_weight=kd_alpha * kd_temperature**2,
            temperature=kd_temperature,
            kept=kd_top_k,
        )

    def forward(self, model: BaseFairseqModel, sample: dict[str, Any]) -> tuple[Tensor, Tensor | int, dict[str, Any]]:
        """The loss summed over the batch's real tokens (a scalar, in nats), the sample size, and what to log."""
        if self.teacher_vocabulary != "same":
            teacher, answer = self.task.teacher(model), None
            if teacher is not None:
                return self._other_vocabulary(model, sample, teacher)
        else:
            answer = self._answer(model, sample)
        if answer is None:
            losses, sample_size, log = self.losses(model, sample, self.gold_alone)
            return losses.loss, sample_size, log
        losses, sample_size, log = self.losses(model, sample, self.objective, answer)
        return losses.loss, sample_size, log | self.teacher_log(losses)

    def _other_vocabulary(
        self, model: BaseFairseqModel, sample: dict[str, Any], teacher: Teacher
    ) -> tuple[Tensor, int, dict[str, Any]]:
        """As :meth:`forward`, with a teacher that reads the batch's text in its own symbols."""
        own, theirs = self.task.target_dictionary, self.task.teacher_task().target_dictionary
        text, too_long = that_fits(sample["teacher_text"], teacher.max_positions(), theirs.pad())
        if too_long and not self._warned:
            logger.warning(
                "a row is longer in the teacher's pieces than its positions, %d and %d tokens: such rows learn from "
                "gold alone; too_long is their share in each batch",
                *teacher.max_positions(),
            )
            self._warned = True
        real, teacher_real = real_tokens(sample["target"], own.pad()), real_tokens(text["target"], theirs.pad())
        answer = teacher.next_tokens(text, teacher_real) if len(text["target"]) else []
        student = next_tokens(model, sample, real)
        batch = Batch(student, sample["target"][real], answer, text["target"][teacher_real], text)
        if self.teacher_vocabulary == "uld":
            loss, nll, log = sorted_losses(batch, self.objective, self.chunk_memory)
        else:
            if self._symbol_map is None:
                words = self.task.cfg.student_post_process == "none"
                self._symbol_map = symbol_map(theirs, own, words=words).to(real.device)
            loss, nll, log = aligned_losses(batch, self.objective, self._symbol_map, self.chunk_memory)
        sample_size = self.sample_size(sample)
        return loss, sample_size, self.common_log(sample, sample_size, loss, nll) | log | {"too_long": too_long}

    @staticmethod
    def teacher_log(losses: Losses) -> dict[str, Any]:
        """The log of the teacher's part of the loss."""
        return {"kd_loss": losses.soft_loss, "agreed": losses.agreed, "kd_ntokens": len(losses.divergence)}

    def _answer(self, model: BaseFairseqModel, sample: dict[str, Any]) -> TeacherAnswer | None:
        """The teacher's answer from the batch's soft targets, else from the teacher; None where neither is at hand."""
        soft_targets = sample.get("soft_targets")
        if soft_targets is not None:
            if "error" in soft_targets:
                raise UserError(soft_targets["error"])
            return Truncated(soft_targets["ids"], normalised(soft_targets["log_probs"]))
        teacher = self.task.teacher(model)
        return None if teacher is None else teacher.next_tokens(sample, real_tokens(sample["target"], self.padding_idx))

    @classmethod
    def reduce_metrics(cls, logging_outputs: list[dict[str, Any]]) -> None:
        """Log also the kd_loss, per token in bits, and the agreement, a share from 0 to 1.

        With a teacher of another vocabulary: the loss of a span in bits, or ULD's distance (0 to 2) per token; and
        the shares of tokens that are compared one to one, of rows whose characters differ, and of rows that are too
        long for the teacher.
        """
        super().reduce_metrics(logging_outputs)
        log_mean(logging_outputs, "uld_loss", per="uld_ntokens", unit=1.0)
        log_mean(logging_outputs, "kd_loss", per="kd_ntokens")
        log_mean(logging_outputs, "agreed", per="kd_ntokens", name="agreement", unit=1.0)
        log_mean(logging_outputs, "span_loss", per="spans")
        if any("unaligned" in log for log in logging_outputs):
            log_mean(logging_outputs, "one_to_one", per="ntokens", unit=1.0)
            log_mean(logging_outputs, "unaligned", per="nsentences", unit=1.0)
            log_mean(logging_outputs, "too_long", per="nsentences", unit=1.0)


def _check_vocabulary(task: TranslationKDTask, kind: str, top_k: int) -> None:
    """Raise a UserError where --teacher-vocabulary and the task's options about the teacher do not go together."""
    if kind == "same":
        if task.cfg.teacher_spm:
            raise UserError("--teacher-spm is for a teacher of other subwords: add --teacher-vocabulary aligned or uld")
        return
    if not task.cfg.teacher_spm:
        raise UserError(
            f"--teacher-vocabulary {kind} needs the sentencepiece model of the teacher's subwords: give --teacher-spm"
        )
    for option, value in (
        ("--teacher-cache", task.cfg.teacher_cache),
        ("--assume-same-dictionary", task.cfg.assume_same_dictionary),
        ("--kd-top-k", top_k if kind == "uld" else 0),
    ):
        if value:
            raise UserError(f"--teacher-vocabulary {kind} does not go with {option}: leave out one of the two")


def _check_cache(settings: dict[str, Any] | None, temperature: float, top_k: int) -> None:
    """Raise a UserError where the cached soft targets do not have the temperature and the k of the options."""
    if settings is None:
        return
    if settings["temperature"] != temperature:
        raise UserError(
            f"--kd-temperature {temperature}: the soft targets of --teacher-cache are at {settings['temperature']}; "
            f"give --kd-temperature {settings['temperature']}, or write a cache with another temperature"
        )
    if top_k not in (0, settings["top_k"]):
        raise UserError(
            f"--kd-top-k {top_k}: the soft targets of --teacher-cache have {settings['top_k']} symbols; "
            f"give --kd-top-k {settings['top_k']} or leave it out"
        )
