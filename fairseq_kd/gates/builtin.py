"""Importing this module registers this project's own gates, in the order in which ``--gate`` lists them."""

from fairseq_kd.gates import constant, heuristic, learned  # noqa: F401
