"""Criterion ``token_kd``: word-level knowledge distillation (Kim & Rush 2016, section 3.1)."""

import math
from dataclasses import dataclass, field
from typing import Any

from fairseq import utils
from fairseq.criterions import FairseqCriterion, register_criterion
from fairseq.criterions.label_smoothed_cross_entropy import label_smoothed_nll_loss
from fairseq.dataclass import FairseqDataclass
from fairseq.logging import metrics
from fairseq.models import BaseFairseqModel
from omegaconf import II
from torch import Tensor

from fairseq_kd.data.soft_targets import normalised
from fairseq_kd.distributions import log_probs, real_tokens
from fairseq_kd.divergences import buckets, cross_entropy, temper, top_k_and_tail
from fairseq_kd.errors import UserError
from fairseq_kd.tasks.translation_kd import TranslationKDTask


@dataclass
class TokenKDConfig(FairseqDataclass):
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
    label_smoothing: float = field(default=0.0, metadata={"help": "label smoothing of the gold target's part"})
    sentence_avg: bool = II("optimization.sentence_avg")


@register_criterion("token_kd", dataclass=TokenKDConfig)
class TokenKDCriterion(FairseqCriterion):
    """L = (1−α)·NLL(gold) + α·τ²·Σ_t −Σ_k p_τ(k|y_<t, x)·log q_τ(k|y_<t, x), on gold prefixes.

    Kim & Rush 2016, eq. of L_WORD-KD, mixed with the NLL; τ² after Hinton et al. 2015, section 2. The label smoothing
    is fairseq's.

    Raises:
        UserError: an option out of its range, or a task without a teacher.
    """

    def __init__(
        self,
        task: TranslationKDTask,
        kd_alpha: float,
        kd_temperature: float,
        kd_top_k: int,
        label_smoothing: float,
        sentence_avg: bool,
    ):
        super().__init__(task)
        if not isinstance(task, TranslationKDTask):
            raise UserError("--criterion token_kd needs a task with a teacher: --task translation_kd")
        if not 0 <= kd_alpha <= 1:
            raise UserError(f"--kd-alpha {kd_alpha}: give a weight between 0 and 1")
        if not kd_temperature > 0:
            raise UserError(f"--kd-temperature {kd_temperature}: give a temperature above 0")
        if kd_top_k < 0:
            raise UserError(f"--kd-top-k {kd_top_k}: give a number of symbols, or 0 for all")
        if not 0 <= label_smoothing < 1:
            raise UserError(f"--label-smoothing {label_smoothing}: give a share of at least 0 and below 1")
        _check_cache(task.cache_settings(), kd_temperature, kd_top_k)
        self.alpha = kd_alpha
        self.temperature = kd_temperature
        self.top_k = kd_top_k
        self.label_smoothing = label_smoothing
        self.sentence_avg = sentence_avg

    def forward(self, model: BaseFairseqModel, sample: dict[str, Any]) -> tuple[Tensor, int, dict[str, Any]]:
        """The loss summed over the batch's real tokens (a scalar, in nats), the sample size, and what to log."""
        net_output = model(**sample["net_input"])
        target = model.get_targets(sample, net_output)
        real = real_tokens(target, self.padding_idx)
        student = log_probs(model, net_output, sample, real)
        loss, nll_loss = label_smoothed_nll_loss(student, target[real], self.label_smoothing)
        sample_size = target.size(0) if self.sentence_avg else sample["ntokens"]
        log = {
            "nll_loss": nll_loss.data,
            "ntokens": sample["ntokens"],
            "nsentences": target.size(0),
            "sample_size": sample_size,
        }
        learnt = self._learn(model, sample, real, student)
        if learnt is not None:
            kd_loss, agreed = learnt
            loss = (1 - self.alpha) * loss + self.alpha * self.temperature**2 * kd_loss
            log |= {"kd_loss": kd_loss.data, "agreed": agreed, "kd_ntokens": sample["ntokens"]}
        return loss, sample_size, {"loss": loss.data, **log}

    def _learn(
        self, model: BaseFairseqModel, sample: dict[str, Any], real: Tensor, student: Tensor
    ) -> tuple[Tensor, Tensor] | None:
        """As :meth:`_learn_from`, from the batch's soft targets or else from the teacher; None where neither is."""
        soft_targets = sample.get("soft_targets")
        if soft_targets is not None:
            ids = soft_targets["ids"]
            agreed = ids[:, 0].eq(student.argmax(dim=-1)).sum()
            own = buckets(temper(student, self.temperature), ids)
            return cross_entropy(normalised(soft_targets["log_probs"]), own).sum(), agreed
        teacher = self.task.teacher(model)
        return None if teacher is None else self._learn_from(teacher.log_probs(sample, real), student)

    def _learn_from(self, teacher: Tensor, student: Tensor) -> tuple[Tensor, Tensor]:
        """Soft loss and number of tokens with the same likeliest symbol, summed; both inputs (tokens, vocabulary)."""
        agreed = teacher.argmax(dim=-1).eq(student.argmax(dim=-1)).sum()
        pair = top_k_and_tail(temper(teacher, self.temperature), temper(student, self.temperature), self.top_k)
        return cross_entropy(*pair).sum(), agreed

    @classmethod
    def reduce_metrics(cls, logging_outputs: list[dict[str, Any]]) -> None:
        """Log, per token in bits as fairseq does: loss, nll_loss, kd_loss; and the agreement, a share from 0 to 1."""

        def total(key: str) -> Any:
            return sum(log.get(key, 0) for log in logging_outputs)

        sample_size, tokens, kd_tokens = total("sample_size"), total("ntokens"), total("kd_ntokens")
        metrics.log_scalar("loss", total("loss") / sample_size / math.log(2), sample_size, round=3)
        metrics.log_scalar("nll_loss", total("nll_loss") / tokens / math.log(2), tokens, round=3)
        if kd_tokens > 0:
            metrics.log_scalar("kd_loss", total("kd_loss") / kd_tokens / math.log(2), kd_tokens, round=3)
            metrics.log_scalar("agreement", total("agreed") / kd_tokens, kd_tokens, round=3)
        metrics.log_derived("ppl", lambda meters: utils.get_perplexity(meters["nll_loss"].avg))

    @staticmethod
    def logging_outputs_can_be_summed() -> bool:
        """Every entry is a sum over tokens or sentences."""
        return True


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
