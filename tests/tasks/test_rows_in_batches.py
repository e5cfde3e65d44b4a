"""Rows that fairseq puts into no batch."""

import logging
from pathlib import Path

import pytest
from fairseq.data import data_utils

from fairseq_kd.errors import UserError
from tests.support.databins import write_databin
from tests.support.models import build

DROPS = not data_utils.batch_by_size([0], lambda _: 1, max_tokens=9, required_batch_size_multiple=8)
"""Whether this fairseq leaves rows out; fairseq-fixed does."""


@pytest.mark.skipif(not DROPS, reason="this fairseq keeps every row")
@pytest.mark.parametrize(("multiple", "rows", "lost"), [(8, 20, 4), (8, 16, 0), (1, 20, 0), (8, 5, 5)])
def test_rows_that_fairseq_leaves_out_are_counted(
    multiple: int, rows: int, lost: int, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Its default drops the last batch of a set where that is no multiple of 8 rows: here the longest rows."""
    data = write_databin(tmp_path / "data", ("en", "de"), {"train": 8, "valid": rows})
    task = build(data, "--user-dir", "fairseq_kd", "--task", "translation_kd")[0]
    task.load_dataset("valid")
    options = {"max_tokens": 4000, "max_positions": (99, 99), "required_batch_size_multiple": multiple}
    if lost == rows:
        with pytest.raises(UserError, match="all 5 rows of valid are in no batch: give --required-batch-size-mult"):
            task.get_batch_iterator(task.dataset("valid"), **options)
        return
    with caplog.at_level(logging.WARNING):
        batches = task.get_batch_iterator(task.dataset("valid"), **options).frozen_batches
    assert sum(map(len, batches)) == rows - lost
    assert (f"{lost} of {rows} rows of valid are in no batch" in caplog.text) == bool(lost)
