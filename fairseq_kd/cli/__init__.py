"""The command `fairseq-kd`: each verb reads its options and calls one function of a room."""

from fairseq_kd.cli.command_line import VERBS, build_parser, main

__all__ = ["VERBS", "build_parser", "main"]
