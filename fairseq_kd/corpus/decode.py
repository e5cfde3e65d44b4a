"""Write a model's translations of a data-bin's split, in blocks that several runs can share."""

import logging
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from fairseq.tasks.translation import TranslationTask
from tqdm import tqdm

from fairseq_kd.corpus.decoded_blocks import decode_folder, output_paths, write_block
from fairseq_kd.corpus.merge import merge
from fairseq_kd.data.databin import open_databin, source_hashes
from fairseq_kd.decoding.choice import ChosenEngine, choose_engine
from fairseq_kd.decoding.options import DecodingOptions, Sampling
from fairseq_kd.decoding.sampler import Sampler, check_seed
from fairseq_kd.errors import UserError
from fairseq_kd.networks.checkpoints import require_file
from fairseq_kd.networks.teacher_tasks import Direction
from fairseq_kd.storage.block_folder import WHOLE, BlockFolder, Shard, count_rows
from fairseq_kd.storage.files import file_hash, split_paths

logger = logging.getLogger(__name__)


def decode(
    model: str,
    data: str | Path,
    output: Path,
    options: DecodingOptions,
    *,
    subset: str = "train",
    engine: str = "auto",
    precision: str = "float32",
    sampling: Sampling | None = None,
    seed: int = 1,
    direction: Direction = (None, None),
    shard: Shard = WHOLE,
) -> dict[str, Any] | None:
    """Translate a split; with one shard, merge the blocks to ``SUBSET.SOURCE``, ``SUBSET.TARGET`` and a signature.

    Blocks that exist already are kept, so that a killed run goes on where it was. Finished work is left as it is.

    Args:
        model: the checkpoint; several, separated by colons, are decoded as an ensemble.
        data: a data-bin, with the model's dictionaries.
        output: the folder that gets the text.
        options: how to search, and how many translations of each row to keep.
        subset: the split.
        engine: one of :data:`fairseq_kd.decoding.options.ENGINES`.
        precision: one of :data:`fairseq_kd.decoding.options.PRECISIONS`, which ctranslate2 computes in.
        sampling: draw translations in this way, instead of searching; its length limits replace those of ``options``.
        seed: of what is drawn.
        direction: of a multilingual model, source and target by its names of the languages; None: the data's.
        shard: this run's share of the work.

    Returns:
        The signature, as :func:`fairseq_kd.corpus.merge.merge` returns it; None where several shards share the work:
        call ``merge`` when all are done.

    Raises:
        UserError: a value is out of range, the model or the data-bin cannot be used, or ``output`` holds a decode with
            other settings or cannot be written.
    """
    models = split_paths(model)
    _check(model, models, engine, sampling, seed)
    if sampling and options.asked():
        name = next(iter(options.asked())).replace("_", "-")
        raise UserError(f"--{name} goes with a beam search; leave out --sampling")
    task = open_databin(data, subset)
    if sampling:
        chosen = choose_engine("fairseq", precision, models, task, Sampler, direction=direction)
    else:
        chosen = choose_engine(engine, precision, models, task, search=options, direction=direction)
    drawing = {**asdict(sampling), "seed": seed} if sampling else None
    made_by = {"engine": chosen.engine, "precision": chosen.precision, "options": options.record(), "sampling": drawing}
    if not chosen.tokens.plain:
        made_by["model_tokens"] = chosen.tokens.record
    settings = {**_inputs(models, data, subset, task), **made_by, "block_rows": shard.block_rows}
    folder = decode_folder(output, settings)
    folder.claim()
    signature = folder.finished(output_paths(output, settings).values())
    if signature:
        logger.info("%s: already decoded with these settings; nothing to do", output)
        return signature
    _write_blocks(folder, shard, task, chosen, options, sampling, seed)
    return merge(output) if shard.shards == 1 else None


def _check(model: str, models: Sequence[str], engine: str, sampling: Sampling | None, seed: int) -> None:
    check_seed(seed)
    if sampling and engine == "ctranslate2":
        raise UserError("--sampling draws with fairseq, so that a row's samples can be repeated; leave out --engine")
    if not models:
        raise UserError(f"--model {model!r}: give the path of a checkpoint")
    for path in models:
        require_file(path, role="model")


def _inputs(models: Sequence[str], data: str | Path, subset: str, task: TranslationTask) -> dict[str, Any]:
    """What is translated by which models. Hashes, not paths, since shards may run on different machines."""
    source, target = task.cfg.source_lang, task.cfg.target_lang
    return {
        "models": [file_hash(path) for path in models],
        "data": source_hashes(data, subset, source, target),
        "subset": subset,
        "source": source,
        "target": target,
        "rows": len(task.dataset(subset)),
    }


def _write_blocks(
    folder: BlockFolder,
    shard: Shard,
    task: TranslationTask,
    chosen: ChosenEngine,
    options: DecodingOptions,
    sampling: Sampling | None,
    seed: int,
) -> None:
    mine = folder.share(shard)
    missing = [block for block in mine if not block.done]
    if not missing:
        return
    total, left = count_rows(mine), count_rows(missing)
    logger.info("%s: shard %d of %d: %d of %d rows to decode", folder.output, shard.number, shard.shards, left, total)
    engine = chosen.build()
    dataset = task.dataset(folder.settings["subset"])
    with tqdm(total=total, initial=total - left, unit="row", desc="decode", disable=None) as bar:
        for block in missing:
            sources = [dataset.src[row] for row in block.rows]
            if sampling and isinstance(engine, Sampler):
                translations = engine.draw(sources, block.rows.start, options, sampling, seed, bar.update)
            else:
                translations = engine.translate(sources, options, bar.update)
            write_block(block, [task.source_dictionary.string(source) for source in sources], translations)
