"""`fairseq-kd cache`: write a teacher's distributions on a data-bin's split, so that training needs no teacher."""

import argparse
from pathlib import Path

from fairseq_kd.cli.shared_options import (
    add_direction_arguments,
    add_language_arguments,
    add_shard_arguments,
    direction_of,
    languages_of,
    shard_of,
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    add = parser.add_argument
    add("--model", required=True, metavar="CKPT[:CKPT...]",
        help="the teacher; with several, the mean of their probabilities is stored")  # fmt: skip
    add("--data", required=True, metavar="DATABIN[:DATABIN...]",
        help="the data-bin that the student will be trained on; several need as many --output folders")  # fmt: skip
    add_language_arguments(parser)
    add("--subset", default="train", help="the split (%(default)s); one --output folder can hold several")
    add("--output", required=True, metavar="DIR[:DIR...]", type=Path,
        help="folder to give to the training as --teacher-cache; the split gets a subfolder of its name")  # fmt: skip
    add("--top-k", required=True, type=int, metavar="K",
        help="number of likeliest symbols to keep of each distribution")  # fmt: skip
    add("--temperature", type=float, default=1.0, metavar="T", help="the training's --kd-temperature (%(default)s)")
    add("--teacher-data", metavar="DIR", help="folder with the teacher's dict.*.txt (default: the checkpoint's folder, "
        "else the data-bin that the checkpoint names)")  # fmt: skip
    add_direction_arguments(parser)
    add("--assume-same-dictionary", action="store_true",
        help="do not compare the teacher's dictionaries with the data's, nor read --teacher-data")  # fmt: skip
    add("--max-tokens", type=int, default=2000, help="source or target tokens in a batch (%(default)s)")
    add_shard_arguments(parser, block_rows=10000)


def run(options: argparse.Namespace) -> None:
    """Write this shard's blocks that do not exist yet."""
    shard = shard_of(options)
    from fairseq_kd.corpus.cache import cache
    from fairseq_kd.data.databins.lists import each_with

    for data, output in each_with(options.data, options.output, options.subset):
        cache(
            options.model,
            data,
            output,
            options.top_k,
            subset=options.subset,
            languages=languages_of(options),
            temperature=options.temperature,
            teacher_data=options.teacher_data,
            assume_same_dictionary=options.assume_same_dictionary,
            direction=direction_of(options),
            max_tokens=options.max_tokens,
            shard=shard,
        )
