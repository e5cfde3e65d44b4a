"""`fairseq-kd decode`: write a model's translations of a split or a text file, in blocks that runs can share."""

import argparse
from pathlib import Path
from typing import Any

from fairseq_kd.cli.shared_options import (
    add_direction_arguments,
    add_engine_arguments,
    add_sampling_arguments,
    add_search_arguments,
    add_shard_arguments,
    add_text_arguments,
    direction_of,
    languages_of,
    lengths_of,
    search_of,
    shard_of,
    text_of,
)
from fairseq_kd.decoding.options import DecodingOptions, Sampling
from fairseq_kd.errors import UserError

DEFAULT_SUBSET = "train"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    add = parser.add_argument
    add("--model", required=True, metavar="CKPT[:CKPT...]|FOLDER",
        help="the checkpoint; several are decoded as an ensemble. For --input also a CTranslate2 or Hugging Face "
        "folder")  # fmt: skip
    add("--data", metavar="DIR[:DIR...]",
        help="fairseq-preprocess's output with the model's dictionaries, several with as many --output folders; for "
        "--input, their folder")  # fmt: skip
    add_direction_arguments(parser)
    add("--subset", help=f"the split to translate ({DEFAULT_SUBSET})")
    add("--input", type=Path, metavar="FILE", help="raw text to translate instead, also .gz, .xz or .zst")
    add_text_arguments(parser, "--input: ")
    add("--output", required=True, metavar="DIR[:DIR...]", type=Path,
        help="folder that gets SUBSET.SRC, SUBSET.TGT and signature.json; for --input text.SRC, text.TGT")  # fmt: skip
    add_engine_arguments(parser)
    add_search_arguments(parser)
    add("--sampling", action="store_true", help="draw translations at random from the model; --beam is ignored")
    add_sampling_arguments(parser)
    add("--nbest", type=int, default=1, help="translations kept for each row (%(default)s)")
    add_shard_arguments(parser, block_rows=1000)


def run(options: argparse.Namespace) -> None:
    """Decode this shard's blocks that do not exist yet; with one shard, merge them."""
    beam = max(options.beam, options.nbest) if options.sampling else options.beam
    search = DecodingOptions(beam, options.nbest, **lengths_of(options), **search_of(options))
    how = {
        "engine": options.engine,
        "precision": options.precision,
        "sampling": _sampling(options),
        "seed": options.seed,
        "shard": shard_of(options),
    }
    if options.input is None:
        _decode_data(options, search, how)
        return
    if options.subset is not None:
        raise UserError("--subset is a split of a data-bin; leave it out with --input")
    if any(direction_of(options)):
        raise UserError(
            "--teacher-source-lang and --teacher-target-lang go with --data; with --input give --source-lang"
        )
    text = text_of(options)
    from fairseq_kd.corpus.distilled.decode_text import decode_text

    decode_text(options.model, options.input, options.output, search, data=options.data, **text, **how)


def _decode_data(options: argparse.Namespace, search: DecodingOptions, how: dict[str, Any]) -> None:
    for name in ("spm_model", "source_spm", "target_spm", "profile"):
        if getattr(options, name) is not None:
            raise UserError(f"--{name.replace('_', '-')} goes with --input; a data-bin is cut into subwords already")
    if options.data is None:
        raise UserError("give what to translate: --data DATABIN, or raw text with --input FILE")
    from fairseq_kd.corpus.distilled.decode import decode
    from fairseq_kd.data.databins.lists import each_with

    subset = options.subset or DEFAULT_SUBSET
    how |= {"direction": direction_of(options), "languages": languages_of(options)}
    for data, output in each_with(options.data, options.output, subset):
        decode(options.model, data, output, search, subset=subset, **how)


def _sampling(options: argparse.Namespace) -> Sampling | None:
    if options.sampling:
        return Sampling(options.top_k, options.top_p, options.temperature, options.max_len_a, options.max_len_b)
    unused = {"--top-k": options.top_k, "--top-p": options.top_p != 1.0, "--temperature": options.temperature != 1.0}
    unused["--seed"] = options.seed != 1
    for name, given in unused.items():
        if given:
            raise UserError(f"{name} goes with --sampling; a beam search draws nothing")
    return None
