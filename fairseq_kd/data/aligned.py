"""A translation dataset that adds entries to its batches, row by row."""

from abc import abstractmethod
from typing import Any

import numpy as np
from fairseq.data import BaseWrapperDataset


class AlignedDataset(BaseWrapperDataset):
    """A ``LanguagePairDataset`` that adds entries to its batches: the whole split in the order of its files."""

    @abstractmethod
    def along(self, rows: list[int]) -> dict[str, Any]:
        """The entries to add to the batch of these rows."""

    def __getattr__(self, name: str) -> Any:
        # fairseq reads attributes of a LanguagePairDataset (src, tgt, tgt_sizes, …) that its wrappers do not pass on.
        # While it is unpickled, "dataset" is not there yet.
        if name == "dataset" or name.startswith("__"):
            raise AttributeError(name)
        return getattr(self.dataset, name)

    def collater(self, samples: list[dict[str, Any]], pad_to_length: dict[str, int] | None = None) -> dict[str, Any]:
        """The stock batch with the added entries. An empty batch stays empty."""
        batch = self.dataset.collater(samples, pad_to_length=pad_to_length)
        if batch:
            batch |= self.along(batch["id"].tolist())
        return batch

    def num_tokens_vec(self, indices: np.ndarray) -> np.ndarray:
        """As the stock dataset. fairseq's wrapper does not pass it on."""
        return self.dataset.num_tokens_vec(indices)

    @property
    def supports_fetch_outside_dataloader(self) -> bool:
        """As the stock dataset. fairseq's wrapper does not pass it on."""
        return self.dataset.supports_fetch_outside_dataloader
