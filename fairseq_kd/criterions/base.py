"""What the criterions share: the student's forward, the fused loss over it, and the log that fairseq expects."""

import logging
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

from fairseq import utils
from fairseq.criterions import FairseqCriterion
from fairseq.dataclass import FairseqDataclass
from fairseq.logging import metrics
from fairseq.models import BaseFairseqModel
from fairseq.tasks import FairseqTask
from omegaconf import II
from torch import Tensor

from fairseq_kd.criterions.interleave import Answer, answers
from fairseq_kd.errors import UserError
from fairseq_kd.losses.chunk import Objective, TeacherAnswer
from fairseq_kd.losses.fused import Losses, fused_loss
from fairseq_kd.networks.distributions import next_tokens, real_tokens
from fairseq_kd.networks.teacher import Teacher
from fairseq_kd.tasks.with_teacher import WithTeacher

logger = logging.getLogger(__name__)


@dataclass
class FusedConfig(FairseqDataclass):
    """Options of every criterion of this package."""

    label_smoothing: float = field(
        default=0.0,
        metadata={
            "help": "label smoothing of the target's cross-entropy: of gold, in hybrid_kd of the distilled one too"
        },
    )
    chunk_memory: float = field(
        default=0.0,
        metadata={
            "help": "MiB of logits computed at a time (0: 4 on a CPU; on a GPU 256, and at least half as many tokens "
            "as the decoder is wide)"
        },
    )
    sentence_avg: bool = II("optimization.sentence_avg")


class FusedCriterion(FairseqCriterion):
    """Base of the criterions: sums over real tokens, in nats, with fairseq's label smoothing on targets.

    Raises:
        UserError: an option is out of its range, or the criterion needs a teacher and the task has none.
    """

    needs_teacher: ClassVar[str] = ""
    """The criterion's name on the command line, where it needs a task with a teacher; else empty."""
    takes_tagged: ClassVar[bool] = False
    """Whether the student may be multilingual: its own batches are all that the criterion asks the models about."""
    takes_distilled: ClassVar[bool] = False
    """Whether the criterion learns from --distilled-data. The task refuses the option for any other criterion."""
    takes_other_vocabulary: ClassVar[bool] = False
    """Whether the criterion learns from a teacher whose subwords are not the student's."""

    def __init__(self, task: FairseqTask, label_smoothing: float, chunk_memory: float, sentence_avg: bool):
        super().__init__(task)
        if self.needs_teacher and not isinstance(task, WithTeacher):
            raise UserError(f"--criterion {self.needs_teacher} needs a task with a teacher: give --task translation_kd")
        if self.needs_teacher and task.conventions is not None and not self.takes_tagged:
            raise UserError(
                f"--criterion {self.needs_teacher} does not know the language tokens of a multilingual student's "
                "batches: give --criterion token_kd"
            )
        if self.needs_teacher and task.cfg.teacher_spm and not self.takes_other_vocabulary:
            raise UserError(
                f"--criterion {self.needs_teacher} needs a teacher of the student's vocabulary: "
                "leave out --teacher-spm, or train with --criterion token_kd"
            )
        if not 0 <= label_smoothing < 1:
            raise UserError(f"--label-smoothing {label_smoothing}: give a share of at least 0 and below 1")
        if not 0 <= chunk_memory < math.inf:
            raise UserError(f"--chunk-memory {chunk_memory}: give MiB, or 0 for the default")
        self.label_smoothing = label_smoothing
        self.chunk_memory = chunk_memory
        self.sentence_avg = sentence_avg

    def losses(
        self,
        model: BaseFairseqModel,
        sample: dict[str, Any],
        objective: Objective,
        teacher: TeacherAnswer | None = None,
    ) -> tuple[Losses, int, dict[str, Any]]:
        """The losses on the batch's gold targets, the sample size, and the log that every criterion keeps.

        Args:
            model: the student.
            sample: the batch.
            objective: the loss.
            teacher: the teacher's answer about the same tokens, for an objective that needs it.
        """
        target = sample["target"]  # (batch, length)
        real = real_tokens(target, self.padding_idx)
        student = next_tokens(model, sample, real)
        losses = fused_loss(student, target[real], objective, teacher, self.chunk_memory)
        sample_size = self.sample_size(sample)
        return losses, sample_size, self.common_log(sample, sample_size, losses.loss, losses.nll_loss)

    def answers(
        self,
        model: BaseFairseqModel,
        sample: dict[str, Any],
        sequences: Sequence[Tensor],
        teacher: Teacher | None = None,
    ) -> Iterator[Answer]:
        """As :func:`fairseq_kd.criterions.interleave.answers`, with the task's dictionary."""
        return answers(model, teacher, sample, sequences, self.task.target_dictionary)

    def sample_size(self, sample: dict[str, Any]) -> int:
        """The number by which fairseq divides the gradient: gold tokens, or sentences with --sentence-avg."""
        return sample["target"].size(0) if self.sentence_avg else sample["ntokens"]

    def common_log(
        self, sample: dict[str, Any], sample_size: Tensor | int, loss: Tensor, nll_loss: Tensor | None
    ) -> dict[str, Any]:
        """The log that every criterion keeps.

        Args:
            sample: the batch.
            sample_size: of the loss.
            loss: a scalar; logged without its gradient.
            nll_loss: NLL of the batch's gold targets; None where the criterion did not compute it.
        """
        log = {
            "loss": loss.data,
            "ntokens": sample["ntokens"],
            "nsentences": sample["target"].size(0),
            "sample_size": sample_size,
        }
        return log if nll_loss is None else log | {"nll_loss": nll_loss}

    def load_state_dict(self, state_dict: Mapping[str, Any] | None, *args: Any, **options: Any) -> Any:
        """As torch's, but None and the state of another criterion change nothing.

        With --finetune-from-model fairseq passes the state of the earlier training's criterion, whichever that was, and
        None where it had no parameters.
        """
        own = self.state_dict()
        if own.keys().isdisjoint(state_dict or {}):
            if own and state_dict:
                warn_of_new(own)
            state_dict = own
        return super().load_state_dict(state_dict, *args, **options)

    @classmethod
    def reduce_metrics(cls, logging_outputs: list[dict[str, Any]]) -> None:
        """Log loss and nll_loss, per token in bits as fairseq does, and the perplexity."""
        log_mean(logging_outputs, "loss", per="sample_size")
        if any("nll_loss" in log for log in logging_outputs):
            log_mean(logging_outputs, "nll_loss", per="ntokens")
            metrics.log_derived("ppl", lambda meters: utils.get_perplexity(meters["nll_loss"].avg))

    @staticmethod
    def logging_outputs_can_be_summed() -> bool:
        """Every entry is a sum over tokens or sentences."""
        return True


def warn_of_new(names: Iterable[str]) -> None:
    """Log which of a criterion's own weights a checkpoint does not give."""
    named = ", ".join(sorted(names))
    logger.warning("the checkpoint is of another criterion, student or teacher: %s start anew", named)


def summed(logging_outputs: list[dict[str, Any]], key: str) -> Tensor | float:
    """One entry, summed over all batches and processes; 0 where no batch has it."""
    return sum(log.get(key, 0) for log in logging_outputs)


def log_mean(
    logging_outputs: list[dict[str, Any]],
    key: str,
    per: str,
    name: str = "",
    unit: float = math.log(2),
    digits: int | None = 3,
) -> None:
    """Log the sum of one entry over the sum of another; nothing where the latter is 0.

    Args:
        logging_outputs: of all batches and processes.
        key: the entry.
        per: the entry that it is divided by; also the figure's weight in fairseq's means.
        name: of what is logged; empty for ``key``.
        unit: that the figure is expressed in; by default bits, for an entry in nats.
        digits: that fairseq prints; None for all.
    """
    count = summed(logging_outputs, per)
    if count > 0:
        metrics.log_scalar(name or key, summed(logging_outputs, key) / count / unit, count, round=digits)
