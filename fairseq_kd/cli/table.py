"""`fairseq-kd table`: the options of :func:`fairseq_kd.report.table`."""

import argparse

from fairseq_kd.cli.named_files import named_files


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    add = parser.add_argument
    add("files", nargs="+", metavar="FILE", help="JSON files of fairseq-kd evaluate, in the order of the table's rows")
    add("--risks", action="extend", nargs="+", default=[], metavar="FILE",
        help="JSON files of fairseq-kd risks, in any order; each goes to the row with the same checkpoint")  # fmt: skip
    add("--output", required=True, metavar="DIR",
        help="folder for table.md, table.json, table.png and speed.png; other options add pictures")  # fmt: skip
    add("--baseline", metavar="NAME", help="name of the row that the others are compared with")
    add("--teacher", metavar="NAME",
        help="name of the teacher's row: a dashed line in pictures; with --baseline, the table shows how much of the "
        "gap between both each row closes")  # fmt: skip
    add("--title", default="Scores", help="heading (default: %(default)s)")
    add("--config", metavar="FILE",
        help="experiment's YAML; the table records its name and SHA-256, and shows a paper's figures")  # fmt: skip
    add("--training-log", action="extend", nargs="+", default=[], metavar="NAME=FILE",
        help="name of a row and train.log of its training, one for each seed; adds updates, tokens, seconds and "
        "validation BLEU to the table, and gate.png, the g of hybrid_kd over the updates")  # fmt: skip
    add("--pruning", action="extend", nargs="+", default=[], metavar="NAME",
        help="names of the rows of one model, pruned step by step; pruning.png shows their BLEU over the share of "
        "zeros; the other pictures show only the row with the fewest zeros")  # fmt: skip


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
        training_logs=named_files("--training-log", options.training_log),
        pruning=options.pruning,
    )
    print(markdown(made), end="")
