"""Criterions: they compose a divergence, a teacher and a gate."""

from fairseq_kd.criterions import f_distill, fused_cross_entropy, hybrid_kd, pre_distill, token_kd  # noqa: F401
