"""`fairseq-kd table`: the options of :func:`fairseq_kd.report.table`."""

import argparse

from fairseq_kd.cli.named_files import named_files


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    add = parser.add_argument
    add("files", nargs="+", metavar="FILE", help="JSON of fairseq-kd evaluate; their order is the order of rows")
    add("--risks", nargs="+", default=[], metavar="FILE",
        help="JSON of fairseq-kd risks, in any order; a row is recognised by its checkpoints")  # fmt: skip
    add("--output", required=True, metavar="DIR",
        help="folder for table.md, table.json, table.png and speed.png; other options add pictures")  # fmt: skip
    add("--baseline", metavar="NAME", help="row that the others are compared with")
    add("--teacher", metavar="NAME", help="row drawn as a dashed line in the picture")
    add("--title", default="Scores", help="heading (default: %(default)s)")
    add("--config", metavar="FILE", help="experiment's YAML; its name and SHA-256 are recorded")
    add("--gate-log", nargs="+", default=[], metavar="NAME=FILE",
        help="fairseq-train's logs of hybrid_kd; gate.png shows g over the updates")  # fmt: skip
    add("--pruning", nargs="+", default=[], metavar="NAME",
        help="rows of one model pruned step by step; pruning.png shows BLEU over the share of zeros, the other "
        "pictures show the densest of these rows alone")  # fmt: skip


def run(options: argparse.Namespace) -> None:
    """Write the files and print the Markdown."""
    from fairseq_kd.report import table
    from fairseq_kd.report.markdown import markdown

    made = table(
        options.files,
        options.output,
        risks=options.risks,
        baseline=options.baseline,
        teacher=options.teacher,
        title=options.title,
        config=options.config,
        gate_logs=named_files("--gate-log", options.gate_log),
        pruning=options.pruning,
    )
    print(markdown(made), end="")
