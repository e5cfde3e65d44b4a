"""A tiny corpus and the real fairseq commands, shared by the tests."""

import atexit
import functools
import os
import random
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import torch
from fairseq import options as fairseq_options
from fairseq import tasks
from fairseq.dataclass.utils import convert_namespace_to_omegaconf

from fairseq_kd.checkpoints import read_checkpoint  # also registers the plugin
from tests.forks.fork_server import COMMANDS

ROOT = Path(__file__).parent.parent
BIN = Path(sys.executable).parent
PLUGIN = ROOT / "fairseq_kd"
FORKS = ROOT / "tests" / "forks"
Run = Callable[..., subprocess.CompletedProcess]

ARCHITECTURES = {
    "transformer": "--arch transformer --encoder-layers 1 --decoder-layers 1 --encoder-embed-dim 16 "
    "--decoder-embed-dim 16 --encoder-ffn-embed-dim 32 --decoder-ffn-embed-dim 32 --encoder-attention-heads 2 "
    "--decoder-attention-heads 2",
    "lstm": "--arch lstm --encoder-embed-dim 16 --decoder-embed-dim 16 --encoder-hidden-size 16 "
    "--decoder-hidden-size 16 --decoder-out-embed-dim 16",
    "fconv": "--arch fconv --encoder-embed-dim 16 --decoder-embed-dim 16 --encoder-layers [(16,3)] "
    "--decoder-layers [(16,3)] --decoder-out-embed-dim 16",
    "lightconv": "--arch lightconv --encoder-layers 1 --decoder-layers 1 --encoder-embed-dim 16 --decoder-embed-dim 16 "
    "--encoder-conv-dim 16 --decoder-conv-dim 16 --encoder-ffn-embed-dim 32 --decoder-ffn-embed-dim 32 "
    "--encoder-attention-heads 2 --decoder-attention-heads 2 --encoder-kernel-size-list [3] "
    "--decoder-kernel-size-list [3] --input-dropout 0",
}


@functools.cache
def fork_server() -> str:
    """Its address; it is started where it is asked for, and ends with this process, which holds its stdin open."""
    address = f"fairseq-kd-tests-{os.getpid()}"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(f"\0{address}")
        listener.listen()
        server = subprocess.Popen(
            [sys.executable, FORKS / "fork_server.py", str(listener.fileno())],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
            pass_fds=[listener.fileno()],
        )
    atexit.register(server.communicate)
    return address


def environment(*, forked: bool = True) -> dict[str, str]:
    """For commands and scripts: one thread, this environment's commands and this checkout's package.

    Not ``forked``, each command imports what it needs itself.
    """
    found = {**os.environ, "OMP_NUM_THREADS": "1", "PATH": f"{BIN}:{os.environ['PATH']}", "PYTHONPATH": str(ROOT)}
    if forked:
        found |= {"FORK_SERVER": fork_server(), "FORKED_COMMANDS": " ".join(COMMANDS)}
        found["PYTHONPATH"] = f"{FORKS}:{ROOT}"
    return found


def run_command(*words: str | os.PathLike, check: bool = True, **options: object) -> subprocess.CompletedProcess:
    """One of this environment's commands on one thread; its output is captured."""
    command = [str(BIN / str(words[0])), *map(str, words[1:])]
    done = subprocess.run(command, capture_output=True, text=True, env=environment(), **options)
    if check:
        assert done.returncode == 0, f"{' '.join(command)}\n{done.stdout}\n{done.stderr}"
    return done


def write_text(folder: Path, rows: dict[str, int], seed: int = 1) -> None:
    """Word-for-word 'translations' with a swap, short enough that a small model learns something of them."""
    draw = random.Random(seed)
    folder.mkdir(parents=True, exist_ok=True)
    for split, count in rows.items():
        sources = [
            [f"s{min(draw.randrange(20), draw.randrange(20))}" for _ in range(draw.randint(3, 9))] for _ in range(count)
        ]
        targets = [[word.replace("s", "t") for word in reversed(words)] for words in sources]
        for side, lines in (("src", sources), ("tgt", targets)):
            (folder / f"{split}.{side}").write_text("".join(" ".join(line) + "\n" for line in lines))


def binarise(text: Path, output: Path, *options: str) -> Path:
    """fairseq-preprocess of what :func:`write_text` wrote."""
    prefixes = ["--trainpref", text / "train", "--validpref", text / "valid", "--testpref", text / "test"]
    run_command("fairseq-preprocess", "-s", "src", "-t", "tgt", *prefixes, "--destdir", output, *options)
    return output


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


def assert_same_weights(first: Path, second: Path, **tolerance: float) -> None:
    """The same model in both checkpoints, and the same state of the criterion."""
    one, other = (read_checkpoint(path) for path in (first, second))
    one, other = ({**state["model"], **(state["criterion"] or {})} for state in (one, other))
    assert one.keys() == other.keys()
    for name in one:
        torch.testing.assert_close(one[name], other[name], msg=lambda text, name=name: f"{name}: {text}", **tolerance)


def build(data: Path, *options: str, architecture: str = "transformer", seed: int = 1) -> tuple[Any, Any, Any]:
    """What fairseq-train builds from its options, in this process: task, model (initialised by ``seed``), criterion."""
    words = [
        str(data),
        "--cpu",
        "--optimizer",
        "adam",
        *ARCHITECTURES[architecture].split(),
        "--dropout",
        "0",
        *options,
    ]
    arguments = fairseq_options.parse_args_and_arch(fairseq_options.get_training_parser(), input_args=words)
    config = convert_namespace_to_omegaconf(arguments)
    task = tasks.setup_task(config.task)
    torch.manual_seed(seed)
    model = task.build_model(config.model)
    return task, model, task.build_criterion(config.criterion)


def batch(task: Any, split: str, rows: list[int]) -> dict[str, Any]:
    """The batch that fairseq makes of these rows."""
    if split not in task.datasets:
        task.load_dataset(split)
    dataset = task.dataset(split)
    return dataset.collater([dataset[row] for row in rows])


@pytest.fixture(scope="session", autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Converted models are kept here, and not in the home of whoever runs the tests."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FAIRSEQ_KD_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield Path(os.environ["FAIRSEQ_KD_CACHE"])


@pytest.fixture(scope="module")
def one_thread() -> Iterator[None]:
    """The number of threads can change a sum's last bit, which matters where files are compared by their bytes."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def tiny_text(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Text of a tiny language pair: 300, 40 and 40 rows."""
    folder = tmp_path_factory.mktemp("text")
    write_text(folder, {"train": 300, "valid": 40, "test": 40})
    return folder


@pytest.fixture(scope="session")
def tiny_corpus(tiny_text: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Its data-bin, languages src and tgt, one dictionary for both sides."""
    return binarise(tiny_text, tmp_path_factory.mktemp("corpus") / "data-bin", "--joined-dictionary")


@pytest.fixture(scope="session")
def train() -> Callable[..., Path]:
    """:func:`train_model`."""
    return train_model


@pytest.fixture(scope="session")
def run() -> Run:
    """:func:`run_command`."""
    return run_command


def teacher_beside_dictionaries(data: Path, folder: Path, updates: int) -> Path:
    """A Transformer's checkpoint; its dictionaries lie beside it."""
    path = train_model(data, folder, "--max-update", str(updates))
    for name in ("dict.src.txt", "dict.tgt.txt"):
        shutil.copy(data / name, folder)
    return path


@pytest.fixture(scope="session")
def tiny_teacher(tiny_corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Transformer trained long enough to be surer of some words than of others."""
    return teacher_beside_dictionaries(tiny_corpus, tmp_path_factory.mktemp("teacher"), 60)


@pytest.fixture(scope="session")
def sure_teacher(tiny_corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One that has learnt enough for padding to have next to no probability."""
    return teacher_beside_dictionaries(tiny_corpus, tmp_path_factory.mktemp("sure"), 800)


@pytest.fixture(scope="session")
def distilled(tiny_text: Path, tiny_corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data-bin with the same sources and other targets: those of the next row."""
    folder = tmp_path_factory.mktemp("distilled")
    for split in ("train", "valid", "test"):
        lines = (tiny_text / f"{split}.tgt").read_text().splitlines(keepends=True)
        (folder / f"{split}.src").write_text((tiny_text / f"{split}.src").read_text())
        (folder / f"{split}.tgt").write_text("".join(lines[1:] + lines[:1]))
    dictionary = str(tiny_corpus / "dict.src.txt")
    return binarise(folder, folder / "data-bin", "--srcdict", dictionary, "--tgtdict", dictionary)
