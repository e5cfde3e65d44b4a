"""What the criterions share: one student forward, the fused loss over it, and what fairseq wants to know about it."""

import math
from dataclasses import dataclass, field
from typing import Any

from fairseq import utils
from fairseq.criterions import FairseqCriterion
from fairseq.dataclass import FairseqDataclass
from fairseq.logging import metrics
from fairseq.models import BaseFairseqModel
from fairseq.tasks import FairseqTask
from omegaconf import II
from torch import Tensor

from fairseq_kd.errors import UserError
from fairseq_kd.losses.chunk import Objective, TeacherAnswer
from fairseq_kd.losses.fused import Losses, fused_loss
from fairseq_kd.networks.distributions import next_tokens, real_tokens


@dataclass
class FusedConfig(FairseqDataclass):
    """Options of every criterion here."""

    label_smoothing: float = field(default=0.0, metadata={"help": "label smoothing of the gold target's part"})
    chunk_memory: float = field(
        default=0.0, metadata={"help": "MiB of logits computed at a time (0: 4 on a CPU, 256 on a GPU)"}
    )
    sentence_avg: bool = II("optimization.sentence_avg")


class FusedCriterion(FairseqCriterion):
    """Base of the criterions: sums over real tokens, in nats, with fairseq's label smoothing on the gold part.

    Raises:
        UserError: an option out of its range.
    """

    def __init__(self, task: FairseqTask, label_smoothing: float, chunk_memory: float, sentence_avg: bool):
        super().__init__(task)
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
        """The losses of a batch, its sample size, and the log that every criterion keeps."""
        target = sample["target"]
        real = real_tokens(target, self.padding_idx)
        student = next_tokens(model, sample, real)
        losses = fused_loss(student, target[real], objective, teacher, self.chunk_memory)
        sample_size = target.size(0) if self.sentence_avg else sample["ntokens"]
        log = {
            "loss": losses.loss.data,
            "nll_loss": losses.nll_loss,
            "ntokens": sample["ntokens"],
            "nsentences": target.size(0),
            "sample_size": sample_size,
        }
        return losses, sample_size, log

    @classmethod
    def reduce_metrics(cls, logging_outputs: list[dict[str, Any]]) -> None:
        """Log, per token in bits as fairseq does: loss, nll_loss; and the perplexity."""
        sample_size, tokens = summed(logging_outputs, "sample_size"), summed(logging_outputs, "ntokens")
        metrics.log_scalar("loss", summed(logging_outputs, "loss") / sample_size / math.log(2), sample_size, round=3)
        metrics.log_scalar("nll_loss", summed(logging_outputs, "nll_loss") / tokens / math.log(2), tokens, round=3)
        metrics.log_derived("ppl", lambda meters: utils.get_perplexity(meters["nll_loss"].avg))

    @staticmethod
    def logging_outputs_can_be_summed() -> bool:
        """Every entry is a sum over tokens or sentences."""
        return True


def summed(logging_outputs: list[dict[str, Any]], key: str) -> Tensor | float:
    """One entry over all batches and processes; 0 where no batch has it."""
    return sum(log.get(key, 0) for log in logging_outputs)
