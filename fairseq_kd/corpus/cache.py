"""`fairseq-kd cache`: write a teacher's distributions on a data-bin's split, so that training needs no teacher."""

import argparse
import logging
import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from fairseq import utils
from fairseq.tasks.translation import TranslationTask
from torch import Tensor
from tqdm import tqdm

from fairseq_kd.data.databin import open_databin
from fairseq_kd.data.soft_targets import (
    MANIFEST,
    blocks,
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
from fairseq_kd.losses.token_values import truncated
from fairseq_kd.losses.truncation import check_kept
from fairseq_kd.networks.checkpoints import check_checkpoint
from fairseq_kd.networks.distributions import real_tokens
from fairseq_kd.networks.teacher import Teacher, load_teacher
from fairseq_kd.storage.files import file_hash, split_paths
from fairseq_kd.storage.shards import check_shares

logger = logging.getLogger(__name__)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of `fairseq-kd cache`."""
    add = parser.add_argument
    add("--model", required=True, metavar="CKPT[:CKPT...]", help="the teacher; of several the mean of probabilities")
    add("--data", required=True, metavar="DATABIN", help="the data-bin that the student will be trained on")
    add("--subset", default="train", help="the split (%(default)s); one DIR can hold several")
    add(
        "--output", required=True, metavar="DIR", type=Path, help="where they go, under SUBSET; for --teacher-cache DIR"
    )
    add("--top-k", required=True, type=int, metavar="K", help="symbols kept of each distribution")
    add("--temperature", type=float, default=1.0, metavar="T", help="that of the training (%(default)s)")
    add("--teacher-data", metavar="DIR", help="folder with the teacher's dict.*.txt (as in training)")
    add(
        "--assume-same-dictionary",
        action="store_true",
        help="do not compare the teacher's dictionaries with the data's",
    )
    add("--max-tokens", type=int, default=2000, help="source or target tokens in a batch (%(default)s)")
    add("--shards", type=int, default=1, metavar="N", help="how many runs share the work (%(default)s)")
    add("--shard", type=int, default=0, metavar="I", help="which of them this is, from 0 (%(default)s)")
    add("--block-rows", type=int, default=10000, help="rows written at a time, all a kill can lose (%(default)s)")


def run(options: argparse.Namespace) -> None:
    """Write this shard's blocks that are not there yet."""
    models = split_paths(options.model)
    _check(options, models)
    task = open_databin(options.data, options.subset)
    check_kept("--top-k", options.top_k, len(task.target_dictionary))
    teacher = load_teacher(models, task, options.teacher_data, options.assume_same_dictionary, dtype=None)
    settings = _settings(options, models, task, teacher)
    claim(options.output, settings)
    _write(options, Questions(task, options.subset, teacher, settings, options.max_tokens))


def _check(options: argparse.Namespace, models: list[str]) -> None:
    check_shares(options)
    if options.max_tokens < 1:
        raise UserError(f"--max-tokens {options.max_tokens}: give 1 or more")
    if not (options.temperature > 0 and math.isfinite(options.temperature)):
        raise UserError(f"--temperature {options.temperature}: give a temperature above 0")
    if not models:
        raise UserError(f"--model {options.model!r}: give the path of a checkpoint")
    for path in models:
        check_checkpoint(path, role="model")


def _settings(
    options: argparse.Namespace, models: list[str], task: TranslationTask, teacher: Teacher
) -> dict[str, Any]:
    """All that the soft targets depend on, but for the batch size: that one moves a float32 sum's last bits.

    Hashes, not paths, since shards may run on different machines.
    """
    source, target = task.cfg.source_lang, task.cfg.target_lang
    dataset = task.dataset(options.subset)
    positions = [model.max_positions() for model in teacher.models]
    return {
        "models": [file_hash(path) for path in models],
        "data": data_hashes(options.data, options.subset, source, target),
        "subset": options.subset,
        "source": source,
        "target": target,
        "rows": len(dataset),
        "tokens": int(dataset.tgt_sizes.sum()),
        "vocabulary": len(task.target_dictionary),
        "ids": id_type(len(task.target_dictionary)),
        "top_k": options.top_k,
        "temperature": options.temperature,
        "max_positions": [int(min(side)) for side in zip(*positions, strict=True)],
        "block_rows": options.block_rows,
    }


@dataclass(frozen=True)
class Questions:
    """What is asked of whom."""

    task: TranslationTask
    subset: str
    teacher: Teacher
    settings: dict[str, Any]
    max_tokens: int

    def answer(self, rows: range, progress: Callable[[int], object]) -> np.ndarray:
        """The records of ``rows``, shape (their target tokens,); NaN for a row longer than the teacher's positions.

        Args:
            rows: of the split.
            progress: called with a number of rows whenever so many more are done.

        Raises:
            UserError: a batch does not fit the GPU, or the teacher's answer is no number.
        """
        dataset = self.task.dataset(self.subset)
        span = slice(rows.start, rows.stop)
        first = offsets(dataset.tgt_sizes[span])
        records = np.empty(first[-1], record_type(self.settings))
        records["ids"], records["log_probs"] = 0, np.nan
        missed = untaught(dataset.sizes[span], self.settings["max_positions"])
        progress(int(missed.sum()))
        lengths = {i: int(dataset.sizes[rows[i]].max()) for i in range(len(rows)) if not missed[i]}
        for batch in batches(lengths, self.max_tokens):
            sample = dataset.collater([dataset[rows[i]] for i in batch])
            answers = self._ask(sample)
            begin = 0
            for row, size in zip(sample["id"].tolist(), self._sizes(sample), strict=True):
                i = row - rows.start
                records[first[i] : first[i + 1]] = answers[begin : begin + size]
                begin += size
            progress(len(batch))
        return records

    def _sizes(self, sample: dict[str, Any]) -> list[int]:
        """The number of real target tokens of each of the batch's rows."""
        dataset = self.task.dataset(self.subset)
        sizes = real_tokens(sample["target"], self.task.target_dictionary.pad()).sum(dim=1).tolist()
        for row, size in zip(sample["id"].tolist(), sizes, strict=True):
            if size != dataset.tgt_sizes[row]:
                raise UserError(
                    f"{self.subset}: the target of row {row} (from 0) holds the padding symbol "
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
                f"the teacher's answer to the rows {sample['id'].tolist()} is no number; look at its weights"
            )
        return encode(ids, log_probs, self.settings)

    @torch.no_grad()
    def _top_k(self, sample: dict[str, Any]) -> tuple[Tensor, Tensor]:
        """The likeliest symbols, shape (tokens, k), and log-probabilities of them and of the rest, (tokens, k + 1)."""
        real = real_tokens(sample["target"], self.task.target_dictionary.pad())
        answer = truncated(self.teacher.next_tokens(sample, real), self.settings["top_k"], self.settings["temperature"])
        return answer.ids, answer.log_probs


def _write(options: argparse.Namespace, questions: Questions) -> None:
    every = list(blocks(options.output, questions.settings))
    mine = [block for block in every if block.number % options.shards == options.shard]
    to_do = [block for block in mine if not block.done]
    total, left = (sum(len(block.rows) for block in some) for some in (mine, to_do))
    share = f"{options.output}: shard {options.shard} of {options.shards}"
    if not to_do:
        logger.info("%s: already written with these settings; nothing to do", share)
    else:
        logger.info("%s: %d of %d rows to ask the teacher about", share, left, total)
        if torch.cuda.is_available():
            for model in questions.teacher.models:
                model.cuda()
        with tqdm(total=total, initial=total - left, unit="row", desc="cache", disable=None) as bar:
            for block in to_do:
                block.write(questions.answer(block.rows, bar.update))
    if all(block.done for block in every):
        _finish(options.output / options.subset, questions)


def _finish(folder: Path, questions: Questions) -> None:
    """Delete what killed runs left half-written (no run is at work any more) and tell what is there."""
    for path in folder.glob("*.tmp"):
        path.unlink(missing_ok=True)
    settings = questions.settings
    size = settings["tokens"] * record_type(settings).itemsize
    logger.info(
        "%s: %d target tokens, %.1f MB; %s says what made them", folder, settings["tokens"], size / 1e6, MANIFEST
    )
    warn_of_untaught(untaught(questions.task.dataset(settings["subset"]).sizes, settings["max_positions"]), settings)
