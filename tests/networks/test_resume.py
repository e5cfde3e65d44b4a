"""Where a training goes on: from what the files say, never from their dates."""

import os
import shutil
from argparse import Namespace
from pathlib import Path

import pytest
import torch

from fairseq_kd.cli import command_line as cli
from fairseq_kd.networks.resume import epoch_line, finish_saving, newest_sound_checkpoint
from fairseq_kd.report.training_log import read_training_log
from tests.support.commands import run_command
from tests.support.models import ARCHITECTURES


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


@pytest.fixture(scope="module")
def trained(tiny_corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three epochs in a folder that keeps two of them, two of the best, and one state within an epoch."""
    folder = tmp_path_factory.mktemp("trained")
    words = f"""--cpu --optimizer adam --lr 0.01 --max-tokens 400 --max-epoch 3 --num-workers 0 --seed 3
    --data-buffer-size 0 --criterion cross_entropy --save-interval-updates 7 --keep-interval-updates 1
    --keep-last-epochs 2 --keep-best-checkpoints 2 {ARCHITECTURES["transformer"]}"""
    log = folder.with_suffix(".log")
    log.write_text(run_command("fairseq-train", tiny_corpus, "--save-dir", folder, *words.split()).stdout)
    return folder


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.mark.parametrize("written", range(5))
def test_a_killed_save_is_finished(trained: Path, written: int, tmp_path: Path) -> None:
    """Killed after so many of the newest state's names; the others have an earlier state, or are not there yet."""
    expected = contents(trained)
    best_of_all, best_before = sorted(name for name in expected if name.startswith("checkpoint.best_loss"))
    newest = ["checkpoint3.pt", "checkpoint_best.pt", best_of_all, "checkpoint_last.pt"]
    assert len({expected[name] for name in newest}) == 1
    folder = tmp_path / "killed"
    shutil.copytree(trained, folder)
    for name in newest[max(1, written) :]:
        shutil.copy(trained / "checkpoint2.pt", folder / name)
    if written == 0:  # in the middle of the first copy
        (folder / "checkpoint_best.pt").write_bytes(expected["checkpoint_best.pt"][:1000])
    if written < 3:
        (folder / best_of_all).unlink()
    for late in ("checkpoint1.pt", "checkpoint.best_loss_9.9990.pt"):  # what is deleted at the end
        shutil.copy(trained / best_before, folder / late)
    found = newest_sound_checkpoint(folder)
    assert found is not None
    finish_saving(folder, found)
    assert contents(folder) == expected
    finish_saving(folder, folder / "checkpoint_last.pt")
    assert contents(folder) == expected


def test_what_a_user_deleted_or_renamed_is_not_made_again(trained: Path, tmp_path: Path) -> None:
    folder = tmp_path / "mine"
    shutil.copytree(trained, folder)
    (folder / "checkpoint3.pt").unlink()
    (folder / "checkpoint_best.pt").rename(folder / "checkpoint_of_mine.pt")
    before = contents(folder)
    finish_saving(folder, folder / "checkpoint_last.pt")
    assert contents(folder) == before


def test_the_line_of_an_epoch_that_a_kill_lost(trained: Path, tmp_path: Path) -> None:
    """Killed between the last save and the epoch's line: the figures of the training are those of an unbroken log."""
    log = trained.with_suffix(".log").read_text()
    cut = log[: log.rindex("| train | epoch 003")]
    (tmp_path / "train.log").write_text(cut)
    shutil.copy(trained / "checkpoint_last.pt", tmp_path)
    cli.main(["last-checkpoint", str(tmp_path)])
    assert (tmp_path / "train.log").read_text() == cut
    for _ in range(2):  # once more changes nothing
        cli.main(["last-checkpoint", "--finish", str(tmp_path)])
        whole, mended = (read_training_log(one) for one in (trained.with_suffix(".log"), tmp_path / "train.log"))
        assert mended == whole and mended["epochs"] == 3
    assert epoch_line(trained / "checkpoint2.pt", ended=False) is not None
    within = next(trained.glob("checkpoint_?_*.pt"))
    assert epoch_line(within, ended=False) is None and epoch_line(within, ended=True) is not None


def test_a_measure_that_is_a_path_names_no_file(trained: Path, tmp_path: Path) -> None:
    found = torch.load(trained / "checkpoint3.pt", weights_only=False)
    found["cfg"]["checkpoint"]["best_checkpoint_metric"] = "loss/../../escaped"
    folder = tmp_path / "mine"
    (folder / "checkpoint.best_loss").mkdir(parents=True)
    torch.save(found, folder / "checkpoint3.pt")
    finish_saving(folder, folder / "checkpoint3.pt")
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]
    assert sorted(path.name for path in folder.iterdir()) == ["checkpoint.best_loss", "checkpoint3.pt"]
