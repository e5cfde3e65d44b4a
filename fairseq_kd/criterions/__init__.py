"""Criterions: they compose a divergence and a teacher."""

from fairseq_kd.criterions import fused_cross_entropy, token_kd  # noqa: F401
