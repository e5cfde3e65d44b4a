"""`fairseq-kd translate`: standard input to standard output, a line for a line; on a terminal, a conversation."""

import argparse
import os
import sys

from fairseq_kd.cli.shared_options import (
    add_engine_arguments,
    add_search_arguments,
    add_text_arguments,
    lengths_of,
    search_of,
    text_of,
)
from fairseq_kd.decoding.options import DecodingOptions
from fairseq_kd.errors import UserError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    add = parser.add_argument
    add("--model", required=True, metavar="CKPT[:CKPT...]|FOLDER",
        help="the checkpoint; several are decoded as an ensemble. Or a CTranslate2 or Hugging Face folder")  # fmt: skip
    add("--data", metavar="DIR", help="folder of the model's dictionaries, where they are not beside the checkpoint")
    add_text_arguments(parser)
    add_engine_arguments(parser)
    add_search_arguments(parser)
    add("--block-lines", type=int, default=1000, metavar="N",
        help="lines that are translated together; 1 answers each before it reads the next (%(default)s)")  # fmt: skip


def run(options: argparse.Namespace) -> None:
    """Translate until standard input ends, or until whoever reads standard output has enough."""
    search = DecodingOptions(options.beam, **lengths_of(options), **search_of(options))
    if options.block_lines < 1:
        raise UserError(f"--block-lines {options.block_lines}: give 1 or more")
    text = text_of(options)
    from fairseq_kd.corpus.distilled.translate import translate_interactively, translate_stream
    from fairseq_kd.decoding.open_text import open_translator

    how = {"engine": options.engine, "precision": options.precision, "search": search}
    translator = open_translator(options.model, data=options.data, **text, **how)
    source, target = sys.stdin.buffer, sys.stdout.buffer
    try:
        if sys.stdin.isatty():
            translate_interactively(translator, source, target, search)
        else:
            translate_stream(translator, source, target, search, options.block_lines)
    except BrokenPipeError:
        # Python would complain of the closed pipe once more as it flushes standard output at its end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), target.fileno())
    except KeyboardInterrupt:
        if not sys.stdin.isatty():
            raise
