"""Scripts that train: killed at any point and run again, they end where an unbroken run ends."""

import random
import re
import shutil
import subprocess
from pathlib import Path

import pytest
import torch

from fairseq_kd.networks.checkpoints import read_checkpoint
from fairseq_kd.networks.parameters import is_parameter
from tests.support.commands import ROOT, environment, run_command
from tests.support.corpora import binarise, write_text
from tests.support.kills import Moment, epochs_begun, kill_and_run_again
from tests.support.training import train_sh


def test_killed_and_run_again(tiny_corpus: Path, tmp_path: Path) -> None:
    subprocess.run(train_sh(tmp_path / "unbroken", tiny_corpus), env=environment(), check=True)
    draw = random.Random(5)
    log = tmp_path / "killed" / "train.log"
    moments = [Moment(epochs_begun(log, count), draw.random() / 5) for count in (2, 12)]

    def cut_short() -> None:
        last = tmp_path / "killed" / "checkpoint_last.pt"
        if last.exists():
            last.write_bytes(last.read_bytes()[:-100])

    kill_and_run_again(train_sh(tmp_path / "killed", tiny_corpus), moments, between=cut_short)
    models = [read_checkpoint(tmp_path / name / "checkpoint_last.pt")["model"] for name in ("unbroken", "killed")]
    for name in filter(is_parameter, models[0]):
        torch.testing.assert_close(models[1][name], models[0][name], rtol=0, atol=0)

    again = subprocess.run(
        train_sh(tmp_path / "killed", tiny_corpus), env=environment(), capture_output=True, text=True
    )
    assert again.returncode == 0 and "done before" in again.stderr
    other = train_sh(tmp_path / "killed", tiny_corpus, "--dropout", "0.3")
    refused = subprocess.run(other, env=environment(), capture_output=True, text=True)
    assert refused.returncode == 1 and "other arguments" in refused.stderr


def test_what_a_training_started_from_counts_once(tiny_corpus: Path, tiny_teacher: Path, tmp_path: Path) -> None:
    """Killed after its first epoch and run again, it does not start from the other model a second time."""
    reset = ("optimizer", "dataloader", "meters", "lr-scheduler")
    options = (f"--restore-file={tiny_teacher}", *(f"--reset-{name}" for name in reset), "--max-epoch", "2")

    def train(folder: str) -> None:
        words = train_sh(tmp_path / folder, tiny_corpus, *options)
        words.remove("--no-epoch-checkpoints")
        del words[words.index("--task") : words.index("--task") + 2]  # the script adds the task that resumes exactly
        subprocess.run(words, env=environment(), check=True)

    train("whole")
    shutil.copytree(tmp_path / "whole", tmp_path / "cut")
    for name in ("done", "checkpoint2.pt", "checkpoint_last.pt", "checkpoint_best.pt", "train.log"):
        (tmp_path / "cut" / name).unlink()
    train("cut")
    log = (tmp_path / "cut" / "train.log").read_text(encoding="utf-8")
    assert re.findall(r"begin training epoch (\d+)", log) == ["2"]
    whole, cut = (read_checkpoint(tmp_path / folder / "checkpoint_last.pt")["model"] for folder in ("whole", "cut"))
    assert max(float((whole[name] - cut[name]).abs().max()) for name in whole) < 1e-6


def test_paths_with_spaces(tiny_corpus: Path, tiny_teacher: Path, distilled: Path, tmp_path: Path) -> None:
    """Save folder, data-bin, teacher, its soft targets, distilled data and the model that a training starts from."""
    data, teacher, other, soft = (
        tmp_path / "my data" / name for name in ("a bin", "the teacher.pt", "b bin", "soft t")
    )
    data.parent.mkdir()
    for path, original in ((data, tiny_corpus), (teacher, tiny_teacher), (other, distilled)):
        path.symlink_to(original)
    run_command("fairseq-kd", "cache", "--model", teacher, "--data", data, "--teacher-data", data, "--output", soft,
                "--subset", "train", "--top-k", 2)  # fmt: skip
    start = ["--finetune-from-model", str(teacher), "--max-epoch", "1"]
    live = ["--criterion", "token_kd", "--teacher-path", str(teacher), "--teacher-data", str(data)]
    cached = ["--criterion", "hybrid_kd", "--teacher-cache", str(soft), "--distilled-data", str(other)]
    recorded = []
    for name, options in (("live", [*start, *live]), ("cached", ["--max-epoch", "1", *cached])):
        folder = tmp_path / "my runs" / name
        done = subprocess.run(train_sh(folder, data, *options), env=environment(), capture_output=True, text=True)
        assert done.returncode == 0 and (folder / "done").exists(), done.stderr
        recorded.append(re.findall(r"\b\d{5,} \d+ ", (folder / "arguments").read_text()))
    # Checksums: of the data-bin, the start and the teacher; of the data-bin, the soft targets and the distilled data.
    assert [len(sums) for sums in recorded] == [3, 3] and not any(sums.count("4294967295 0 ") for sums in recorded)
    assert recorded[0][1] == recorded[0][2] and len({*recorded[0], *recorded[1]}) == 4


@pytest.mark.slow
def test_prune_and_retrain_killed_and_run_again(tiny_corpus: Path, tiny_teacher: Path, tmp_path: Path) -> None:
    def command(folder: str) -> list[str]:
        words = ["bash", str(ROOT / "scripts" / "prune_and_retrain.sh"), "--model", str(tiny_teacher)]
        words += ["--data", str(tiny_corpus), "--output", str(tmp_path / folder), "--sparsities=0.3 0.6"]
        return [*words, "--", *train_sh(tmp_path, tiny_corpus, "--max-epoch", "4", "--weight-decay", "0.01")[6:]]

    unbroken = subprocess.run(command("unbroken"), env=environment(), check=True, capture_output=True, text=True)
    log = tmp_path / "killed" / "0.6" / "retrained" / "train.log"

    def not_done() -> None:
        assert not (log.parent / "done").exists()

    again = kill_and_run_again(command("killed"), [Moment(epochs_begun(log, 3))], between=not_done)
    assert "0.3/retrained: done before" in again.stderr and "0.6/retrained: going on from" in again.stderr
    rows = [line.split(" | ") for line in again.stdout.splitlines() if line.startswith("| 0.")]
    assert [row[:3] for row in rows] == [row.split(" | ")[:3] for row in unbroken.stdout.splitlines()[2:]]
    assert len(rows) == 2

    models = [
        read_checkpoint(tmp_path / name / "0.6/retrained/checkpoint_last.pt")["model"]
        for name in ("unbroken", "killed")
    ]
    pruned = read_checkpoint(tmp_path / "killed" / "0.6" / "pruned.pt")["model"]
    for name, weights in models[0].items():
        torch.testing.assert_close(models[1][name], weights, rtol=0, atol=0)
        if weights.dim() > 1:
            assert torch.equal(weights == 0, pruned[name] == 0)
            assert not torch.equal(weights, pruned[name])


@pytest.mark.slow
def test_training_may_end_within_an_epoch(tmp_path: Path) -> None:
    """fairseq's buffering thread, caught at work by the end of the process, would abort it; in a real process."""
    write_text(tmp_path / "text", {"train": 12000, "valid": 40, "test": 40})
    data = binarise(tmp_path / "text", tmp_path / "data-bin", "--joined-dictionary")
    options = ["--max-tokens", "12000", "--max-update", "1", "--disable-validation", "--no-save"]
    subprocess.run(train_sh(tmp_path / "x", data, *options), env=environment(forked=False), check=True)
    assert (tmp_path / "x" / "done").exists()


def test_a_failing_training_says_why(tmp_path: Path) -> None:
    done = subprocess.run(train_sh(tmp_path / "x", tmp_path), env=environment(), capture_output=True, text=True)
    assert done.returncode == 1 and "training failed" in done.stderr
    assert not (tmp_path / "x" / "done").exists()
