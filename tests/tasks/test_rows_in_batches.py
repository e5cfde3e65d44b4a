"""Rows that fairseq puts into no batch, and the order of the batches."""

import logging
from pathlib import Path

import pytest
from fairseq.data import data_utils
from fairseq.data.iterators import EpochBatchIterator

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


@pytest.mark.parametrize("max_tokens", [3, 4])
def test_a_row_longer_than_a_batch_is_told(max_tokens: int, tmp_path: Path) -> None:
    """fairseq ends in an AssertionError that names no row. Row 7 has three words and ``</s>``, the others two words."""
    data = write_databin(tmp_path / "data", ("en", "de"), {"train": 8}, first=56)
    task = build(data, "--user-dir", "fairseq_kd", "--task", "translation_kd")[0]
    task.load_dataset("train")
    options = {"max_positions": (99, 99), "max_tokens": max_tokens}
    if max_tokens == 4:
        assert task.get_batch_iterator(task.dataset("train"), **options).frozen_batches
        return
    with pytest.raises(UserError, match=r"row 7 \(from 0\) of train has 4 tokens, more than --max-tokens 3"):
        task.get_batch_iterator(task.dataset("train"), **options)


def test_a_curriculum_ends(tmp_path: Path) -> None:
    """--curriculum 1: the first epoch has the batches by length, the later ones in an order of their own.

    fairseq-fixed keeps the loader of the first epoch, and with it that epoch's order.
    """
    data = write_databin(tmp_path / "data", ("en", "de"), {"train": 40, "valid": 8})
    task = build(data, "--user-dir", "fairseq_kd", "--task", "translation_kd", "--curriculum", "1")[0]
    task.load_dataset("train")
    options = {"max_sentences": 2, "max_positions": (99, 99), "seed": 1}

    def order(iterator: EpochBatchIterator) -> list[list[int]]:
        shuffle = iterator.next_epoch_idx > 1  # as fairseq-train asks for an epoch
        return [sorted(batch["id"].tolist()) for batch in iterator.next_epoch_itr(shuffle=shuffle)]

    iterator = task.get_batch_iterator(task.dataset("train"), **options)
    by_length = [sorted(map(int, batch)) for batch in iterator.frozen_batches]
    first, second, third = (order(iterator) for _ in range(3))
    assert first == by_length
    assert sorted(second) == sorted(third) == sorted(first)
    assert second != first and third != first and third != second
    # A run that is resumed behind the first epoch has the same batches.
    again = task.get_batch_iterator(task.dataset("train"), **options, epoch=2, disable_iterator_cache=True)
    assert order(again) == second
