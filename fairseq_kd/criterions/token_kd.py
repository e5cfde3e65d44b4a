"""Criterion ``token_kd``: word-level knowledge distillation (Kim & Rush 2016, section 3.1)."""

import math
from dataclasses import dataclass, field
from typing import Any

from fairseq.criterions import register_criterion
from fairseq.logging import metrics
from fairseq.models import BaseFairseqModel
from torch import Tensor

from fairseq_kd.criterions.base import FusedConfig, FusedCriterion, summed
from fairseq_kd.data.soft_targets import normalised
from fairseq_kd.errors import UserError
from fairseq_kd.losses.chunk import Objective, TeacherAnswer, Truncated
from fairseq_kd.networks.distributions import real_tokens
from fairseq_kd.tasks.translation_kd import TranslationKDTask


@dataclass
class TokenKDConfig(FusedConfig):
    """Options of ``token_kd``."""

    kd_alpha: float = field(
        default=0.5, metadata={"help": "weight of the teacher's part; 1 - alpha is the gold target's"}
    )
    kd_temperature: float = field(
        default=1.0, metadata={"help": "temperature of both distributions; the soft loss is multiplied by its square"}
    )
    kd_top_k: int = field(
        default=0, metadata={"help": "keep the teacher's k likeliest symbols and one bucket for the rest (0: all)"}
    )


@register_criterion("token_kd", dataclass=TokenKDConfig)
class TokenKDCriterion(FusedCriterion):
    """L = (1−α)·NLL(gold) + α·τ²·Σ_t −Σ_k p_τ(k|y_<t, x)·log q_τ(k|y_<t, x), on gold prefixes.

    Kim & Rush 2016, eq. of L_WORD-KD, mixed with the NLL; τ² after Hinton et al. 2015, section 2. The label smoothing
    is fairseq's.

    Raises:
        UserError: an option out of its range, or a task without a teacher.
    """

    takes_distilled = False
    """Whether --distilled-data is learnt from."""

    def __init__(
        self,
        task: TranslationKDTask,
        kd_alpha: float,
        kd_temperature: float,
        kd_top_k: int,
        label_smoothing: float,
        chunk_memory: float,
        sentence_avg: bool,
    ):
        super().__init__(task, label_smoothing, chunk_memory, sentence_avg)
        if not isinstance(task, TranslationKDTask):
            raise UserError("this criterion needs a task with a teacher: --task translation_kd")
        if task.cfg.distilled_data and not self.takes_distilled:
            raise UserError(
                "--criterion token_kd learns from the data's own targets alone: leave out --distilled-data, "
                "or train on that data-bin"
            )
        if not 0 <= kd_alpha <= 1:
            raise UserError(f"--kd-alpha {kd_alpha}: give a weight between 0 and 1")
        if not kd_temperature > 0:
            raise UserError(f"--kd-temperature {kd_temperature}: give a temperature above 0")
        if kd_top_k < 0:
            raise UserError(f"--kd-top-k {kd_top_k}: give a number of symbols, or 0 for all")
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
        answer = self._answer(model, sample)
        if answer is None:
            losses, sample_size, log = self.losses(model, sample, self.gold_alone)
            return losses.loss, sample_size, log
        losses, sample_size, log = self.losses(model, sample, self.objective, answer)
        log |= {"kd_loss": losses.soft_loss, "agreed": losses.agreed, "kd_ntokens": sample["ntokens"]}
        return losses.loss, sample_size, log

    def _answer(self, model: BaseFairseqModel, sample: dict[str, Any]) -> TeacherAnswer | None:
        """From the batch's soft targets, else from the teacher; None where neither is."""
        soft_targets = sample.get("soft_targets")
        if soft_targets is not None:
            return Truncated(soft_targets["ids"], normalised(soft_targets["log_probs"]))
        teacher = self.task.teacher(model)
        return None if teacher is None else teacher.next_tokens(sample, real_tokens(sample["target"], self.padding_idx))

    @classmethod
    def reduce_metrics(cls, logging_outputs: list[dict[str, Any]]) -> None:
        """Log also the kd_loss, per token in bits, and the agreement, a share from 0 to 1."""
        super().reduce_metrics(logging_outputs)
        tokens = summed(logging_outputs, "kd_ntokens")
        if tokens > 0:
            metrics.log_scalar("kd_loss", summed(logging_outputs, "kd_loss") / tokens / math.log(2), tokens, round=3)
            metrics.log_scalar("agreement", summed(logging_outputs, "agreed") / tokens, tokens, round=3)


def _check_cache(settings: dict[str, Any] | None, temperature: float, top_k: int) -> None:
    """Raise a UserError where cached soft targets are not what the options ask for."""
    if settings is None:
        return
    if settings["temperature"] != temperature:
        raise UserError(
            f"--kd-temperature {temperature}: the soft targets of --teacher-cache are at {settings['temperature']}, "
            "and their tail cannot be brought to another temperature; give that one or write another cache"
        )
    if top_k not in (0, settings["top_k"]):
        raise UserError(
            f"--kd-top-k {top_k}: the soft targets of --teacher-cache have {settings['top_k']} symbols; "
            f"give --kd-top-k {settings['top_k']} or leave it out"
        )
