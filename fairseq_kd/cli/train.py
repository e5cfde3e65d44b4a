"""`fairseq-kd train`: fairseq-train that can be killed at any time; scripts/train.sh does the work."""

import argparse

from fairseq_kd.cli.bundled import run_script


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    add = parser.add_argument
    add("save_dir", metavar="SAVE_DIR", help="folder that gets the checkpoints, train.log and, at the end, done")
    add("data", metavar="DATABIN", help="the training data, as fairseq-train takes it")
    add("options", nargs=argparse.REMAINDER, metavar="...",
        help="options of fairseq-train, behind DATABIN, without --save-dir and --user-dir. --task translation_kd is "
        "added where there is no --task, and --cpu where there is no GPU")  # fmt: skip


def run(options: argparse.Namespace) -> None:
    """Train, or go on from the newest sound checkpoint; a finished training is left as it is."""
    run_script("train.sh", "train", options.words, verbose=options.verbose)
