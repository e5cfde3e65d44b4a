"""`fairseq-kd noise`: misalign a share of the training pairs."""

import argparse
from pathlib import Path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    add = parser.add_argument
    add("--source-lang", required=True, metavar="S", help="source language, the ending of the source files")
    add("--target-lang", required=True, metavar="T", help="target language, the ending of the target files")
    add("--input", required=True, metavar="DIR", type=Path, help="folder with {train,valid,test}.{S,T}, raw text")
    add(
        "--output",
        required=True,
        metavar="DIR",
        type=Path,
        help="folder for the same files, with the misaligned train.T",
    )
    add("--share", required=True, type=float, metavar="P", help="share of the training pairs to misalign, 0 to 1")
    add("--seed", type=int, default=1, metavar="N", help="random seed of the choice of pairs (%(default)s)")


def run(options: argparse.Namespace) -> None:
    """Write the text."""
    from fairseq_kd.corpus.noise import add_noise

    languages = (options.source_lang, options.target_lang)
    add_noise(options.input, options.output, languages, options.share, options.seed)
