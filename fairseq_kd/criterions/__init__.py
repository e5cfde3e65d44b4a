"""Criterions: they compose a divergence and a teacher."""

from fairseq_kd.criterions import f_distill, fused_cross_entropy, pre_distill, token_kd  # noqa: F401
