"""Options that several verbs take."""

import argparse
from pathlib import Path
from typing import Any

from fairseq_kd.decoding.options import ENGINES, PRECISIONS, DecodingOptions
from fairseq_kd.decoding.outside.profile import READY
from fairseq_kd.errors import UserError
from fairseq_kd.storage.block_folder import Shard


def add_sampling_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare how translations are drawn from a model."""
    add = parser.add_argument
    add("--top-k", type=int, default=0, help="sampling: draw from the k likeliest symbols (0: all)")
    add("--top-p", type=float, default=1.0,
        help="sampling: draw from the fewest likeliest symbols whose probabilities sum to this "
        "(%(default)s)")  # fmt: skip
    add("--temperature", type=float, default=1.0, help="sampling: temperature of the distribution (%(default)s)")
    add("--seed", type=int, default=1, help="sampling: random seed (%(default)s)")


def add_search_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare how hypotheses are ranked and what they may hold; :func:`search_of` reads the options."""
    add, defaults = parser.add_argument, DecodingOptions()
    add("--lenpen", type=float, default=defaults.lenpen, metavar="P",
        help="length penalty: score = log-probability / tokens^P, </s> counted (%(default)s)")  # fmt: skip
    add("--no-repeat-ngram-size", type=int, default=defaults.no_repeat_ngram_size, metavar="N",
        help="no N tokens in a row come twice in a translation; only fairseq (%(default)s: they may)")  # fmt: skip
    add("--patience", type=float, default=defaults.patience, metavar="P",
        help="the search ends with P x beam hypotheses, with --beam 1 always with one; only ctranslate2 "
        "(%(default)s)")  # fmt: skip
    add("--prefix", default=defaults.prefix, metavar="TOKENS",
        help="subword tokens that every translation begins with, in quotes; only fairseq (none)")  # fmt: skip
    add("--no-unk", action="store_true", help="forbid <unk> in translations; only fairseq")


def search_of(options: argparse.Namespace) -> dict[str, Any]:
    """The fields of :class:`DecodingOptions` that :func:`add_search_arguments` declared."""
    return {
        "lenpen": options.lenpen,
        "no_repeat_ngram_size": options.no_repeat_ngram_size,
        "patience": options.patience,
        "prefix": " ".join(options.prefix.split()),
        "no_unk": options.no_unk,
    }


def add_engine_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what decodes a model, and how wide and how long it searches."""
    add, defaults = parser.add_argument, DecodingOptions()
    add("--engine", default="auto", choices=ENGINES,
        help="engine; auto: ctranslate2 if it takes the model, else fairseq (%(default)s)")  # fmt: skip
    add("--precision", default="float32", choices=PRECISIONS, help="number format of ctranslate2 (%(default)s)")
    add("--beam", type=int, default=defaults.beam, help="beam size (%(default)s)")
    add_length_arguments(parser)


def add_length_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare how long translations and batches may be; :func:`lengths_of` reads the options."""
    add, defaults = parser.add_argument, DecodingOptions()
    add("--max-len-a", type=float, default=defaults.max_len_a, metavar="A",
        help="a translation has at most A x source length + B tokens (A: %(default)s)")  # fmt: skip
    add("--max-len-b", type=int, default=defaults.max_len_b, metavar="B", help="B of --max-len-a (%(default)s)")
    add("--max-tokens", type=int, default=defaults.max_tokens, help="source tokens in a batch (%(default)s)")


def lengths_of(options: argparse.Namespace) -> dict[str, Any]:
    """The fields of :class:`DecodingOptions` that :func:`add_length_arguments` declared."""
    return {name: getattr(options, name) for name in ("max_len_a", "max_len_b", "max_tokens")}


def add_language_arguments(parser: argparse.ArgumentParser, which: str = "if the data-bin holds several") -> None:
    """Declare the languages that a data-bin is read in; :func:`languages_of` reads the options.

    Args:
        parser: gets the options.
        which: says when they are needed.
    """
    add = parser.add_argument
    add("-s", "--source-lang", metavar="S", help=f"source language, {which}; a pair can be read in reverse")
    add("-t", "--target-lang", metavar="T", help=f"target language, {which}; a pair can be read in reverse")


def languages_of(options: argparse.Namespace) -> tuple[str | None, str | None]:
    """Source and target language; None where an option was left out."""
    return options.source_lang, options.target_lang


def add_text_arguments(parser: argparse.ArgumentParser, of: str = "") -> None:
    """Declare how text becomes a model's tokens; :func:`text_of` reads the options.

    Args:
        parser: gets the options.
        of: stands before each help.
    """
    add = parser.add_argument
    add("--spm-model", type=Path, metavar="FILE", help=f"{of}sentencepiece model of both sides (none: text is tokens)")
    add("--source-spm", type=Path, metavar="FILE", help=f"{of}sentencepiece model of the source side")
    add("--target-spm", type=Path, metavar="FILE", help=f"{of}sentencepiece model of the target side")
    add_language_arguments(
        parser, "if the checkpoint records none or the data-bin holds several; for a folder, by the model's own name"
    )
    add("--profile", metavar="NAME|FILE",
        help=f"{of}how a folder's model takes text: {', '.join(READY)} or a YAML file (default: fairseq_kd.yaml in the "
        "folder, or what a Hugging Face tokenizer tells)")  # fmt: skip


def text_of(options: argparse.Namespace) -> dict[str, Any]:
    """Arguments of :func:`fairseq_kd.decoding.open_text.open_translator`.

    Raises:
        UserError: a side has two sentencepiece models.
    """
    for name, given in {"--source-spm": options.source_spm, "--target-spm": options.target_spm}.items():
        if options.spm_model and given:
            raise UserError(f"{name}: --spm-model is for both sides; leave out one of the two")
    return {
        "languages": languages_of(options),
        "profile": options.profile,
        "source_spm": options.source_spm or options.spm_model,
        "target_spm": options.target_spm or options.spm_model,
    }


def add_direction_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the languages of a multilingual model; :func:`direction_of` reads them."""
    for side in ("source", "target"):
        parser.add_argument(f"--teacher-{side}-lang", metavar="LANG",
            help=f"{side} language of a multilingual model, by its own name (default: the data-bin's)")  # fmt: skip


def direction_of(options: argparse.Namespace) -> tuple[str | None, str | None]:
    """Source and target language as :func:`add_direction_arguments` declared them."""
    return options.teacher_source_lang, options.teacher_target_lang


def add_shard_arguments(parser: argparse.ArgumentParser, block_rows: int) -> None:
    """Declare how several runs share the work; :func:`shard_of` reads the options."""
    add = parser.add_argument
    add("--shards", type=int, default=1, metavar="N", help="number of runs that share the work (%(default)s)")
    add("--shard", type=int, default=0, metavar="I", help="number of this run, 0 to N - 1 (%(default)s)")
    add("--block-rows", type=int, default=block_rows,
        help="rows written at a time; a killed run loses at most these (%(default)s)")  # fmt: skip


def shard_of(options: argparse.Namespace) -> Shard:
    """This run's share of the work.

    Raises:
        UserError: an option is out of range.
    """
    return Shard(options.shard, options.shards, options.block_rows)
