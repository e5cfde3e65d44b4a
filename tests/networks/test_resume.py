"""Where a training goes on: from what the files say, never from their dates."""

import os
from argparse import Namespace
from pathlib import Path

import pytest
import torch

from fairseq_kd.networks.resume import newest_sound_checkpoint


def state(path: Path, updates: int, epoch: int = 1, **extra: object) -> Path:
    history, iterator = [{"num_updates": updates}], {"epoch": epoch}
    torch.save({"model": {"w": torch.ones(100)}, "args": Namespace(arch="transformer"), "optimizer_history": history,
                "last_optimizer_state": {}, "extra_state": {"train_iterator": iterator, **extra}}, path)  # fmt: skip
    return path


def name_of_newest(folder: Path) -> str:
    found = newest_sound_checkpoint(folder)
    assert found is not None
    return found.name


def test_none(tmp_path: Path) -> None:
    assert newest_sound_checkpoint(tmp_path) is None


def test_a_copied_folder_has_other_dates(tmp_path: Path) -> None:
    for age, (name, updates) in enumerate([("1", 100), ("_best", 200), ("3", 300), ("_last", 300), ("2", 200)]):
        path = state(tmp_path / f"checkpoint{name}.pt", updates)
        os.utime(path, (10**9 + 100 * (updates == 100) - age,) * 2)
    assert name_of_newest(tmp_path) == "checkpoint_last.pt"


def test_a_last_one_cut_short(tmp_path: Path) -> None:
    for name, updates in [("1", 100), ("_1_150", 150), ("_best", 150)]:
        state(tmp_path / f"checkpoint{name}.pt", updates)
    (tmp_path / "checkpoint_last.pt").write_bytes(b"PK\x03\x04 cut")
    assert name_of_newest(tmp_path) == "checkpoint_1_150.pt"


def test_the_epoch_counts_where_updates_are_equal(tmp_path: Path) -> None:
    state(tmp_path / "checkpoint1.pt", 100, epoch=1)
    state(tmp_path / "checkpoint_best.pt", 100, epoch=2)  # saved at the epoch's end
    assert name_of_newest(tmp_path) == "checkpoint_best.pt"


def test_a_folder_whose_name_is_not_utf_8(tmp_path: Path) -> None:
    """torch maps no such file into memory; the checkpoint is sound all the same."""
    folder = tmp_path / os.fsdecode(b"d\xe9j\xe0")
    folder.mkdir()
    state(folder / "checkpoint_last.pt", 100)
    assert name_of_newest(folder) == "checkpoint_last.pt"


def test_means_and_other_files_are_no_state(tmp_path: Path) -> None:
    state(tmp_path / "checkpoint_last.pt", 100)
    state(tmp_path / "checkpoint.avg2.pt", 100, epoch=9)
    state(tmp_path / "checkpoint_average.pt", 500)
    state(tmp_path / "checkpoint_best.pt", 500, averaged={"checkpoints": []})
    state(tmp_path / "checkpoint_mine.pt", 500)
    assert name_of_newest(tmp_path) == "checkpoint_last.pt"


def test_without_the_optimizers_state_no_training_goes_on(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """fairseq would count the updates from 0, so that the next kill resumes from an older checkpoint."""
    for name in ("2", "_last"):
        path = state(tmp_path / f"checkpoint{name}.pt", 200)
        found = torch.load(path, weights_only=False)
        found["last_optimizer_state"] = None
        torch.save(found, path)
    assert newest_sound_checkpoint(tmp_path) is None and "--no-save-optimizer-state" in caplog.text
    state(tmp_path / "checkpoint1.pt", 100)
    assert name_of_newest(tmp_path) == "checkpoint1.pt"
