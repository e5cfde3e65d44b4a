"""`fairseq-kd benchmark`: the options of :func:`fairseq_kd.benchmark.benchmark`."""

import argparse

from fairseq_kd.cli.shared_options import add_language_arguments, languages_of


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    add = parser.add_argument
    add("--teacher", required=True, metavar="CKPT",
        help="a Transformer; the measurements train with it and decode with it")  # fmt: skip
    add("--data", required=True, metavar="DATABIN", help="the data-bin that the teacher was trained on")
    add_language_arguments(parser)
    add("--output", required=True, metavar="DIR",
        help="folder for table.md, table.json, table.png and the files of the measurements")  # fmt: skip
    add("--rounds", type=int, default=3,
        help="number of rounds; each measures everything once, and medians count (%(default)s)")  # fmt: skip


def run(options: argparse.Namespace) -> None:
    """Measure, write the files and print the Markdown."""
    from fairseq_kd.benchmark import benchmark
    from fairseq_kd.benchmark.markdown import markdown

    how = {"rounds": options.rounds, "languages": languages_of(options)}
    print(markdown(benchmark(options.teacher, options.data, options.output, **how)))
