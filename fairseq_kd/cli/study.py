"""`fairseq-kd study`: the options of :func:`fairseq_kd.study.study`."""

import argparse

from fairseq_kd.cli.named_files import placed_files
from fairseq_kd.errors import UserError
from fairseq_kd.study.axis import SCALES, Axis


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    add = parser.add_argument
    add("files", nargs="+", metavar="AT=FILE",
        help="a number on the axis, and a JSON file of fairseq-kd evaluate for that place")  # fmt: skip
    add("--axis", required=True, metavar="LABEL", help="label of the axis")
    add("--scale", default="linear", choices=SCALES,
        help="scale of the axis (%(default)s)")  # fmt: skip
    add("--output", required=True, metavar="DIR",
        help="folder for study.md, study.json, study.png, length.png and decoding.png")  # fmt: skip
    add("--teacher", metavar="NAME",
        help="name of the row that pictures draw as a dashed line; it is not compared with other rows")  # fmt: skip
    add("--title", default="Study", help="heading (default: %(default)s)")
    add("--config", metavar="FILE", help="experiment's YAML; its name, SHA-256 and the rows' options are recorded")
    add("--diagnosis", action="extend", nargs="+", default=[], metavar="AT=FILE",
        help="a number on the axis, and a JSON file that fairseq-kd diagnose wrote there; without them fairseq-kd "
        "diagnose cannot use the study")  # fmt: skip


def run(options: argparse.Namespace) -> None:
    """Write the files and print the Markdown."""
    from fairseq_kd.study import study
    from fairseq_kd.study.markdown import markdown

    made = study(
        placed_files(options.files, "evaluate"),
        Axis(options.axis, options.scale),
        options.output,
        teacher=options.teacher,
        title=options.title,
        config=options.config,
        diagnoses=_diagnoses(options.diagnosis),
    )
    print(markdown(made), end="")


def _diagnoses(words: list[str]) -> dict[float, str]:
    """The file of each place."""
    files = placed_files(words, "diagnose")
    for at, paths in files.items():
        if len(paths) > 1:
            raise UserError(f"--diagnosis {at:g}={paths[1]}: a second one of point {at:g}; give one for each point")
    return {at: paths[0] for at, paths in files.items()}
