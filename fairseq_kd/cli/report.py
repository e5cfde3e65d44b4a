"""`fairseq-kd report`: the options of :func:`fairseq_kd.report.report`."""

import argparse


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    add = parser.add_argument
    add("files", nargs="+", metavar="FILE",
        help="result files in any order: table.json, study.json, JSON files of fairseq-kd evaluate and risks, and what "
        "evaluate --save-outputs wrote")  # fmt: skip
    add("--output", required=True, metavar="FILE.html", help="file for the page")
    add("--title", help="heading (default: that of the table)")
    add("--baseline", metavar="NAME",
        help="name of the row that the page first compares the others with; another can be picked in it")  # fmt: skip
    add("--teacher", metavar="NAME", help="name of the row that the loss of a sentence is measured against")


def run(options: argparse.Namespace) -> None:
    """Write the page."""
    from fairseq_kd.report import report

    names = {"title": options.title, "baseline": options.baseline, "teacher": options.teacher}
    report(options.files, options.output, **names)
