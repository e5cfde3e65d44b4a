"""`fairseq-kd decode`: write a model's translations of a data-bin's split, in blocks that several runs can share."""

import argparse
from pathlib import Path

from fairseq_kd.cli.shared_options import (
    add_direction_arguments,
    add_sampling_arguments,
    add_search_arguments,
    add_shard_arguments,
    direction_of,
    search_of,
    shard_of,
)
from fairseq_kd.decoding.options import ENGINES, PRECISIONS, DecodingOptions, Sampling
from fairseq_kd.errors import UserError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    add = parser.add_argument
    default = DecodingOptions()
    add("--model", required=True, metavar="CKPT[:CKPT...]", help="the checkpoint; several are decoded as an ensemble")
    add("--data", required=True, metavar="DATABIN", help="fairseq-preprocess's output, with the model's dictionaries")
    add_direction_arguments(parser)
    add("--subset", default="train", help="the split to translate (%(default)s)")
    add("--output", required=True, metavar="DIR", type=Path,
        help="folder that gets SUBSET.SRC, SUBSET.TGT and signature.json")  # fmt: skip
    add("--engine", default="auto", choices=ENGINES,
        help="engine; auto: ctranslate2 where it takes the model, else fairseq (%(default)s)")  # fmt: skip
    add("--precision", default="float32", choices=PRECISIONS, help="number format of ctranslate2 (%(default)s)")
    add("--beam", type=int, default=default.beam, help="beam size (%(default)s)")
    add_search_arguments(parser)
    add("--sampling", action="store_true", help="draw translations at random from the model; --beam is ignored")
    add_sampling_arguments(parser)
    add("--nbest", type=int, default=default.nbest, help="translations kept for each row (%(default)s)")
    add("--max-len-a", type=float, default=default.max_len_a, metavar="A",
        help="a translation has at most A x source length + B tokens (A: %(default)s)")  # fmt: skip
    add("--max-len-b", type=int, default=default.max_len_b, metavar="B", help="B of --max-len-a (%(default)s)")
    add("--max-tokens", type=int, default=default.max_tokens, help="source tokens in a batch (%(default)s)")
    add_shard_arguments(parser, block_rows=1000)


def run(options: argparse.Namespace) -> None:
    """Decode this shard's blocks that do not exist yet; with one shard, merge them."""
    shard = shard_of(options)
    beam = max(options.beam, options.nbest) if options.sampling else options.beam
    limits = (options.max_len_a, options.max_len_b, options.max_tokens)
    search = DecodingOptions(beam, options.nbest, *limits, **search_of(options))
    sampling = _sampling(options)
    from fairseq_kd.corpus.decode import decode

    decode(
        options.model,
        options.data,
        options.output,
        search,
        subset=options.subset,
        engine=options.engine,
        precision=options.precision,
        sampling=sampling,
        seed=options.seed,
        direction=direction_of(options),
        shard=shard,
    )


def _sampling(options: argparse.Namespace) -> Sampling | None:
    if options.sampling:
        return Sampling(options.top_k, options.top_p, options.temperature, options.max_len_a, options.max_len_b)
    unused = {"--top-k": options.top_k, "--top-p": options.top_p != 1.0, "--temperature": options.temperature != 1.0}
    unused["--seed"] = options.seed != 1
    for name, given in unused.items():
        if given:
            raise UserError(f"{name} goes with --sampling; a beam search draws nothing")
    return None
