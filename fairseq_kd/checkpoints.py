"""The former name of :mod:`fairseq_kd.networks.checkpoints`, for scripts that import it."""

from fairseq_kd.networks.checkpoints import build_models, check_checkpoint, read_checkpoint
from fairseq_kd.networks.plain_classes import allow_plain_classes as allow_fairseq_classes

__all__ = ["allow_fairseq_classes", "build_models", "check_checkpoint", "read_checkpoint"]
