"""`fairseq-kd init-student`: make a student from spaced layers of its teacher."""

import argparse
import shlex
from pathlib import Path

from fairseq_kd.compress.options import WIDTHS


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    add = parser.add_argument
    add("--teacher", required=True, metavar="CKPT", help="the teacher's checkpoint, a Transformer")
    add("--encoder-layers", type=int, metavar="N", help="number of encoder layers to copy (default: all)")
    add("--decoder-layers", type=int, metavar="N", help="number of decoder layers to copy (default: all)")
    add("--output", required=True, metavar="CKPT", type=Path, help="the student's checkpoint to write")
    for width in WIDTHS:
        add(f"--{width.replace('_', '-')}", type=int, metavar="N", help="the teacher's width; another value is refused")


def run(options: argparse.Namespace) -> None:
    """Write the student, and print the options that tell fairseq-train its shape."""
    from fairseq_kd.compress.init_student import init_student

    widths = {width: getattr(options, width) for width in WIDTHS if getattr(options, width) is not None}
    shape = init_student(options.teacher, options.output, options.encoder_layers, options.decoder_layers, widths)
    print(shlex.join(shape))
