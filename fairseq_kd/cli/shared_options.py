"""Options that several verbs take."""

import argparse
from typing import Any

from fairseq_kd.decoding.options import DecodingOptions
from fairseq_kd.storage.block_folder import Shard


def add_sampling_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare how translations are drawn from a model."""
    add = parser.add_argument
    add("--top-k", type=int, default=0, help="sampling: draw from the k likeliest symbols (0: all)")
    add(
        "--top-p",
        type=float,
        default=1.0,
        help="sampling: draw from the fewest likeliest symbols whose probabilities sum to this (%(default)s)",
    )
    add("--temperature", type=float, default=1.0, help="sampling: temperature of the distribution (%(default)s)")
    add("--seed", type=int, default=1, help="sampling: random seed (%(default)s)")


def add_search_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare how hypotheses are ranked and what they may hold; :func:`search_of` reads the options."""
    add, defaults = parser.add_argument, DecodingOptions()
    add("--lenpen", type=float, default=defaults.lenpen, metavar="P",
        help="length penalty: score = log-probability / tokens^P, </s> counted (%(default)s)")  # fmt: skip
    add("--no-repeat-ngram-size", type=int, default=defaults.no_repeat_ngram_size, metavar="N",
        help="no translation has N tokens twice; 0: it may; fairseq alone (%(default)s)")  # fmt: skip
    add("--patience", type=float, default=defaults.patience, metavar="P",
        help="the search ends with P x beam hypotheses; ctranslate2 alone (%(default)s)")  # fmt: skip
    add("--prefix", default=defaults.prefix, metavar="TOKENS",
        help="subword tokens that every translation begins with, quoted; fairseq alone (none)")  # fmt: skip


def search_of(options: argparse.Namespace) -> dict[str, Any]:
    """The fields of :class:`DecodingOptions` that :func:`add_search_arguments` declared."""
    return {
        "lenpen": options.lenpen,
        "no_repeat_ngram_size": options.no_repeat_ngram_size,
        "patience": options.patience,
        "prefix": " ".join(options.prefix.split()),
    }


def add_shard_arguments(parser: argparse.ArgumentParser, block_rows: int) -> None:
    """Declare how several runs share the work; :func:`shard_of` reads the options."""
    add = parser.add_argument
    add("--shards", type=int, default=1, metavar="N", help="number of runs that share the work (%(default)s)")
    add("--shard", type=int, default=0, metavar="I", help="number of this run, 0 to N - 1 (%(default)s)")
    add(
        "--block-rows",
        type=int,
        default=block_rows,
        help="rows written at a time; a killed run loses at most these (%(default)s)",
    )


def shard_of(options: argparse.Namespace) -> Shard:
    """This run's share of the work.

    Raises:
        UserError: an option is out of range.
    """
    return Shard(options.shard, options.shards, options.block_rows)
