"""`fairseq-kd trim`: cut the symbols that a text never uses out of a model."""

import argparse
from pathlib import Path

from fairseq_kd.cli.shared_options import add_language_arguments, languages_of


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    add = parser.add_argument
    add("--model", required=True, metavar="CKPT", help="the fairseq checkpoint")
    add("--data", required=True, action="extend", nargs="+", metavar="PATH", type=Path,
        help="data-bins, of which all splits count, or files of text in the model's subwords, of both languages: "
        "TEXT.SRC, TEXT.TGT, also .gz, .xz or .zst")  # fmt: skip
    add("--spm-model", metavar="FILE", type=Path,
        help="the model's sentencepiece model: the files of --data are then raw text; DIR gets a model that uses only "
        "kept pieces")  # fmt: skip
    add("--teacher-data", metavar="DIR", type=Path,
        help="folder with the model's dictionaries (default: beside the checkpoint, its data-bin, or "
        "--data)")  # fmt: skip
    add_language_arguments(parser, "if the checkpoint does not record it")
    add("--output", required=True, metavar="DIR", type=Path,
        help="folder that gets checkpoint.pt, dict.SRC.txt, dict.TGT.txt and trim.json")  # fmt: skip


def run(options: argparse.Namespace) -> None:
    """Trim, and print what is left."""
    from fairseq_kd.compress.trim import describe, trim

    report = trim(
        options.model,
        options.data,
        options.output,
        spm_model=options.spm_model,
        teacher_data=options.teacher_data,
        languages=languages_of(options),
    )
    print(describe(report))
