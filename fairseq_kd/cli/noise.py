"""`fairseq-kd noise`: the options of :func:`fairseq_kd.corpus.noise.add_noise`."""

import argparse
from pathlib import Path

from fairseq_kd.corpus.noise import KINDS, Misalignment, add_noise
from fairseq_kd.corpus.token_noise import SIDES, SPAN, TokenNoise
from fairseq_kd.errors import UserError

PROPER = {"misalign": ("share",), "tokens": ("delete", "substitute", "swap", "side")}
"""The options of each kind of noise."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    add = parser.add_argument
    add("--source-lang", required=True, metavar="S", help="source language, the ending of the source files")
    add("--target-lang", required=True, metavar="T", help="target language, the ending of the target files")
    add("--input", required=True, metavar="DIR", type=Path,
        help="folder with {train,valid,test}.{S,T}, raw text, also .gz, .xz or .zst")  # fmt: skip
    add("--output", required=True, metavar="DIR", type=Path,
        help="folder for the same files, with noise in those of train, and noise.json")  # fmt: skip
    add("--kind", default="misalign", choices=KINDS,
        help="misalign: give pairs the targets of other pairs; tokens: delete, substitute and swap words, as Wei et "
        "al. 2024 after Edunov et al. 2018 (%(default)s)")  # fmt: skip
    add("--share", type=float, metavar="P", help="misalign: share of the training pairs, 0 to 1 (required there)")
    _add_token_options(parser)
    add("--seed", type=int, default=1, metavar="N", help="random seed of the noise (%(default)s)")


def _add_token_options(parser: argparse.ArgumentParser) -> None:
    """Declare the options of --kind tokens. They have no defaults, so that another kind can refuse them."""
    add, paper = parser.add_argument, TokenNoise()
    add("--delete", type=float, metavar="P",
        help="tokens: probability that a word is deleted; a sentence keeps at least one word "
        f"(default: {paper.delete})")  # fmt: skip
    add("--substitute", type=float, metavar="P",
        help="tokens: probability that a word becomes another word of the same side's training text, drawn by "
        f"frequency (default: {paper.substitute})")  # fmt: skip
    add("--swap", type=float, metavar="P",
        help=f"tokens: probability that a word takes part in swapping; no word moves more than {SPAN} places. The "
        f"paper's moderate noise has 0.5, its high noise 1 (default: {paper.swap})")  # fmt: skip
    add("--side", choices=SIDES,
        help=f"tokens: the side that gets the noise; the paper leaves it open (default: {paper.side})")  # fmt: skip


def run(options: argparse.Namespace) -> None:
    """Write the text."""
    languages = (options.source_lang, options.target_lang)
    add_noise(options.input, options.output, languages, read_noise(options), options.seed)


def read_noise(options: argparse.Namespace) -> Misalignment | TokenNoise:
    """The noise that the options describe.

    Raises:
        UserError: an option belongs to another kind of noise, --share is missing, or a value is out of range.
    """
    for kind, names in PROPER.items():
        for name in names:
            if kind != options.kind and getattr(options, name) is not None:
                raise UserError(f"--{name} needs --kind {kind}; leave it out, or change the kind")
    given = {name: value for name in PROPER[options.kind] if (value := getattr(options, name)) is not None}
    if options.kind == "tokens":
        return TokenNoise(**given)
    if not given:
        raise UserError("--kind misalign needs --share P, the share of the training pairs")
    return Misalignment(**given)
