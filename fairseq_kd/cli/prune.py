"""`fairseq-kd prune`: set a model's smallest weights to zero."""

import argparse
from pathlib import Path

from fairseq_kd.compress.options import SCHEMES


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    add = parser.add_argument
    add("--model", required=True, metavar="CKPT", help="the fairseq checkpoint")
    add("--sparsity", required=True, type=float, metavar="S", help="share of the prunable weights to be zero, below 1")
    add("--scheme", default=SCHEMES[0], choices=SCHEMES, help="rule by which the classes share the zeros (%(default)s)")
    add("--output", required=True, metavar="CKPT", type=Path,
        help="the pruned checkpoint to write; CKPT.json gets the counts")  # fmt: skip


def run(options: argparse.Namespace) -> None:
    """Prune, and print the report."""
    from fairseq_kd.compress.prune import describe, prune

    print(describe(prune(options.model, options.output, options.sparsity, options.scheme)))
