"""Criterions: they compose a divergence and a teacher."""

from fairseq_kd.criterions import f_distill, fused_cross_entropy, token_kd  # noqa: F401
