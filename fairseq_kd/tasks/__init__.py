"""Tasks."""

from fairseq_kd.tasks import translation_kd, translation_multi_simple_epoch_kd  # noqa: F401
