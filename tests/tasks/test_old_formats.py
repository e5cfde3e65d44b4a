"""Training on a data-bin of fairseq's formats lazy and cached, the default of fairseq 0.8 and before."""

from pathlib import Path
from typing import Any

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


def places(folder: Path) -> dict[str, str]:
    """Where this process stands in the files of ``folder`` that it holds open."""
    opened = [handle for handle in Path("/proc/self/fd").iterdir() if handle.is_symlink()]
    within = [handle.name for handle in opened if folder in handle.readlink().parents]
    return {name: Path("/proc/self/fdinfo", name).read_text().splitlines()[0] for name in within}


def test_workers_share_no_place_in_a_file(tmp_path: Path) -> None:
    """A file that is open before the workers start has one place for all: of 20,000 rows one or two came out wrong."""
    data = write_databin(tmp_path / "old", PAIR, ROWS, impl="lazy")
    task: Any = build(data, "--user-dir", "fairseq_kd", "--task", "translation_kd", "--dataset-impl", "lazy")[0]
    task.load_dataset("train")
    dataset = task.dataset("train")
    assert dataset[3]["source"].tolist() != dataset[4]["source"].tolist()
    before = places(data)
    assert dataset[5]["source"].tolist() != dataset[6]["source"].tolist() and places(data) == before
    expected = batches(write_databin(tmp_path / "new", PAIR, ROWS), "--upsample-primary", "1")
    assert batches(data, "--upsample-primary", "1", "--dataset-impl", "lazy", workers=2) == expected
