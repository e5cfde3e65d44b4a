"""Fixtures that the tests share: a tiny corpus, teachers of it, and the real commands."""

import gc
import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch

from tests.forks.composing import compose_quickly
from tests.support.commands import Run, fork_commands, run_command
from tests.support.corpora import binarise, write_text
from tests.support.shared import made_once
from tests.support.shelves import Guard, mark
from tests.support.training import AT_THE_END, teacher_beside_dictionaries, teacher_of_pieces, train_model


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add ``--no-fork``."""
    parser.addoption("--no-fork", action="store_true", help="start each command as users do")


def pytest_configure(config: pytest.Config) -> None:
    """Follow ``--no-fork``, and watch for commands of tests that lack the marker.

    Snakemake's plugin asks SLURM for its settings when it is imported, and where SLURM is installed but not running, it
    waits ten seconds for an answer.
    """
    os.environ.setdefault("SLURM_CONF", os.devnull)
    # Where nohup or a background job starts the tests, they would ignore these, and so would all that they start.
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    quickly = not config.getoption("--no-fork")
    fork_commands(quickly)
    compose_quickly(quickly)
    config.pluginmanager.register(Guard())


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the tests that start commands, before ``-m`` chooses among them."""
    for item in items:
        mark(item)


def pytest_collection_finish() -> None:
    """Leave the imported modules and the collected tests out of all garbage collections.

    A full collection would look through them each time, which takes a third of a second.
    """
    gc.collect()
    gc.freeze()


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
    rows = {"train": 300, "valid": 40, "test": 40}
    return made_once(tmp_path_factory, "text", lambda folder: write_text(folder, rows))


@pytest.fixture(scope="session")
def tiny_corpus(tiny_text: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Its data-bin, languages src and tgt, one dictionary for both sides."""

    def make(folder: Path) -> None:
        binarise(tiny_text, folder / "data-bin", "--joined-dictionary")

    return made_once(tmp_path_factory, "corpus", make) / "data-bin"


@pytest.fixture(scope="session")
def train() -> Callable[..., Path]:
    """:func:`train_model`."""
    return train_model


@pytest.fixture(scope="session")
def run() -> Run:
    """:func:`run_command`."""
    return run_command


@pytest.fixture(scope="session")
def tiny_teacher(tiny_corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Transformer trained long enough to be surer of some words than of others."""
    folder = made_once(tmp_path_factory, "teacher", lambda new: teacher_beside_dictionaries(tiny_corpus, new, 60))
    return folder / "checkpoint_last.pt"


@pytest.fixture(scope="session")
def sure_teacher(tiny_corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One that has learnt enough for padding to have next to no probability."""

    def make(folder: Path) -> None:
        teacher_beside_dictionaries(tiny_corpus, folder, 800, *AT_THE_END)

    folder = made_once(tmp_path_factory, "sure", make)
    return folder / "checkpoint_last.pt"


@pytest.fixture(scope="session")
def text_teacher(tiny_text: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a model of sentencepiece subwords: checkpoint_last.pt, its dictionaries, spm.model and data-bin."""
    folder = made_once(tmp_path_factory, "text-teacher", lambda new: teacher_of_pieces(tiny_text, new))
    return folder


@pytest.fixture(scope="session")
def distilled(tiny_text: Path, tiny_corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data-bin with the same sources and other targets: those of the next row."""
    dictionary = str(tiny_corpus / "dict.src.txt")

    def make(folder: Path) -> None:
        for split in ("train", "valid", "test"):
            lines = (tiny_text / f"{split}.tgt").read_text().splitlines(keepends=True)
            (folder / f"{split}.src").write_text((tiny_text / f"{split}.src").read_text())
            (folder / f"{split}.tgt").write_text("".join(lines[1:] + lines[:1]))
        binarise(folder, folder / "data-bin", "--srcdict", dictionary, "--tgtdict", dictionary)

    return made_once(tmp_path_factory, "distilled", make) / "data-bin"
