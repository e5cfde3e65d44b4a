"""`fairseq-kd average`: the mean of several checkpoints of one training."""

import argparse
from pathlib import Path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    add = parser.add_argument
    add("checkpoints", nargs="+", metavar="CKPT", help="two or more checkpoints of one training")
    add("--output", required=True, metavar="FILE", type=Path,
        help="the checkpoint to write; FILE.json gets the hashes of what it was made from")  # fmt: skip


def run(options: argparse.Namespace) -> None:
    """Average, and print how many parameters the mean has."""
    from fairseq_kd.compress.average import average

    report = average(options.checkpoints, options.output)
    count = len(report["checkpoints"])
    print(f"{options.output}: the mean of {count} checkpoints, {report['parameters']:,} parameters")
