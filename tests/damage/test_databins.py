"""Damaged data-bins that this package wrote."""

import shutil
from pathlib import Path
from typing import Any

import pytest

from fairseq_kd.data.databins.checksums import NAME, write_checksums
from fairseq_kd.data.databins.databin import open_databin
from fairseq_kd.data.databins.left_out import read_left_out, write_left_out
from fairseq_kd.errors import UserError
from tests.support.damage import assert_noticed, without_checksum
from tests.support.databins import write_databin
from tests.support.models import build

SPLITS = {"train": 9, "valid": 3}


def content(data: Path) -> Any:
    """All symbols and all rows."""
    task = open_databin(data, "train")
    dataset = task.dataset("train")
    words = [dictionary.symbols for dictionary in (task.source_dictionary, task.target_dictionary)]
    left = read_left_out(data, "train")
    return words, [[side[row].tolist() for row in range(len(side))] for side in (dataset.src, dataset.tgt)], str(left)


def test_a_databin(tmp_path: Path) -> None:
    data = write_databin(tmp_path, ("de", "en"), SPLITS)
    write_left_out(data, "train", 11, [3, 7])
    write_checksums(data)
    names = ("dict.de.txt", "dict.en.txt", "train.de-en.de.bin", "train.de-en.de.idx", "train.de-en.en.idx", NAME)
    assert_noticed("data-bin", [data / name for name in (*names, "left_out.json")], lambda: content(data))


def test_training_reads_no_damaged_file(tmp_path: Path) -> None:
    data = write_databin(tmp_path, ("de", "en"), SPLITS)
    write_checksums(data)
    task, _, _ = build(data, "--task", "translation_kd")
    path = data / "train.de-en.en.bin"
    path.write_bytes(path.read_bytes()[:-2] + b"\x05\x00")
    task.load_dataset("valid")
    with pytest.raises(UserError, match=r"train\.de-en\.en\.bin: damaged or missing \(its checksum differs"):
        task.load_dataset("train")
    (data / NAME).unlink()  # as of a data-bin that fairseq-preprocess made alone
    task.load_dataset("train")


def test_files_that_were_added_later_are_not_checked(tmp_path: Path) -> None:
    data = write_databin(tmp_path, ("de", "en"), SPLITS)
    write_checksums(data)
    before = content(data)
    for path in list(data.glob("valid.*")):
        shutil.copy(path, data / path.name.replace("valid", "test"))
    assert open_databin(data, "test").dataset("test") is not None
    without_checksum(data / NAME)
    assert content(data) == before
