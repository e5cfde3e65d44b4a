"""`fairseq-kd script`: the other stage scripts, where there is no clone to call them in."""

import argparse

from fairseq_kd.cli.bundled import run_script

SCRIPTS = {
    "prepare-data": "raw text to a data-bin",
    "split-text": "a part of a text as pairs, and the other part",
    "take-teacher": "the folder of a ready teacher for an experiment",
    "join-databins": "the training rows of several data-bins in one",
    "prune-and-retrain": "prune a model in steps, and train it on after each",
    "get-multi30k": "the text of Multi30k",
    "get-iwslt": "the text of IWSLT",
    "get-wmt14": "the text of WMT14",
    "get-fdistill": "the text of one of f-DISTILL's four tasks",
}
"""What each script makes, by the script's name with hyphens."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    add = parser.add_argument
    add("name", metavar="NAME", choices=SCRIPTS,
        help="; ".join(f"{name}: {made}" for name, made in SCRIPTS.items()))  # fmt: skip
    add("arguments", nargs=argparse.REMAINDER, metavar="...", help="arguments of the script; --help prints its manual")


def run(options: argparse.Namespace) -> None:
    """Become the script."""
    run_script(
        f"{options.name.replace('-', '_')}.sh", f"script {options.name}", options.words[1:], verbose=options.verbose
    )
