"""Small batches of the validation set, for what a training reads of it between updates."""

from typing import Any

import numpy as np
from fairseq.data import data_utils
from fairseq.models import BaseFairseqModel
from fairseq.tasks import FairseqTask

from fairseq_kd.data.databins.files import first_folder, parts_of
from fairseq_kd.errors import UserError

TOKENS = 512
"""Source or target tokens of a batch, padding included."""


class ValidationBatches:
    """The rows of a split in a fixed random order, in batches of about ``TOKENS`` tokens.

    Args:
        task: loads the split unless it has it.
        split: its name.
        model: whose positions a row has to fit.

    Raises:
        UserError: the split is missing, or no row fits.
    """

    def __init__(self, task: FairseqTask, split: str, model: BaseFairseqModel):
        if split not in task.datasets:
            cfg = task.cfg
            if not parts_of(first_folder(cfg.data), split, cfg.source_lang, cfg.target_lang):
                raise UserError(
                    f"--gate-signal held_out reads the validation set, but {cfg.data} has no split {split!r}; "
                    "give --valid-subset, or --gate-signal normalised"
                )
            task.load_dataset(split)
        self.dataset = task.dataset(split)
        rows = np.random.RandomState(1).permutation(len(self.dataset))
        rows, _ = self.dataset.filter_indices_by_size(rows, model.max_positions())
        if not len(rows):
            reason = f"no row of {split!r} fits the student's positions"
            raise UserError(f"--gate-signal held_out: {reason}; give --gate-signal normalised")
        sizes = np.maximum(self.dataset.src_sizes, self.dataset.tgt_sizes)
        most = max(TOKENS, int(sizes[rows].max()))
        self.batches = data_utils.batch_by_size(rows, sizes.__getitem__, max_tokens=most)

    def of(self, update: int) -> dict[str, Any]:
        """The batch of an update."""
        rows = self.batches[update % len(self.batches)]
        return self.dataset.collater([self.dataset[row] for row in rows])
