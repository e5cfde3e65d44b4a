"""`fairseq-kd prepare`: check raw text and cut it into sentencepiece subwords."""

import argparse
from pathlib import Path

from fairseq_kd.corpus.parallel_text import LONGEST_LINE, SAMPLE, SPLITS
from fairseq_kd.errors import UserError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    add = parser.add_argument
    add("--source-lang", required=True, metavar="S", help="source language, the ending of the source files")
    add("--target-lang", required=True, metavar="T", help="target language, the ending of the target files")
    for split in SPLITS:
        add(f"--{split}", required=True, metavar="PREFIX",
            help=f"raw text of {split}: PREFIX.S and PREFIX.T, also .gz, .xz or .zst")  # fmt: skip
    vocabulary = parser.add_mutually_exclusive_group(required=True)
    vocabulary.add_argument("--vocab-size", type=int, metavar="N",
        help="train a sentencepiece model with this many subwords for both languages (or give "
        "--spm-model)")  # fmt: skip
    vocabulary.add_argument("--spm-model", metavar="FILE", type=Path,
        help="use this sentencepiece model instead of a new one")  # fmt: skip
    add("--max-line-bytes", type=int, metavar="N",
        help=f"longest line that a new sentencepiece model learns from ({LONGEST_LINE})")  # fmt: skip
    add("--sample-pairs", type=int, metavar="N",
        help=f"largest number of training pairs that a new sentencepiece model learns from ({SAMPLE})")  # fmt: skip
    add("--seed", type=int, metavar="N", help="random seed that draws these pairs from more (1)")
    add("--workers", type=int, metavar="N", help="processes that cut text (default: one for each processor)")
    add("--output", required=True, metavar="DIR", type=Path,
        help="folder that gets spm.model, dict.txt, subword/ and prepare.json")  # fmt: skip
    add("--data-bin", metavar="DIR", type=Path,
        help="folder that becomes fairseq's data-bin of the subwords, as fairseq-preprocess makes it")  # fmt: skip


def run(options: argparse.Namespace) -> None:
    """Check all text, write the folder and print how many training rows there are."""
    from fairseq_kd.corpus.preparation.prepare import prepare

    report = prepare(
        {split: getattr(options, split) for split in SPLITS},
        (options.source_lang, options.target_lang),
        options.output,
        vocab_size=options.vocab_size,
        spm_model=options.spm_model,
        **_learning(options),
        workers=options.workers,
        data_bin=options.data_bin,
    )
    train = report["splits"]["train"]
    print(f"{train['rows']} training rows, {train['dropped']} dropped for an empty side; see {options.output}/subword")


def _learning(options: argparse.Namespace) -> dict[str, int]:
    """How a new sentencepiece model learns, as far as the options say it."""
    asked = {"longest_line": "--max-line-bytes", "sample": "--sample-pairs", "seed": "--seed"}
    given = {}
    for name, option in asked.items():
        number = getattr(options, option.lstrip("-").replace("-", "_"))
        if number is None:
            continue
        if options.spm_model is not None:
            raise UserError(f"{option}: needs --vocab-size; --spm-model learns nothing")
        given[name] = number
    return given
