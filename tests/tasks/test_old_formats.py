"""Training on a data-bin of fairseq's formats lazy and cached, the default of fairseq 0.8 and before."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.support.databins import write_databin
from tests.support.models import build

PAIR = ("en", "de")
ROWS = {"train": 40, "train1": 24}


def batches(data: Path, *options: str, workers: int = 0) -> dict[int, tuple[list[int], list[int]]]:
    """Source and target of each row of train, as the batches of an epoch have them."""
    task: Any = build(data, "--user-dir", "fairseq_kd", "--task", "translation_kd", *options)[0]
    task.load_dataset("train", combine=True)
    iterator = task.get_batch_iterator(
        task.dataset("train"), max_sentences=4, required_batch_size_multiple=1, num_workers=workers
    )
    assert len(iterator.first_batch["id"]) == 4  # fairseq-train reads it before all others, in its own process
    return {
        row: (source.tolist(), target.tolist())
        for batch in iterator.next_epoch_itr(shuffle=True)
        for row, source, target in zip(
            batch["id"].tolist(), batch["net_input"]["src_tokens"], batch["target"], strict=True
        )
    }


@pytest.mark.parametrize("impl", [(), ("--dataset-impl", "lazy")], ids=["found", "named"])
@pytest.mark.parametrize("cut", [(), ("--truncate-source", "--max-source-positions", "2")], ids=["whole", "cut"])
def test_batches_are_those_of_mmap(impl: tuple[str, ...], cut: tuple[str, ...], tmp_path: Path) -> None:
    options = ("--upsample-primary", "1", *cut)
    expected = batches(write_databin(tmp_path / "new", PAIR, ROWS), *options)
    assert len(expected) == 64
    assert batches(write_databin(tmp_path / "old", PAIR, ROWS, impl="lazy"), *options, *impl) == expected


def test_workers_share_no_place_in_a_file(tmp_path: Path) -> None:
    """fairseq's own reader of lazy files gives rows of each other where several processes read at a time."""
    rows = {"train": 4000}
    expected = batches(write_databin(tmp_path / "new", PAIR, rows))
    old = write_databin(tmp_path / "old", PAIR, rows, impl="lazy")
    found = batches(old, "--dataset-impl", "lazy", workers=4)
    assert len(found) == 4000 and not np.flatnonzero([found[row] != expected[row] for row in range(4000)]).tolist()
