"""`fairseq-kd export`: make a model deployable."""

import argparse
from pathlib import Path

from fairseq_kd.cli.shared_options import add_language_arguments, languages_of
from fairseq_kd.compress.options import FORMATS, SENTENCEPIECE
from fairseq_kd.decoding.options import PRECISIONS


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    add = parser.add_argument
    add("--model", required=True, metavar="CKPT", help="the fairseq checkpoint; with --to fairseq, the sparse file")
    add(
        "--to",
        required=True,
        choices=FORMATS,
        help="ctranslate2: a folder that CTranslate2 loads; sparse: a file as small as the non-zero weights; "
        "fairseq: the checkpoint that a sparse file was made from",
    )
    add("--output", required=True, metavar="PATH", type=Path, help="the folder or file to make")
    add("--data", metavar="DATABIN", help="fairseq-preprocess's output, with the model's dictionaries (ctranslate2)")
    add_language_arguments(parser)
    add("--precision", choices=PRECISIONS, help="number format of the weights (ctranslate2; default: float32)")
    add(
        "--spm-model",
        metavar="FILE",
        type=Path,
        help=f"sentencepiece model to copy into the folder as {SENTENCEPIECE} (ctranslate2)",
    )


def run(options: argparse.Namespace) -> None:
    """Export."""
    from fairseq_kd.compress.export import export

    how = {"data": options.data, "precision": options.precision, "spm_model": options.spm_model}
    export(options.model, options.to, options.output, **how, languages=languages_of(options))
