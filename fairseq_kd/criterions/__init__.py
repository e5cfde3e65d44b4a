"""Criterions: they compose a divergence and a teacher."""

from fairseq_kd.criterions import token_kd  # noqa: F401
