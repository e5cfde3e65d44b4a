"""`fairseq-kd run`: an experiment from raw text to a table of scores, in the current folder."""

import argparse
import importlib.util
import sys
from pathlib import Path

from fairseq_kd.cli.bundled import find_config, run_script
from fairseq_kd.errors import UserError

NEEDED = ("snakemake", "rich", "bokeh")
"""Packages of the extra ``workflow``."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    add = parser.add_argument
    add("config", nargs="?", default="quickstart", metavar="CONFIG",
        help="a YAML file, or a bundled experiment by its name, such as multi30k; a wrong name lists all of them "
        "(%(default)s: a small synthetic language pair, minutes on two CPU threads)")  # fmt: skip
    add("--output", default=Path("."), metavar="DIR", type=Path,
        help="folder that gets runs/NAME, where the work is done, and results/NAME, where the table goes; NAME is the "
        "key of the YAML file (the current folder)")  # fmt: skip
    add("--dry-run", action="store_true", help="show the steps that would run, and run none")
    add("--show", action="store_true", help="print the YAML file and end; a copy of it is the start of your own")
    parser.epilog = (
        "All other options go to Snakemake; give them behind CONFIG: --cores 8, or on a SLURM cluster --profile "
        "FOLDER, an adapted copy of scripts/profiles/slurm."
    )


def run(options: argparse.Namespace) -> None:
    """Run the experiment; a run that was stopped goes on."""
    config = find_config(options.config)
    if options.show:
        if sys.stdout is not None:
            sys.stdout.buffer.write(config.read_bytes())
        return
    missing = [name for name in NEEDED if importlib.util.find_spec(name) is None]
    if "snakemake" in missing and sys.version_info < (3, 11):
        raise UserError(
            "fairseq-kd run needs Snakemake 9, which needs Python 3.11 or later; every other verb works on this "
            "Python, and docs/reference/hosts.md shows how to run the workflow from a second environment"
        )
    if missing:
        raise UserError(
            f"fairseq-kd run needs {' and '.join(missing)}; install the extra: pip install 'fairseq-kd[workflow]'"
        )
    words = ["--output", options.output, config, *(["--dry-run"] if options.dry_run else []), *options.others]
    run_script("run.sh", "run", words, verbose=options.verbose)
