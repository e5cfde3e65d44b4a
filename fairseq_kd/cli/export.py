"""`fairseq-kd export`: make a model deployable."""

import argparse
from pathlib import Path

from fairseq_kd.cli.shared_options import add_language_arguments, languages_of
from fairseq_kd.compress.options import FORMATS, SENTENCEPIECE, ShortlistOptions
from fairseq_kd.decoding.options import PRECISIONS, VOCABULARY_MAP
from fairseq_kd.errors import UserError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    add = parser.add_argument
    add("--model", required=True, metavar="CKPT", help="the fairseq checkpoint; with --to fairseq, the sparse file")
    add("--to", required=True, choices=FORMATS,
        help="ctranslate2: a folder that CTranslate2 loads; sparse: a file as small as the non-zero weights; "
        "fairseq: the checkpoint that a sparse file was made from")  # fmt: skip
    add("--output", required=True, metavar="PATH", type=Path, help="the folder or file to make")
    add("--data", metavar="DATABIN", help="fairseq-preprocess's output, with the model's dictionaries (ctranslate2)")
    add_language_arguments(parser)
    add("--precision", choices=PRECISIONS, help="number format of the weights (ctranslate2; default: float32)")
    add("--spm-model", metavar="FILE", type=Path,
        help=f"sentencepiece model to copy into the folder as {SENTENCEPIECE} (ctranslate2)")  # fmt: skip
    add("--shortlist", metavar="TEXT", type=Path,
        help=f"make a lexical shortlist, {VOCABULARY_MAP} in the folder, of parallel text, usually the distilled "
        "corpus: a data-bin, or two files TEXT.LANG in the model's subwords, also .gz, .xz or .zst; needs eflomal "
        "(ctranslate2)")  # fmt: skip
    add("--shortlist-candidates", type=int, metavar="N",
        help=f"target symbols that a source symbol allows ({ShortlistOptions.candidates})")  # fmt: skip
    add("--shortlist-frequent", type=int, metavar="N",
        help=f"most frequent target symbols that every source allows ({ShortlistOptions.frequent})")  # fmt: skip


def run(options: argparse.Namespace) -> None:
    """Export."""
    from fairseq_kd.compress.export import export

    how = {"data": options.data, "precision": options.precision, "spm_model": options.spm_model}
    how["shortlist"] = _shortlist(options)
    export(options.model, options.to, options.output, **how, languages=languages_of(options))


def _shortlist(options: argparse.Namespace) -> ShortlistOptions | None:
    """How the shortlist is made; None without --shortlist."""
    numbers = {name: getattr(options, f"shortlist_{name}") for name in ("candidates", "frequent")}
    given = {name: number for name, number in numbers.items() if number is not None}
    if options.shortlist is None:
        for name in given:
            raise UserError(f"--shortlist-{name}: needs --shortlist")
        return None
    return ShortlistOptions(options.shortlist, **given)
