"""`fairseq-kd decode`: write a model's translations of a data-bin's split, in shards that can be interrupted."""

import argparse
import logging
from collections.abc import Sequence
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any

from fairseq.tasks.translation import TranslationTask
from tqdm import tqdm

from fairseq_kd.corpus.merge import merge
from fairseq_kd.corpus.parts import blocks, claim, is_merged
from fairseq_kd.data.databin import open_databin, source_hashes
from fairseq_kd.decoding.choice import ChosenEngine, choose_engine
from fairseq_kd.decoding.options import ENGINES, PRECISIONS, DecodingOptions, Sampling
from fairseq_kd.decoding.sampler import Sampler, add_sampling_arguments, check_seed
from fairseq_kd.errors import UserError
from fairseq_kd.networks.checkpoints import check_checkpoint
from fairseq_kd.storage.files import file_hash, split_paths
from fairseq_kd.storage.shards import check_shares

logger = logging.getLogger(__name__)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of `fairseq-kd decode`."""
    add = parser.add_argument
    default = DecodingOptions()
    add("--model", required=True, metavar="CKPT[:CKPT...]", help="the checkpoint; several are decoded as an ensemble")
    add("--data", required=True, metavar="DATABIN", help="fairseq-preprocess's output, with the model's dictionaries")
    add("--subset", default="train", help="the split to translate (%(default)s)")
    add("--output", required=True, metavar="DIR", type=Path, help="where SUBSET.SRC, SUBSET.TGT and signature.json go")
    add("--engine", default="auto", choices=ENGINES, help="what searches; auto: ctranslate2 if it can (%(default)s)")
    add("--precision", default="float32", choices=PRECISIONS, help="what ctranslate2 computes in (%(default)s)")
    add("--beam", type=int, default=default.beam, help="beam size (%(default)s)")
    add("--sampling", action="store_true", help="draw translations from the model; --beam then counts nothing")
    add_sampling_arguments(parser)
    add("--nbest", type=int, default=default.nbest, help="translations kept for each row (%(default)s)")
    add("--max-len-a", type=float, default=default.max_len_a, metavar="A", help="longest translation: (%(default)s)")
    add("--max-len-b", type=int, default=default.max_len_b, metavar="B", help="A x source length + B (%(default)s)")
    add("--max-tokens", type=int, default=default.max_tokens, help="source tokens in a batch (%(default)s)")
    add("--shards", type=int, default=1, metavar="N", help="how many runs share the work (%(default)s)")
    add("--shard", type=int, default=0, metavar="I", help="which of them this is, from 0 (%(default)s)")
    add("--block-rows", type=int, default=1000, help="rows written at a time, all a kill can lose (%(default)s)")


def run(options: argparse.Namespace) -> None:
    """Decode this shard's blocks that are not there yet; with one shard, merge them."""
    beam = max(options.beam, options.nbest) if options.sampling else options.beam
    decoding = DecodingOptions(beam, options.nbest, options.max_len_a, options.max_len_b, options.max_tokens)
    models = split_paths(options.model)
    _check(options, models)
    task = open_databin(options.data, options.subset)
    engine = "fairseq" if options.sampling else options.engine
    chosen = choose_engine(engine, options.precision, models, task)
    if options.sampling:
        chosen = replace(chosen, build=partial(Sampler, models, task))
    settings = _settings(options, decoding, models, task, chosen)
    claim(options.output, settings)
    if is_merged(options.output, settings):
        logger.info("%s: already decoded with these settings; nothing to do", options.output)
        return
    _decode(options, decoding, chosen, task, settings)
    if options.shards == 1:
        merge(options.output)


def _check(options: argparse.Namespace, models: Sequence[str]) -> None:
    check_shares(options)
    unused = {"--top-k": options.top_k, "--top-p": options.top_p != 1.0, "--temperature": options.temperature != 1.0}
    unused["--seed"] = options.seed != 1
    given = [name for name, value in unused.items() if value]
    if given and not options.sampling:
        raise UserError(f"{given[0]} goes with --sampling; a beam search draws nothing")
    check_seed(options.seed)
    if options.sampling and options.engine == "ctranslate2":
        raise UserError("--sampling draws with fairseq, so that a row's samples can be repeated; leave out --engine")
    if not models:
        raise UserError(f"--model {options.model!r}: give the path of a checkpoint")
    for path in models:
        check_checkpoint(path, role="model")


def _settings(
    options: argparse.Namespace,
    decoding: DecodingOptions,
    models: Sequence[str],
    task: TranslationTask,
    chosen: ChosenEngine,
) -> dict[str, Any]:
    """All that the translations depend on; hashes, not paths, since shards may run on different machines."""
    source, target = task.cfg.source_lang, task.cfg.target_lang
    return {
        "models": [file_hash(path) for path in models],
        "data": source_hashes(options.data, options.subset, source, target),
        "subset": options.subset,
        "source": source,
        "target": target,
        "rows": len(task.dataset(options.subset)),
        "engine": chosen.engine,
        "precision": chosen.precision,
        "options": asdict(decoding),
        "sampling": {**asdict(_sampling(options)), "seed": options.seed} if options.sampling else None,
        "block_rows": options.block_rows,
    }


def _decode(
    options: argparse.Namespace,
    decoding: DecodingOptions,
    chosen: ChosenEngine,
    task: TranslationTask,
    settings: dict[str, Any],
) -> None:
    mine = [block for block in blocks(options.output, settings) if block.number % options.shards == options.shard]
    to_do = [block for block in mine if not block.done]
    if not to_do:
        return
    total, left = (sum(len(block.rows) for block in some) for some in (mine, to_do))
    logger.info(
        "%s: shard %d of %d: %d of %d rows to decode", options.output, options.shard, options.shards, left, total
    )
    engine = chosen.build()
    dataset = task.dataset(options.subset)
    with tqdm(total=total, initial=total - left, unit="row", desc="decode", disable=None) as bar:
        for block in to_do:
            sources = [dataset.src[row] for row in block.rows]
            if isinstance(engine, Sampler):
                first, sampling = block.rows.start, _sampling(options)
                translations = engine.draw(sources, first, decoding, sampling, options.seed, bar.update)
            else:
                translations = engine.translate(sources, decoding, bar.update)
            block.write([task.source_dictionary.string(source) for source in sources], translations)


def _sampling(options: argparse.Namespace) -> Sampling:
    return Sampling(options.top_k, options.top_p, options.temperature, options.max_len_a, options.max_len_b)
