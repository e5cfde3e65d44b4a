"""fairseq-train, on tiny corpora."""

import shutil
import socket
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import yaml

from tests.support.commands import PLUGIN, ROOT, run_command
from tests.support.corpora import binarise
from tests.support.models import ARCHITECTURES


def train_model(
    data: Path, save_dir: Path, *options: str, architecture: str = "transformer", check: bool = True
) -> Path:
    """fairseq-train on the CPU; the path of its last checkpoint. Later options win over the defaults."""
    train_command(data, save_dir, *options, architecture=architecture, check=check)
    return save_dir / "checkpoint_last.pt"


def train_command(
    data: Path, save_dir: Path, *options: str, architecture: str = "transformer", check: bool = True
) -> subprocess.CompletedProcess:
    """The command behind :func:`train_model`."""
    shared = "--cpu --optimizer adam --lr 0.01 --max-tokens 400 --max-update 4 --log-format simple --log-interval 1"
    shared += " --criterion label_smoothed_cross_entropy --num-workers 0 --seed 3 --no-epoch-checkpoints"
    shared += " --data-buffer-size 0"  # as scripts/train.sh does, which says why
    words = ["fairseq-train", data, "--user-dir", PLUGIN, *shared.split(), *ARCHITECTURES[architecture].split()]
    return run_command(*words, "--save-dir", save_dir, *options, check=check)


def train_sh(save_dir: Path, data: Path, *options: str) -> list[str]:
    """The words of scripts/train.sh for a training of 20 epochs. Later options win over the defaults."""
    shared = "--task translation_kd --optimizer adam --lr 0.01 --max-tokens 400 --max-epoch 20 --log-format simple"
    shared += " --num-workers 0 --seed 3 --criterion label_smoothed_cross_entropy --no-epoch-checkpoints"
    words = [*shared.split(), *ARCHITECTURES["transformer"].split(), *options]
    return ["bash", str(ROOT / "scripts" / "train.sh"), str(save_dir), str(data), *words]


def train_on_two_processes(data: Path, save_dir: Path, *options: str) -> Path:
    """:func:`train_model` of a Transformer, each process with every second batch."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    shared = "--cpu --optimizer adam --lr 0.01 --max-tokens 400 --num-workers 0 --seed 3 --no-epoch-checkpoints"
    shared += " --ddp-backend legacy_ddp --distributed-backend gloo --distributed-world-size 2 --distributed-no-spawn"
    shared += f" --distributed-init-method tcp://127.0.0.1:{port} {ARCHITECTURES['transformer']}"
    words = ["fairseq-train", data, "--user-dir", PLUGIN, *shared.split(), *options, "--save-dir", save_dir]
    with ThreadPoolExecutor(2) as both:
        list(both.map(lambda rank: run_command(*words, "--distributed-rank", rank), ("0", "1")))
    return save_dir / "checkpoint_last.pt"


def train_with_hydra(data: Path, folder: Path, layers: dict[str, int], **groups: dict[str, object]) -> Path:
    """fairseq-hydra-train of a Transformer; the folder of its checkpoints. Keys in ``groups`` win over the defaults."""
    config: dict[str, dict[str, object]] = {
        "common": {"user_dir": str(PLUGIN), "cpu": True, "log_format": "simple", "log_interval": 1},
        "task": {"_name": "translation", "data": str(data)},
        "criterion": {"_name": "fused_cross_entropy"},
        "dataset": {"max_tokens": 400, "num_workers": 0, "disable_validation": True},
        "optimization": {"max_update": 2, "lr": [0.01]},
        "optimizer": {"_name": "adam"},
        "lr_scheduler": {"_name": "fixed"},
        # fairseq 0.12.2 asks for base_layers.
        "model": {"_name": "transformer", "encoder": layers, "decoder": layers, "base_layers": 0},
        "checkpoint": {"save_dir": str(folder / "hydra")},
    }
    for group, keys in groups.items():
        config[group] |= keys
    (folder / "kd.yaml").write_text("# @package _group_\n" + yaml.safe_dump(config))
    run_command("fairseq-hydra-train", "--config-dir", folder, "--config-name", "kd", cwd=folder)
    return folder / "hydra"


AT_THE_END = ("--validate-interval", "1000", "--save-interval", "1000", "--log-interval", "50")
"""One validation, one checkpoint and few lines in the log: of a long training they take a third of the time."""


def teacher_beside_dictionaries(data: Path, folder: Path, updates: int, *options: str) -> Path:
    """A Transformer's checkpoint; its dictionaries lie beside it."""
    path = train_model(data, folder, "--max-update", str(updates), *options)
    for name in ("dict.src.txt", "dict.tgt.txt"):
        shutil.copy(data / name, folder)
    return path


def teacher_of_pieces(text: Path, folder: Path) -> Path:
    """``folder`` with a Transformer of sentencepiece subwords, its dictionaries, ``spm.model`` and ``data-bin``."""
    words = [word for split in ("train", "valid", "test") for word in (f"--{split}", text / split)]
    run_command(
        "fairseq-kd", "prepare", "--source-lang", "src", "--target-lang", "tgt", *words, "--vocab-size", "24",
        "--output", folder,
    )  # fmt: skip
    dictionary = folder / "dict.txt"
    binarise(folder / "subword", folder / "data-bin", "--srcdict", str(dictionary), "--tgtdict", str(dictionary))
    teacher_beside_dictionaries(folder / "data-bin", folder, 400, *AT_THE_END)
    return folder


def losses(log: str, key: str) -> list[float]:
    """What fairseq-train's log tells of a value, update by update."""
    lines = [line for line in log.splitlines() if "| train_inner |" in line]
    return [float(line.split(f"{key}=")[1].split(",")[0]) for line in lines]
