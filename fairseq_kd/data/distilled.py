"""A translation dataset whose batches also hold a teacher's output for the same sources."""

import logging
from pathlib import Path
from typing import Any

import numpy as np
import torch
from fairseq.data import LanguagePairDataset, data_utils
from fairseq.tasks.translation import TranslationTask

from fairseq_kd.data.aligned import AlignedDataset
from fairseq_kd.data.databins.databin import open_databin, read_side
from fairseq_kd.data.databins.left_out import MISSING, places, read_left_out, same_sources
from fairseq_kd.data.databins.vocabulary import first_difference
from fairseq_kd.errors import UserError

logger = logging.getLogger(__name__)

ADVICE = "make it from this data-bin with scripts/generate_distilled_corpus.sh"


class DistilledDataset(AlignedDataset):
    """A ``LanguagePairDataset`` that adds ``sample["distilled"]``: the teacher's output for each row.

    It is a LongTensor of shape (batch, longest). Each row ends in ``</s>`` and is padded on the right.

    Args:
        dataset: the gold split, in the order of its files.
        distilled: its rows, or some of them, with the teacher's targets.
        places: for each gold row its row in ``distilled``, :data:`fairseq_kd.data.databins.left_out.MISSING` where that
            has none, shape (gold rows,).
        empty_is_missing: an empty target, ``</s>`` alone, stands for a row that the teacher did not translate. Where
            ``left_out.json`` names those rows, an empty target is the teacher's own.
    """

    def __init__(
        self,
        dataset: LanguagePairDataset,
        distilled: LanguagePairDataset,
        places: np.ndarray,
        empty_is_missing: bool = True,
    ):
        super().__init__(dataset)
        self.distilled = distilled
        self.places = places
        sizes = np.asarray(distilled.tgt_sizes)[places]
        self.taught = (places != MISSING) & ((sizes > 1) | (not empty_is_missing))
        self.target_sizes = np.where(self.taught, sizes, 0)

    def along(self, rows: list[int]) -> dict[str, Any]:
        """As :meth:`AlignedDataset.along`."""
        targets = [self.distilled.tgt[self.places[row]] for row in rows]
        return {"distilled": data_utils.collate_tokens(targets, self.dataset.tgt_dict.pad())}

    def filter_indices_by_size(self, indices: np.ndarray, max_sizes: Any) -> tuple[np.ndarray, list[int]]:
        """As the stock dataset, but also leaves out rows without a distilled target, or with one that is too long."""
        kept, ignored = self.dataset.filter_indices_by_size(indices, max_sizes)
        most = max_sizes[1] if isinstance(max_sizes, tuple | list) else max_sizes
        unusable = ~self.taught[kept] | (self.target_sizes[kept] > (np.inf if most is None else most))
        return kept[~unusable], [*ignored, *kept[unusable].tolist()]


def add_distilled(task: TranslationTask, split: str, gold: Path, data: Path) -> LanguagePairDataset | DistilledDataset:
    """The dataset ``split`` that ``task`` has loaded, with the targets of its --distilled-data.

    Only the training split gets them; others are returned as they are.

    Args:
        task: the task.
        split: name of the dataset.
        gold: the data-bin that it was loaded from.
        data: the data-bin of --distilled-data that goes with it.

    Raises:
        UserError: --distilled-data lacks the training split, or its rows or dictionary are not the gold data's.
    """
    dataset = task.datasets[split]
    pair = task.cfg.source_lang, task.cfg.target_lang
    if split != task.cfg.train_subset:
        return dataset
    other = open_databin(data, split, pair)
    difference = first_difference(other.target_dictionary, task.target_dictionary)
    if difference:
        raise UserError(f"--distilled-data {data}: its target dictionary is not the data's: {difference}")
    distilled = other.dataset(split)
    where = _places(data, gold, split, pair, len(dataset), distilled)
    joined = DistilledDataset(dataset, distilled, where, empty_is_missing=read_left_out(data, split) is None)
    missed = len(joined) - int(joined.taught.sum())
    if missed:
        logger.warning(
            "--distilled-data %s: it has no translation of %d of the %d rows of %s; training leaves them out",
            data, missed, len(joined), split,
        )  # fmt: skip
    return joined


def _places(
    data: Path, gold: Path, split: str, pair: tuple[str, str], rows: int, distilled: LanguagePairDataset
) -> np.ndarray:
    """For each of the gold split's ``rows`` its row in ``distilled``, shape (rows,).

    Raises:
        UserError: the sources are not the gold data's, row by row.
    """
    made, left_out = read_left_out(data, split) or (len(distilled), np.empty(0, dtype=np.int64))
    if rows != made or len(distilled) != made - len(left_out):
        of = f" (of {made})" if len(left_out) else ""
        raise UserError(f"--distilled-data {data}: {len(distilled)} rows{of}, the gold data has {rows}; {ADVICE}")
    where = places(rows, left_out)
    if not same_sources(data, gold, split, pair):
        # As the files have it: fairseq reads some formats in the order of the batches alone, and --truncate-source
        # changes the sources of the loaded dataset.
        sources = read_side(gold, split, pair, pair[0])
        for row in np.flatnonzero(where != MISSING).tolist():
            if not torch.equal(sources[row], distilled.src[where[row]]):
                raise UserError(
                    f"--distilled-data {data}: the source of row {row} (from 0) differs from the gold data; {ADVICE}"
                )
    return where
