"""Options that several verbs take."""

import argparse

from fairseq_kd.storage.block_folder import Shard


def add_sampling_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare how translations are drawn from a model."""
    add = parser.add_argument
    add("--top-k", type=int, default=0, help="draw from the k likeliest symbols (0: all)")
    add("--top-p", type=float, default=1.0, help="draw from the fewest symbols with this probability (%(default)s)")
    add("--temperature", type=float, default=1.0, help="temperature of the distribution drawn from (%(default)s)")
    add("--seed", type=int, default=1, help="seed of what is drawn (%(default)s)")


def add_shard_arguments(parser: argparse.ArgumentParser, block_rows: int) -> None:
    """Declare how several runs share the work; :func:`shard_of` reads the options."""
    add = parser.add_argument
    add("--shards", type=int, default=1, metavar="N", help="how many runs share the work (%(default)s)")
    add("--shard", type=int, default=0, metavar="I", help="which of the runs this is, from 0 (%(default)s)")
    add("--block-rows", type=int, default=block_rows, help="rows written at a time, all a kill can lose (%(default)s)")


def shard_of(options: argparse.Namespace) -> Shard:
    """This run's share of the work.

    Raises:
        UserError: an option is out of range.
    """
    return Shard(options.shard, options.shards, options.block_rows)
