"""fairseq-train with options that fairseq ignores, or that end in its traceback: one line."""

import shutil
from pathlib import Path

import numpy as np
import pytest

from tests.support.databins import write_databin
from tests.support.training import train_command

PAIR = ("en", "de")
ROWS = {"train": 12, "valid": 4}
WORDS = ("--task", "translation_kd", "--required-batch-size-multiple", "1", "--max-update", "1")
BAD = {
    "a checkpoint that is missing": (("--restore-file", "absent.pt"), "--restore-file absent.pt: no such file; give a"),
    "half precision on a CPU": (("--fp16", "--cpu"), "--fp16: this machine gives no GPU to the training"),
    "bfloat16, to fairseq a TPU": (("--bf16",), "--bf16: fairseq-train takes it to mean a TPU"),
    "no update is left": (("--skip-remainder-batch",), "--skip-remainder-batch leaves no update in epoch 1 ("),
    "one language, not the data's": (("--source-lang", "fr"), "holds en-de; give two languages of one pair"),
}


if not hasattr(np, "compat"):
    BAD["a new numpy"] = (("--num-batch-buckets", "4"), "--num-batch-buckets: fairseq's buckets cannot use numpy")


@pytest.mark.parametrize("name", BAD)
def test_such_an_option_is_one_line(name: str, tmp_path: Path) -> None:
    options, expected = BAD[name]
    data = write_databin(tmp_path / "data-bin", PAIR, ROWS)
    done = train_command(data, tmp_path / "save", *WORDS, *options, check=False)
    assert done.returncode != 0 and "Traceback" not in done.stderr, done.stderr[-2000:]
    (line,) = [line for line in done.stderr.splitlines() if line.startswith("fairseq_kd: error:")]
    assert expected in line


def test_one_of_several_pairs_is_not_taken_by_chance(tmp_path: Path) -> None:
    data = write_databin(tmp_path / "data-bin", PAIR, ROWS)
    write_databin(data, ("en", "fr"), ROWS)
    done = train_command(data, tmp_path / "save", *WORDS, check=False)
    assert done.returncode != 0 and "it holds the pairs en-de and en-fr; choose one" in done.stderr
    train_command(data, tmp_path / "save", *WORDS, "--target-lang", "fr")


def test_a_checkpoint_that_is_in_the_save_dir_is_named(tmp_path: Path) -> None:
    data = write_databin(tmp_path / "data-bin", PAIR, ROWS)
    save = tmp_path / "save"
    train_command(data, save, *WORDS)
    last = save / "checkpoint_last.pt"
    shutil.copy(last, save / "checkpoint_first.pt")
    done = train_command(data, save, *WORDS, "--restore-file", "checkpoint_first.pt", check=False)
    assert done.returncode != 0 and f"did you mean {save / 'checkpoint_first.pt'}?" in done.stderr


def test_a_first_start_may_name_the_checkpoint_that_it_will_write(tmp_path: Path) -> None:
    data = write_databin(tmp_path / "data-bin", PAIR, ROWS)
    last = tmp_path / "save" / "checkpoint_last.pt"
    train_command(data, last.parent, *WORDS, "--restore-file", str(last))
    assert last.is_file()
