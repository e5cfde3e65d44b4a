"""Gates between sentence-level and token-level distillation.

A gate gives g in [0, 1]: the weight of the token-level loss. The sentence-level loss has the weight 1 − g (Wei et al.
2024, eq. 4). Each gate is a class that registers itself by name (:mod:`fairseq_kd.gates.registry`).
"""
