"""fairseq-train on a data-bin that lacks something: one line instead of fairseq's traceback."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.databins import write_databin
from tests.support.training import train_command

PAIR = ("en", "de")
ROWS = {"train": 12, "train1": 6, "valid": 4}
MULTIPLE = ("--required-batch-size-multiple", "1")
Change = Callable[[Path], object]


def cut(path: Path) -> None:
    os.truncate(path, path.stat().st_size - 4)


def fewer_rows(data: Path) -> None:
    for end in ("bin", "idx"):
        shutil.copy(data / f"valid.en-de.de.{end}", data / f"train.en-de.de.{end}")


BAD: dict[str, tuple[Change, tuple[str, ...], str]] = {
    "no data-bin": (lambda data: [path.unlink() for path in data.iterdir()], (), "no file named like train.en-de"),
    "no dictionary": (lambda data: (data / "dict.de.txt").unlink(), (), "dict.de.txt: no such file"),
    "a broken dictionary": (lambda data: (data / "dict.de.txt").write_text("w0\n"), (), "dict.de.txt: cannot be read"),
    "other languages": (lambda data: None, ("-s", "fr", "-t", "de"), "data-bin holds en-de; give two languages"),
    "a name of no split": (
        lambda data: None,
        ("--valid-subset", "valid,valid_2"),
        "no subset 'valid_2' for en-de; it has: train, valid",
    ),
    "no targets of train": (
        lambda data: [(data / f"train.en-de.de.{end}").unlink() for end in ("bin", "idx")],
        (),
        "train.en-de.de.idx: no such file; other parts of train have this side",
    ),
    "no targets of valid": (
        lambda data: [(data / f"valid.en-de.de.{end}").unlink() for end in ("bin", "idx")],
        (),
        "no rows of de in valid",
    ),
    "fewer targets": (fewer_rows, (), "subset 'train' has 18 rows of en, 10 of de"),
    "cut short": (lambda data: cut(data / "train1.en-de.de.bin"), (), "subset 'train' cannot be read"),
    "an index cut short": (lambda data: cut(data / "train.en-de.en.idx"), (), "train.en-de.en was cut short"),
    "another format": (lambda data: None, ("--dataset-impl", "lazy"), "--dataset-impl lazy: valid of data-bin"),
    "no short row": (
        lambda data: None,
        ("--max-target-positions", "1", "--disable-validation"),
        "no row of train is left: all are longer than --max-source-positions",
    ),
    "a long row": (
        lambda data: None,
        ("--max-target-positions", "2"),
        "4 rows of valid are longer than the 1024 and 2 tokens that source and target may have, the first is row 0",
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_a_bad_databin_is_one_line(name: str, tmp_path: Path) -> None:
    change, options, expected = BAD[name]
    data = write_databin(tmp_path / "data-bin", PAIR, ROWS)
    change(data)
    words = ("--task", "translation_kd", "--upsample-primary", "1", "--max-update", "1", *MULTIPLE, *options)
    done = train_command(data, tmp_path / "save", *words, check=False)
    assert done.returncode != 0 and "Traceback" not in done.stderr, done.stderr[-2000:]
    (line,) = [line for line in done.stderr.splitlines() if line.startswith("fairseq_kd: error:")]
    assert expected in line


def test_databins_of_other_dictionaries_are_no_training_set(tmp_path: Path) -> None:
    """fairseq reads all of them with the first one's dictionaries: other words, and no error."""
    first, second = (write_databin(tmp_path / name, PAIR, ROWS, first=100) for name in "ab")
    words = ("--task", "translation_kd", "--upsample-primary", "1", "--max-update", "1", *MULTIPLE)
    train_command(Path(f"{first}:{second}"), tmp_path / "whole", *words)
    lines = (second / "dict.de.txt").read_text().splitlines(keepends=True)
    (second / "dict.de.txt").write_text("".join([lines[1], lines[0], *lines[2:]]))
    done = train_command(Path(f"{first}:{second}"), tmp_path / "save", *words, check=False)
    assert done.returncode != 0 and "Traceback" not in done.stderr, done.stderr[-2000:]
    (line,) = [line for line in done.stderr.splitlines() if line.startswith("fairseq_kd: error:")]
    assert f"data-bin {second}: its dict.de.txt is not that of {first}" in line
    assert "number 4, 'w1' against 'w0'" in line
