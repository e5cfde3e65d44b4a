"""The LSTM experiments of Kim & Rush 2016, from their configs at tiny widths: each kind of training, and pruning."""

import re
import shlex
import subprocess
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from fairseq_kd import cli
from fairseq_kd.networks.checkpoints import read_checkpoint
from fairseq_kd.networks.parameters import is_prunable
from tests.support.commands import PLUGIN, ROOT, environment, run_command

CONFIGS = ROOT / "configs" / "kim_rush_2016"


class Experiment:
    """A config's trainings for two updates, with its paths and widths exchanged."""

    def __init__(self, name: str, data: Path, folder: Path):
        self.config: dict[str, Any] = yaml.safe_load((CONFIGS / f"{name}.yaml").read_text(encoding="utf-8"))
        self.data, self.folder = data, folder

    def train(self, name: str, data: Path, *parts: str, start: Path | None = None) -> Path:
        """Train with these parts of the config; the path of the checkpoint."""
        options = " ".join([self.config["training"], *parts])
        options = re.sub(r"(-(?:dim|size)) \d{3,}", r"\1 12", options).replace("--num-workers 2", "--num-workers 0")
        options = options.replace("teacher/checkpoint_best.pt", str(self.folder / "teacher" / "checkpoint_last.pt"))
        words = shlex.split(options.replace("data/data-bin", str(self.data)))
        words += ["--max-update", "2", "--cpu", "--seed", "1", "--data-buffer-size", "0"]
        words += ["--finetune-from-model", str(start)] if start else []
        save_dir = self.folder / name
        run_command("fairseq-train", data, "--user-dir", PLUGIN, "--save-dir", save_dir, *words)
        return save_dir / "checkpoint_last.pt"

    def train_row(self, row: str, data: Path, *more: str, start: Path | None = None) -> Path:
        fine_tuning = self.config["fine_tuning"] if start else ""
        options = self.config["rows"][row]["options"]
        return self.train(row + "".join(more), data, self.config["student"], fine_tuning, options, *more, start=start)


def layers(path: Path) -> set[int]:
    names = " ".join(read_checkpoint(path)["model"])
    return {int(number) for number in re.findall(r"decoder\.layers\.(\d+)\.", names)}


@pytest.mark.parametrize(("name", "depth"), [("wmt14_en_de_2x500", 4), ("iwslt15_th_en", 2)])
def test_each_kind_of_training(name: str, depth: int, tiny_corpus: Path, distilled: Path, tmp_path: Path) -> None:
    experiment = Experiment(name, tiny_corpus, tmp_path)
    teacher = experiment.train("teacher", tiny_corpus, experiment.config["teacher"])
    student = experiment.train_row("seq_kd_word_kd", distilled)
    assert layers(teacher) == set(range(depth)) and layers(student) == {0, 1}
    row = experiment.config["pruning"]["of"]
    tuned = experiment.train_row(row, tiny_corpus, start=student)
    pruned = tmp_path / "pruned.pt"
    words = ["prune", "--model", tuned, "--sparsity", "0.5", "--output", pruned]
    cli.main([*map(str, words), "--scheme", experiment.config["pruning"]["scheme"]])
    retrained = experiment.train_row(row, tiny_corpus, " --keep-zeros", start=pruned)
    models = [read_checkpoint(path)["model"] for path in (student, tuned, pruned, retrained)]
    matrices = [key for key, tensor in models[0].items() if is_prunable(key, tensor)]
    assert len(matrices) > 2 * depth
    for key in matrices:
        before, after, cut, end = (model[key] for model in models)
        assert torch.equal(cut == 0, end == 0) and not torch.equal(cut, end), key
        assert not torch.equal(before, after) and torch.equal(cut, after.masked_fill(cut == 0, 0)), key


@pytest.mark.slow
def test_seq_inter_with_an_lstm_teacher(tiny_corpus: Path, tmp_path: Path) -> None:
    experiment = Experiment("iwslt15_th_en", tiny_corpus, tmp_path)
    teacher = experiment.train("teacher", tiny_corpus, experiment.config["teacher"])
    words = ["--seq-inter", "--model", teacher, "--data", tiny_corpus, "--output", tmp_path / "inter", "--beam", "3"]
    words += ["--max-len-a", "0", "--max-len-b", "9", "--post-process", "none"]
    command = ["bash", str(ROOT / "scripts" / "generate_distilled_corpus.sh"), *map(str, words)]
    done = subprocess.run(command, capture_output=True, text=True, env=environment())
    assert done.returncode == 0, done.stderr
    student = experiment.train_row("student", tiny_corpus)
    experiment.train_row("student_seq_inter", tmp_path / "inter" / "data-bin", start=student)
