"""Tasks."""

from fairseq_kd.tasks import translation_kd  # noqa: F401
