"""Criterion ``fused_cross_entropy``: fairseq's ``label_smoothed_cross_entropy``, computed by the fused loss."""

from typing import Any

from fairseq.criterions import register_criterion
from fairseq.models import BaseFairseqModel
from torch import Tensor

from fairseq_kd.criterions.base import FusedConfig, FusedCriterion
from fairseq_kd.losses.chunk import Objective


@register_criterion("fused_cross_entropy", dataclass=FusedConfig)
class FusedCrossEntropyCriterion(FusedCriterion):
    """The same loss and gradient as ``label_smoothed_cross_entropy``, for teachers and undistilled students."""

    def forward(self, model: BaseFairseqModel, sample: dict[str, Any]) -> tuple[Tensor, int, dict[str, Any]]:
        """The loss summed over the batch's real tokens (a scalar, in nats), the sample size, and what to log."""
        losses, sample_size, log = self.losses(model, sample, Objective(label_smoothing=self.label_smoothing))
        return losses.loss, sample_size, log
