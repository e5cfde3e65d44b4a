"""`fairseq-kd filter`: drop rows of a corpus that teach little."""

import argparse
from pathlib import Path
from typing import Any

from fairseq_kd.cli.shared_options import add_shard_arguments, languages_of, shard_of
from fairseq_kd.corpus.filtering.rules import MAX_TOKENS, UNITS, Rules
from fairseq_kd.data.text.subwords import POST_PROCESSES
from fairseq_kd.errors import UserError

DEFAULT_SHARE = 0.05


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    add, default = parser.add_argument, Rules()
    add("--input", required=True, metavar="PATH", type=Path,
        help="output folder of fairseq-kd decode, select or recut; or PREFIX of the files PREFIX.S and PREFIX.T, "
        "also .gz, .xz or .zst")  # fmt: skip
    add("--source-lang", metavar="S", help="with a prefix: source language, the ending of its file")
    add("--target-lang", metavar="T", help="with a prefix: target language, the ending of its file")
    add("--output", required=True, metavar="DIR", type=Path,
        help="folder that gets both files with the kept rows, rows.txt and report.json")  # fmt: skip
    add("--post-process", choices=POST_PROCESSES,
        help="how subwords are joined (default: sentencepiece for a folder, none for a prefix)")  # fmt: skip
    add("--along", metavar="FILE", type=Path, action="extend", nargs="+", default=[],
        help="other files with the same rows, of which the same rows are kept; gold targets, for instance")  # fmt: skip
    add("--length-ratio", type=float, default=default.length_ratio, metavar="R",
        help="drop rows with one side more than R times as long as the other; 0: none (%(default)s)")  # fmt: skip
    add("--length-unit", default=UNITS[0], choices=UNITS, help="what a length counts (%(default)s)")
    add("--keep-copies", action="store_true", help="keep targets that are their source")
    add("--repeats", type=int, default=default.repeats, metavar="N",
        help="drop targets with up to 8 tokens N times in a row, more often than in the source; 0: none "
        "(%(default)s)")  # fmt: skip
    add("--keep-duplicates", action="store_true", help="keep pairs that are the same text as an earlier one")
    add("--score-share", type=float, default=default.score_share, metavar="P",
        help="drop this share of the rows, those with the teacher's lowest scores (%(default)s)")  # fmt: skip
    _add_reverse(parser)
    add_shard_arguments(parser, block_rows=10000)


def _add_reverse(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("--reverse-model", metavar="CKPT", help="a model from T to S, which scores each source given its target")
    add("--reverse-share", type=float, metavar="P",
        help="drop this share of the rows, those with the highest cross-entropy under the reverse model "
        f"({DEFAULT_SHARE})")  # fmt: skip
    add("--reverse-data", metavar="DIR", type=Path,
        help="folder with the reverse model's dictionaries (default: beside the checkpoint, or its "
        "data-bin)")  # fmt: skip
    add("--reverse-spm-model", metavar="FILE", type=Path,
        help="sentencepiece model that cuts the text for the reverse model (default: the text's own "
        "tokens)")  # fmt: skip
    add("--max-tokens", type=int, help=f"tokens in a batch of the reverse model ({MAX_TOKENS})")


def run(options: argparse.Namespace) -> None:
    """Filter, and print what each rule dropped."""
    shard = shard_of(options)
    share = options.reverse_share
    if share is None:
        share = DEFAULT_SHARE if options.reverse_model else 0.0
    rules = Rules(
        options.length_ratio,
        options.length_unit,
        not options.keep_copies,
        options.repeats,
        not options.keep_duplicates,
        options.score_share,
        share,
    )
    if options.max_tokens is not None and options.max_tokens < 1:
        raise UserError(f"--max-tokens {options.max_tokens}: give 1 or more")
    from fairseq_kd.corpus.filtering.filter import filter_corpus, table

    report = filter_corpus(
        options.input,
        options.output,
        rules,
        languages=languages_of(options),
        post=options.post_process or ("sentencepiece" if options.input.is_dir() else "none"),
        along=options.along,
        **_reverse(options),
        shard=shard,
    )
    if report is None:
        return
    print(table(report))
    if not report["kept"]:
        raise UserError(f"{options.output}: no row is kept; report.json says which rule dropped how many; loosen it")


def _reverse(options: argparse.Namespace) -> dict[str, Any]:
    if not options.reverse_model:
        for name in ("reverse_data", "reverse_spm_model", "max_tokens"):
            if getattr(options, name) is not None:
                raise UserError(f"--{name.replace('_', '-')}: needs --reverse-model")
        return {}
    from fairseq_kd.corpus.filtering.input import open_corpus
    from fairseq_kd.corpus.filtering.reverse_model import ReverseModel

    pair = open_corpus(options.input, languages_of(options)).languages
    model = ReverseModel(options.reverse_model, pair, options.reverse_data, options.max_tokens or MAX_TOKENS)
    return {"reverse": model, "reverse_spm_model": options.reverse_spm_model}
