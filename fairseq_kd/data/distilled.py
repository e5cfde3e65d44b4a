"""A translation dataset whose batches also hold a teacher's output for the same sources."""

import logging
from pathlib import Path
from typing import Any

import numpy as np
import torch
from fairseq import utils
from fairseq.data import LanguagePairDataset, data_utils
from fairseq.tasks.translation import TranslationTask

from fairseq_kd.data.aligned import AlignedDataset
from fairseq_kd.data.databin import open_databin
from fairseq_kd.data.databin_files import file_names
from fairseq_kd.data.vocabulary import first_difference
from fairseq_kd.errors import UserError
from fairseq_kd.storage.files import file_hash

logger = logging.getLogger(__name__)

ADVICE = "make it from this data-bin with scripts/generate_distilled_corpus.sh"


class DistilledDataset(AlignedDataset):
    """A ``LanguagePairDataset`` that adds ``sample["distilled"]``: the teacher's output for each row.

    It is a LongTensor of shape (batch, longest). Each row ends in ``</s>`` and is padded on the right.

    Args:
        dataset: the gold split, in the order of its files.
        distilled: the same rows with the teacher's targets.
    """

    def __init__(self, dataset: LanguagePairDataset, distilled: LanguagePairDataset):
        super().__init__(dataset)
        self.distilled = distilled

    def along(self, rows: list[int]) -> dict[str, Any]:
        """As :meth:`AlignedDataset.along`."""
        targets = [self.distilled.tgt[row] for row in rows]
        return {"distilled": data_utils.collate_tokens(targets, self.dataset.tgt_dict.pad())}

    def filter_indices_by_size(self, indices: np.ndarray, max_sizes: Any) -> tuple[np.ndarray, list[int]]:
        """As the stock dataset, but also leaves out the rows whose distilled target is longer than a target may be."""
        kept, ignored = self.dataset.filter_indices_by_size(indices, max_sizes)
        most = max_sizes[1] if isinstance(max_sizes, tuple | list) else max_sizes
        too_long = self.distilled.tgt_sizes[kept] > (np.inf if most is None else most)
        return kept[~too_long], [*ignored, *kept[too_long].tolist()]


def add_distilled(task: TranslationTask, split: str) -> LanguagePairDataset | DistilledDataset:
    """The dataset ``split`` that ``task`` has loaded, with the targets of its --distilled-data.

    Only the training split gets them; others are returned as they are.

    Raises:
        UserError: --distilled-data lacks the training split, or its rows or dictionary are not the gold data's.
    """
    data, dataset = Path(task.cfg.distilled_data), task.datasets[split]
    pair = task.cfg.source_lang, task.cfg.target_lang
    if split != task.cfg.train_subset:
        return dataset
    paths = utils.split_paths(task.cfg.data)
    if len(paths) > 1:
        raise UserError(f"--distilled-data needs a single data-bin, not {len(paths)}: {task.cfg.data}")
    other = open_databin(data, split, pair)
    difference = first_difference(other.target_dictionary, task.target_dictionary)
    if difference:
        raise UserError(f"--distilled-data {data}: its target dictionary is not the data's: {difference}")
    distilled = other.dataset(split)
    if len(dataset) != len(distilled):
        raise UserError(f"--distilled-data {data}: {len(distilled)} rows, the gold data has {len(dataset)}; {ADVICE}")
    if not _same_files(Path(paths[0]), data, split, pair):
        # fairseq reads some formats in the order of the batches alone
        _compare(data, open_databin(paths[0], split, pair).dataset(split), distilled)
    return DistilledDataset(dataset, distilled)


def _same_files(gold: Path, distilled: Path, split: str, pair: tuple[str, str]) -> bool:
    """Whether the source sides of both data-bins are the same bytes."""
    first, second = (
        [file_hash(folder / name) for name in file_names(folder, split, *pair, pair[0])] for folder in (gold, distilled)
    )
    return first == second


def _compare(data: Path, gold: LanguagePairDataset, distilled: LanguagePairDataset) -> None:
    """Raise a UserError unless both datasets have the same sources row by row."""
    for row in range(len(gold)):
        if not torch.equal(gold.src[row], distilled.src[row]):
            raise UserError(
                f"--distilled-data {data}: the source of row {row} (from 0) differs from the gold data; {ADVICE}"
            )
