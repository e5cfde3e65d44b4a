"""What is wrong with a training's data-bin, in one line where fairseq ends in a traceback or trains on other words."""

import filecmp
import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from fairseq.data import ConcatDataset, FairseqDataset, LanguagePairDataset
from fairseq.data.iterators import EpochBatchIterator
from fairseq.tasks.translation import TranslationTask

from fairseq_kd.data.databins.databin import open_databin, read_dictionary
from fairseq_kd.data.databins.vocabulary import first_difference
from fairseq_kd.errors import UserError

logger = logging.getLogger(__name__)


@contextmanager
def explained_by(reader: Callable[[], object]) -> Iterator[None]:
    """Where fairseq's code in the block fails, the package's own ``reader`` of the same files says why.

    Raises:
        UserError: the reader's.
    """
    try:
        yield
    except Exception:
        reader()
        raise


def explain_split(cfg: Any, folder: Path, split: str) -> None:
    """Raise a UserError that says why fairseq cannot read a split, if the package's own reader finds a reason.

    Args:
        cfg: the task's options.
        folder: the data-bin.
        split: its name.
    """
    open_databin(folder, split, (cfg.source_lang, cfg.target_lang))
    if cfg.dataset_impl not in (None, "mmap"):
        raise UserError(
            f"--dataset-impl {cfg.dataset_impl}: {split} of data-bin {folder} has another format; leave out the "
            "option, and the files tell their format"
        )


def check_dictionaries(task: TranslationTask, bins: Sequence[Path]) -> None:
    """Compare the dictionaries of several data-bins, ``a:b``, with those of the first, with which fairseq reads all.

    A data-bin behind the first may have no dictionaries.

    Raises:
        UserError: one differs.
    """
    pair = (task.cfg.source_lang, task.cfg.target_lang)
    for folder in bins[1:]:
        for language, own in zip(pair, (task.source_dictionary, task.target_dictionary), strict=True):
            first, path = (one / f"dict.{language}.txt" for one in (bins[0], folder))
            if not path.is_file() or filecmp.cmp(first, path, shallow=False):
                continue
            difference = first_difference(read_dictionary(path), own)
            if difference:
                raise UserError(
                    f"data-bin {folder}: its {path.name} is not that of {bins[0]}: {difference}; binarise its text "
                    "with the dictionaries of the first (fairseq-preprocess --srcdict --tgtdict)"
                )


def check_loaded(dataset: LanguagePairDataset, split: str, folder: Path, target: str | None) -> None:
    """Read the last row of each file, which a file that was cut short lacks.

    Args:
        dataset: of the split.
        split: its name.
        folder: its data-bin.
        target: the target language, for a training; None: the split may lack targets.

    Raises:
        UserError: a training has no targets.
    """
    if target and dataset.tgt is None:
        raise UserError(
            f"data-bin {folder}: no rows of {target} in {split}, which training needs; binarise both sides of its text"
        )
    for side in filter(None, (dataset.src, dataset.tgt)):
        for part in side.datasets if isinstance(side, ConcatDataset) else [side]:
            part[len(part) - 1]


def refuse_long(split: str, dataset: FairseqDataset, indices: np.ndarray, most: tuple[int, int], *_: Any) -> None:
    """Raise a UserError where rows of a split are longer than the model's positions, or than --max-*-positions."""
    long = dataset.filter_indices_by_size(indices, most)[1]
    if long:
        raise UserError(
            f"{len(long)} rows of {split} are longer than the {most[0]} and {most[1]} tokens that source and target "
            f"may have, the first is row {long[0]} (from 0): give --skip-invalid-size-inputs-valid-test to leave them "
            "out, or other --max-source-positions and --max-target-positions"
        )


def refuse_large(split: str, dataset: FairseqDataset, rows: np.ndarray, option: str, most: int | None) -> None:
    """Raise a UserError where one of the ``rows`` of a split has more tokens than ``option`` allows in a batch.

    It is raised also where there are no such rows, as all are longer than the positions.
    """
    longest = max(rows, key=dataset.num_tokens, default=None)
    if longest is None:
        raise UserError(
            f"no row of {split} is left: all are longer than --max-source-positions and --max-target-positions allow; "
            "give larger ones, or cut the text into shorter rows"
        )
    if most is not None and (tokens := dataset.num_tokens(longest)) > most:
        raise UserError(
            f"row {longest} (from 0) of {split} has {tokens} tokens, more than {option} {most}: give {tokens} or "
            "more, or leave long rows out of the data"
        )


def check_upsampling(cfg: Any, split: str, data: Path) -> None:
    """Raise a UserError where --upsample-primary does not suit a split in parts (``train``, ``train1``).

    Args:
        cfg: the task's options.
        split: whose parts are combined.
        data: the data-bin.
    """
    pair, times = (cfg.source_lang, cfg.target_lang), cfg.upsample_primary
    second = [f"{split}1.{one}-{other}.{pair[0]}.idx" for one, other in (pair, pair[::-1])]
    if times == 1 or not any((data / name).is_file() for name in second):
        return
    if times < 1:  # fairseq's default, −1, gives the first part a negative length
        raise UserError(f"--upsample-primary {times}: {data} has {split} in parts; give --upsample-primary 1")
    if split == cfg.train_subset and (cfg.distilled_data or cfg.teacher_cache):
        option = "--distilled-data" if cfg.distilled_data else "--teacher-cache"
        raise UserError(f"--upsample-primary {times}: {option} has each row once; give --upsample-primary 1")


def tell_lost_rows(split: str, rows: int, iterator: EpochBatchIterator) -> None:
    """fairseq-fixed leaves out the last batch unless its rows are a multiple of --required-batch-size-multiple.

    Args:
        split: its name, for the message.
        rows: how many fit the model.
        iterator: with the batches of these.

    Raises:
        UserError: all rows are left out. A warning counts fewer.
    """
    lost = rows - sum(map(len, iterator.frozen_batches))
    if lost <= 0:
        return
    advice = f"rows of {split} are in no batch: give --required-batch-size-multiple 1, else fairseq leaves them out"
    if lost == rows:
        raise UserError(f"all {rows} {advice}")
    logger.warning("%d of %d %s", lost, rows, advice)
