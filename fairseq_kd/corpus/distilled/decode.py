"""Write a model's translations of a data-bin's split, in blocks that several runs can share."""

import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from fairseq.tasks.translation import TranslationTask

from fairseq_kd.corpus.distilled.decoded_blocks import Decoded, decode_folder, output_paths, write_missing
from fairseq_kd.corpus.distilled.merge import merge
from fairseq_kd.data.databins.databin import open_databin, source_hashes
from fairseq_kd.data.databins.files import UNNAMED, Languages, file_names, only_folder
from fairseq_kd.data.databins.own_dictionaries import own_task, recorded_languages_of
from fairseq_kd.data.databins.source_only import is_source_only, load_source
from fairseq_kd.decoding.choice import ChosenEngine, choose_engine
from fairseq_kd.decoding.interface import Progress, TooFew
from fairseq_kd.decoding.options import DecodingOptions, Sampling
from fairseq_kd.decoding.sampling.sampler import Sampler, check_seed
from fairseq_kd.errors import UserError
from fairseq_kd.networks.checkpoints import checkpoint_paths, read_checkpoint
from fairseq_kd.networks.data_languages import data_languages
from fairseq_kd.networks.teacher_tasks import Direction
from fairseq_kd.storage.block_folder import WHOLE, Block, Shard
from fairseq_kd.storage.files import file_hash

logger = logging.getLogger(__name__)


def decode(
    model: str,
    data: str | Path,
    output: Path,
    options: DecodingOptions,
    *,
    subset: str = "train",
    languages: Languages = UNNAMED,
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
        languages: source and target, as :func:`fairseq_kd.data.databins.files.choose_pair` takes them.
        engine: one of :data:`fairseq_kd.decoding.options.ENGINES`.
        precision: one of :data:`fairseq_kd.decoding.options.PRECISIONS`, which ctranslate2 computes in.
        sampling: draw translations in this way, instead of searching; its length limits replace those of ``options``.
        seed: of what is drawn.
        direction: of a multilingual model, source and target by its names of the languages; None: the data's.
        shard: this run's share of the work.

    Returns:
        The signature, as :func:`fairseq_kd.corpus.distilled.merge.merge` returns it; None where several shards share
        the work: call ``merge`` when all are done.

    Raises:
        UserError: a value is out of range, the model or the data-bin cannot be used, or ``output`` holds a decode with
            other settings or cannot be written.
    """
    check_sampling(sampling, options, engine, seed)
    models = checkpoint_paths(model)
    pair = data_languages(data, models[0], languages)
    task = _open(data, subset, models[0], pair, languages)
    if sampling:
        chosen = choose_engine("fairseq", precision, models, task, Sampler, direction=direction)
    else:
        chosen = choose_engine(engine, precision, models, task, search=options, direction=direction)
    drawing = {**asdict(sampling), "seed": seed} if sampling else None
    made_by = {"engine": chosen.engine, "precision": chosen.precision, "options": options.record(), "sampling": drawing}
    if not chosen.tokens.plain:
        made_by["model_tokens"] = chosen.tokens.record
    settings = {**_inputs(models, data, subset, task, pair), **made_by, "block_rows": shard.block_rows}
    return fill(output, settings, shard, _decoder(task, subset, chosen, options, sampling, seed, model))


def fill(
    output: Path,
    settings: dict[str, Any],
    shard: Shard,
    decode_blocks: Callable[[list[Block], Progress], Iterator[Decoded]],
) -> dict[str, Any] | None:
    """Write this run's missing blocks and, with one shard, merge them; finished work is left as it is.

    Args:
        output: as for :func:`decode`.
        settings: all that the blocks depend on.
        shard: this run's share.
        decode_blocks: as for :func:`fairseq_kd.corpus.distilled.decoded_blocks.write_missing`.

    Returns:
        As :func:`decode`.

    Raises:
        UserError: ``output`` holds a decode with other settings or cannot be written.
    """
    folder = decode_folder(output, settings)
    folder.claim()
    signature = folder.finished(output_paths(output, settings).values())
    if signature:
        logger.info("%s: already decoded with these settings; nothing to do", output)
        return signature
    write_missing(folder, shard, decode_blocks)
    return merge(output) if shard.shards == 1 else None


def check_sampling(sampling: Sampling | None, options: DecodingOptions, engine: str, seed: int) -> None:
    """Refuse options that do not go together.

    Raises:
        UserError: ``seed`` is out of range, or an option of the search or of another engine goes with sampling.
    """
    check_seed(seed)
    if not sampling:
        return
    if engine == "ctranslate2":
        raise UserError("--sampling draws with fairseq, so that a row's samples can be repeated; leave out --engine")
    if options.asked():
        name = next(iter(options.asked())).replace("_", "-")
        raise UserError(f"--{name} goes with a beam search; leave out --sampling")


def _open(data: str | Path, subset: str, model: str, pair: tuple[str, str], given: Languages) -> TranslationTask:
    """The data-bin's task with its split; for a source-only data-bin, with the model's own dictionaries."""
    if not is_source_only(data, pair):
        return open_databin(data, subset, pair)
    state = read_checkpoint(model, "model", on_disk=True)
    folders = [None if language == "None" else language for language in pair]
    named = zip(given, recorded_languages_of(state), folders, strict=True)
    source, target = (next(filter(None, names), None) for names in named)
    task = own_task(model, state, languages=(source, target))
    load_source(data, subset, task, pair)
    return task


def _inputs(
    models: Sequence[str], data: str | Path, subset: str, task: TranslationTask, pair: tuple[str, str]
) -> dict[str, Any]:
    """What is translated by which models. Hashes, not paths, since shards may run on different machines."""
    return {
        "models": [file_hash(path) for path in models],
        "data": _hashes(only_folder(data, subset), subset, task, pair),
        "subset": subset,
        "source": task.cfg.source_lang,
        "target": task.cfg.target_lang,
        "rows": len(task.dataset(subset)),
    }


def _hashes(folder: Path, subset: str, task: TranslationTask, pair: tuple[str, str]) -> dict[str, str]:
    if Path(task.cfg.data) == folder:
        return source_hashes(folder, subset, *pair)
    paths = [Path(task.cfg.data, f"dict.{language}.txt") for language in (task.cfg.source_lang, task.cfg.target_lang)]
    paths += [folder / name for name in file_names(folder, subset, *pair, pair[0])]
    return {path.name: file_hash(path) for path in paths}


def _decoder(
    task: TranslationTask,
    subset: str,
    chosen: ChosenEngine,
    options: DecodingOptions,
    sampling: Sampling | None,
    seed: int,
    model: str,
) -> Callable[[list[Block], Progress], Iterator[Decoded]]:
    def decode_blocks(blocks: list[Block], progress: Progress) -> Iterator[Decoded]:
        engine = chosen.build()
        dataset = task.dataset(subset)
        for block in blocks:
            sources = [dataset.src[row] for row in block.rows]
            try:
                if sampling and isinstance(engine, Sampler):
                    translations = engine.draw(sources, block.rows.start, options, sampling, seed, progress)
                else:
                    translations = engine.translate(sources, options, progress)
            except TooFew as error:
                row = block.rows.start + error.sentence
                raise error.of(f"row {row} (from 0) of {subset} by {model}") from None
            yield block, [task.source_dictionary.string(source) for source in sources], translations

    return decode_blocks
