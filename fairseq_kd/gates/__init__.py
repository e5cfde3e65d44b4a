"""Gates between sentence-level and token-level distillation.

A gate gives g in [0, 1]. The sentence-level loss weighs g and the token-level loss 1 − g. Each gate is a class that
registers itself by name (:mod:`fairseq_kd.gates.registry`).
"""
