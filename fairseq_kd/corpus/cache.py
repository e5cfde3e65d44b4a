"""Write a teacher's distributions on a data-bin's split, so that training needs no teacher."""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from fairseq import utils
from fairseq.tasks.translation import TranslationTask
from torch import Tensor
from tqdm import tqdm

from fairseq_kd.data.databins.databin import open_databin
from fairseq_kd.data.databins.files import UNNAMED, Languages
from fairseq_kd.data.record_files import write_records
from fairseq_kd.data.soft_targets import (
    MANIFEST,
    claim,
    data_hashes,
    encode,
    id_type,
    offsets,
    record_type,
    untaught,
    warn_of_untaught,
)
from fairseq_kd.decoding.interface import batches
from fairseq_kd.errors import UserError
from fairseq_kd.losses.ranges import check_kept, check_temperature
from fairseq_kd.losses.token_values import truncated
from fairseq_kd.networks.checkpoints import checkpoint_paths
from fairseq_kd.networks.data_languages import data_languages
from fairseq_kd.networks.distributions import real_tokens
from fairseq_kd.networks.teacher import Teacher, load_teacher
from fairseq_kd.networks.teacher_tasks import Direction
from fairseq_kd.storage.block_folder import BlockFolder, Shard, count_rows
from fairseq_kd.storage.files import file_hash

logger = logging.getLogger(__name__)

WHOLE_CACHE = Shard(block_rows=10000)


def cache(
    model: str,
    data: str | Path,
    output: Path,
    top_k: int,
    *,
    subset: str = "train",
    languages: Languages = UNNAMED,
    temperature: float = 1.0,
    teacher_data: str | None = None,
    assume_same_dictionary: bool = False,
    direction: Direction = (None, None),
    max_tokens: int = 2000,
    shard: Shard = WHOLE_CACHE,
) -> dict[str, Any]:
    """Write this shard's blocks of soft targets that do not exist yet, to ``output/SUBSET``.

    Args:
        model: the teacher's checkpoint; of several, separated by colons, the mean of their probabilities is stored.
        data: the data-bin that the student will be trained on.
        output: the folder for --teacher-cache; it can hold several splits of one teacher.
        top_k: symbols kept of each distribution; at least 1 and less than the vocabulary's size less one.
        subset: the split.
        languages: source and target, as :func:`fairseq_kd.data.databins.files.choose_pair` takes them.
        temperature: of the distributions; that of the training.
        teacher_data: folder with the teacher's ``dict.*.txt``, where they are not beside the checkpoint.
        assume_same_dictionary: do not compare the teacher's dictionaries with the data's.
        direction: of a multilingual teacher, source and target by its names of the languages; None: the data's.
        max_tokens: source or target tokens in a batch, padding counted.
        shard: this run's share of the work.

    Returns:
        The manifest: all that the soft targets depend on.

    Raises:
        UserError: a value is out of range, the teacher or the data-bin cannot be used, or ``output`` holds other soft
            targets or cannot be written.
    """
    if max_tokens < 1:
        raise UserError(f"--max-tokens {max_tokens}: give 1 or more")
    check_temperature("--temperature", temperature)
    models = checkpoint_paths(model)
    task = open_databin(data, subset, data_languages(data, models[0], languages))
    check_kept("--top-k", top_k, len(task.target_dictionary))
    teacher = load_teacher(models, task, teacher_data, assume_same_dictionary, None, "model", direction)
    settings = {
        **_inputs(models, data, subset, task),
        "top_k": top_k,
        "temperature": temperature,
        "max_positions": teacher.max_positions(),
        "block_rows": shard.block_rows,
    }
    if not teacher.plain:
        settings["teacher_tokens"] = [tokens.record for tokens in teacher.tokens if tokens]
    folder = claim(output, settings)
    _write_blocks(folder, shard, Recorder(task, teacher, settings, max_tokens))
    return settings


def _inputs(models: Sequence[str], data: str | Path, subset: str, task: TranslationTask) -> dict[str, Any]:
    """The teacher and the data. Hashes, not paths, since shards may run on different machines.

    The batch size is left out: it changes only the last bits of a float32 sum.
    """
    source, target = task.cfg.source_lang, task.cfg.target_lang
    dataset = task.dataset(subset)
    return {
        "models": [file_hash(path) for path in models],
        "data": data_hashes(data, subset, source, target),
        "subset": subset,
        "source": source,
        "target": target,
        "rows": len(dataset),
        "tokens": int(dataset.tgt_sizes.sum()),
        "vocabulary": len(task.target_dictionary),
        "ids": id_type(len(task.target_dictionary)),
    }


@dataclass(frozen=True)
class Recorder:
    """Asks a teacher about rows of a split and encodes its distributions as records.

    Attributes:
        task: with the split loaded.
        teacher: whose distributions are stored.
        settings: the manifest; it names the split.
        max_tokens: source or target tokens in a batch, padding counted.
    """

    task: TranslationTask
    teacher: Teacher
    settings: dict[str, Any]
    max_tokens: int

    @property
    def dataset(self) -> Any:
        """The split."""
        return self.task.dataset(self.settings["subset"])

    def records(self, rows: range, progress: Callable[[int], object]) -> np.ndarray:
        """The records of ``rows``, shape (their target tokens,); NaN for a row longer than the teacher's positions.

        Args:
            rows: of the split.
            progress: called with a number of rows whenever so many more are done.

        Raises:
            UserError: a batch does not fit the GPU, the teacher produces NaN, or a target holds the padding symbol.
        """
        dataset, span = self.dataset, slice(rows.start, rows.stop)
        first = offsets(dataset.tgt_sizes[span])
        records = np.empty(first[-1], record_type(self.settings))
        records["ids"], records["log_probs"] = 0, np.nan
        missed = untaught(dataset.sizes[span], self.settings["max_positions"])
        progress(int(missed.sum()))
        lengths = {i: int(dataset.sizes[rows[i]].max()) for i in range(len(rows)) if not missed[i]}
        for batch in batches(lengths, self.max_tokens):
            sample = dataset.collater([dataset[rows[i]] for i in batch])
            found = self._ask(sample)
            begin = 0
            # The collater has sorted the rows by length; "id" tells their order.
            for row, size in zip(sample["id"].tolist(), self._sizes(sample), strict=True):
                i = row - rows.start
                records[first[i] : first[i + 1]] = found[begin : begin + size]
                begin += size
            progress(len(batch))
        return records

    def ends(self, rows: range) -> list[int]:
        """Where each row's records end in what :meth:`records` gives."""
        return offsets(self.dataset.tgt_sizes[rows.start : rows.stop])[1:].tolist()

    def _sizes(self, sample: dict[str, Any]) -> list[int]:
        """The number of real target tokens of each of the batch's rows."""
        sizes = real_tokens(sample["target"], self.task.target_dictionary.pad()).sum(dim=1).tolist()
        for row, size in zip(sample["id"].tolist(), sizes, strict=True):
            if size != self.dataset.tgt_sizes[row]:
                raise UserError(
                    f"{self.settings['subset']}: the target of row {row} (from 0) holds the padding symbol "
                    f"{self.task.target_dictionary.pad_word!r}; take it out of the text and make the data-bin again"
                )
        return sizes

    def _ask(self, sample: dict[str, Any]) -> np.ndarray:
        """The records of the batch's real target tokens, in the order of ``target[target != pad]``."""
        try:
            ids, log_probs = self._top_k(utils.move_to_cuda(sample) if torch.cuda.is_available() else sample)
        except torch.cuda.OutOfMemoryError:
            raise UserError(f"the GPU's memory is too small for --max-tokens {self.max_tokens}: lower it") from None
        if log_probs.isnan().any():
            raise UserError(
                f"the teacher produced NaN for some of the rows {sample['id'].tolist()} (from 0); check its weights"
            )
        return encode(ids, log_probs, self.settings)

    @torch.no_grad()
    def _top_k(self, sample: dict[str, Any]) -> tuple[Tensor, Tensor]:
        """The likeliest symbols, shape (tokens, k); their log-probabilities and the others', shape (tokens, k + 1)."""
        real = real_tokens(sample["target"], self.task.target_dictionary.pad())
        answer = truncated(self.teacher.next_tokens(sample, real), self.settings["top_k"], self.settings["temperature"])
        return answer.ids, answer.log_probs


def _write_blocks(folder: BlockFolder, shard: Shard, recorder: Recorder) -> None:
    mine = folder.share(shard)
    missing = [block for block in mine if not block.done]
    total, left = count_rows(mine), count_rows(missing)
    share = f"{folder.output.parent}: shard {shard.number} of {shard.shards}"
    if not missing:
        logger.info("%s: already written with these settings; nothing to do", share)
    else:
        logger.info("%s: %d of %d rows to ask the teacher about", share, left, total)
        if torch.cuda.is_available():
            for model in recorder.teacher.models:
                model.cuda()
        with tqdm(total=total, initial=total - left, unit="row", desc="cache", disable=None) as bar:
            for block in missing:
                write_records(block, recorder.records(block.rows, bar.update), recorder.ends(block.rows))
    if all(block.done for block in folder.blocks):
        folder.sweep()
        _log(folder, recorder)


def _log(folder: BlockFolder, recorder: Recorder) -> None:
    settings = folder.settings
    megabytes = settings["tokens"] * record_type(settings).itemsize / 1e6
    logger.info(
        "%s: %d target tokens, %.1f MB; %s holds the settings", folder.output, settings["tokens"], megabytes, MANIFEST
    )
    warn_of_untaught(untaught(recorder.dataset.sizes, settings["max_positions"]), settings)
