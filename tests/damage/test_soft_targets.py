"""Damaged soft targets."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from fairseq_kd.data import record_files
from fairseq_kd.data.databins.databin import open_databin
from fairseq_kd.data.record_files import write_records
from fairseq_kd.data.soft_targets import claim, data_hashes, encode, offsets
from fairseq_kd.errors import UserError
from tests.support.damage import assert_noticed
from tests.support.databins import write_databin
from tests.support.models import build

Files = tuple[list[Path], Callable[[], Any]]


@pytest.fixture(scope="module")
def cached(tmp_path_factory: pytest.TempPathFactory) -> Files:
    """The files of a cache of 12 rows, and what a training reads of them."""
    folder = tmp_path_factory.mktemp("cached")
    data = write_databin(folder / "data-bin", ("de", "en"), {"train": 12, "valid": 3})
    task = open_databin(data, "train")
    dataset, symbols = task.dataset("train"), len(task.target_dictionary)
    made = {"models": ["a" * 64], "data": data_hashes(data, "train", "de", "en"), "subset": "train", "source": "de"}
    made |= {"target": "en", "rows": 12, "tokens": int(dataset.tgt_sizes.sum()), "vocabulary": symbols, "ids": "uint16"}
    made |= {"top_k": 3, "temperature": 1.0, "max_positions": [1024, 1024], "block_rows": 5}
    starts = offsets(dataset.tgt_sizes)
    draw = torch.Generator().manual_seed(1)
    log_probs = torch.randn(int(starts[-1]), 4, generator=draw).log_softmax(-1)
    ids = torch.randint(symbols, (int(starts[-1]), 3), generator=draw)
    blocks = claim(folder / "cache", made).blocks
    for block in blocks:
        span = slice(int(starts[block.rows.start]), int(starts[block.rows.stop]))
        ends = (starts[block.rows.start + 1 : block.rows.stop + 1] - starts[block.rows.start]).tolist()
        write_records(block, encode(ids[span], log_probs[span], made), ends)
    options = ["--task", "translation_kd", "--criterion", "token_kd", "--kd-alpha", "0.5"]
    training, _, _ = build(data, *options, "--teacher-cache", str(folder / "cache"))

    def read() -> Any:
        record_files.open_records.cache_clear()
        training.load_dataset("train")
        rows = training.dataset("train")
        order = rows.filter_indices_by_size(np.arange(12), (1024, 1024))[0].tolist()
        found = rows.collater([rows[row] for row in order])
        if "error" in found["soft_targets"]:
            raise UserError(found["soft_targets"]["error"])
        return order, {name: tensor.tolist() for name, tensor in found["soft_targets"].items()}

    return [folder / "cache" / "train" / "manifest.json", *(block.paths[0] for block in blocks)], read


def test_damage_is_noticed(cached: Files) -> None:
    assert_noticed("soft-target cache", *cached, tries=400)
