"""`fairseq-kd merge`: join and verify what the shards of a decode wrote."""

import argparse
from pathlib import Path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("directory", metavar="DIR", type=Path, help="the --output of fairseq-kd decode")


def run(options: argparse.Namespace) -> None:
    """Merge the folder."""
    from fairseq_kd.corpus.distilled.merge import merge

    merge(options.directory)
