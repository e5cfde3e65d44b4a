"""Gates in fairseq-train: several processes, resume, and whether they collapse."""

import functools
import re
from collections.abc import Callable
from pathlib import Path
from statistics import fmean

import pytest
import torch

from fairseq_kd.networks.checkpoints import read_checkpoint
from tests.support.corpora import binarise
from tests.support.models import assert_same_weights
from tests.support.training import train_command, train_model, train_on_two_processes


def hybrid(teacher: Path, distilled: Path, *options: str) -> tuple[str, ...]:
    words = ("--task", "translation_kd", "--criterion", "hybrid_kd", "--teacher-path", str(teacher))
    return (*words, "--distilled-data", str(distilled), *options)


def logged(text: str, key: str) -> list[float]:
    return [float(value) for value in re.findall(rf"\| train_inner \|.* {key}=([^,]+)", text)]


def assert_same_signal(first: Path, second: Path, **tolerance: float) -> None:
    one, other = (read_checkpoint(path)["criterion"]["gate.signal._extra_state"] for path in (first, second))
    for name in one:
        torch.testing.assert_close(one[name], other[name], **tolerance)


def test_two_processes_equal_one(tiny_corpus: Path, tiny_teacher: Path, distilled: Path, tmp_path: Path) -> None:
    """Three updates over the same pairs of batches: weights, gate and what it remembers."""
    options = [*hybrid(tiny_teacher, distilled), "--max-update", "3", "--disable-validation"]
    options += ["--optimizer", "sgd", "--dropout", "0", "--lr", "0.5", "--clip-norm", "0", "--gate-lr-scale", "3"]
    one = train_model(tiny_corpus, tmp_path / "one", *options, "--update-freq", "2")
    two = train_on_two_processes(tiny_corpus, tmp_path / "two", *options)
    other = train_model(tiny_corpus, tmp_path / "other", *options)
    assert_same_weights(one, two, rtol=1e-4, atol=1e-6)
    assert_same_signal(one, two, rtol=1e-4, atol=1e-6)
    with pytest.raises(AssertionError):
        assert_same_weights(one, other, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("gate", [(), ("--gate", "scalar", "--gate-token-prefixes", "distilled")], ids=["", "scalar"])
def test_a_process_that_has_run_out_of_batches_adds_nothing(
    gate: tuple[str, ...], tiny_corpus: Path, tiny_teacher: Path, distilled: Path, tmp_path: Path
) -> None:
    """300 rows are seven batches. fairseq's stand-in for the eighth is of the validation set, without ŷ."""
    options = [*hybrid(tiny_teacher, distilled, *gate), "--max-update", "100", "--max-epoch", "1"]
    options += ["--max-tokens", "4000", "--batch-size", "48"]
    options += ["--optimizer", "sgd", "--dropout", "0", "--lr", "0.5", "--clip-norm", "0", "--gate-lr-scale", "3"]
    one = train_model(tiny_corpus, tmp_path / "one", *options, "--update-freq", "2")
    two = train_on_two_processes(tiny_corpus, tmp_path / "two", *options)
    assert read_checkpoint(two)["optimizer_history"][-1]["num_updates"] == 4
    assert_same_weights(one, two, rtol=1e-4, atol=1e-6)
    assert_same_signal(one, two, rtol=1e-4, atol=1e-6)


def test_a_resumed_run_equals_an_unbroken_one(
    tiny_corpus: Path, tiny_teacher: Path, distilled: Path, tmp_path: Path
) -> None:
    options = hybrid(tiny_teacher, distilled, "--dropout", "0.2")
    unbroken = train_model(tiny_corpus, tmp_path / "unbroken", *options, "--max-update", "9")
    train_model(tiny_corpus, tmp_path / "broken", *options, "--max-update", "4")
    broken = train_model(tiny_corpus, tmp_path / "broken", *options, "--max-update", "9")
    assert_same_weights(unbroken, broken, rtol=0, atol=0)
    assert_same_signal(unbroken, broken, rtol=0, atol=0)


@pytest.fixture(scope="module")
def parrot(tiny_text: Path, tiny_corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Distilled data of a teacher that says the same whatever it is asked: nothing is easier, or of less use."""
    folder = tmp_path_factory.mktemp("parrot")
    for split in ("train", "valid", "test"):
        source = (tiny_text / f"{split}.src").read_text()
        (folder / f"{split}.src").write_text(source)
        (folder / f"{split}.tgt").write_text("t19 t18 t17 t19\n" * source.count("\n"))
    dictionary = str(tiny_corpus / "dict.src.txt")
    return binarise(folder, folder / "data-bin", "--srcdict", dictionary, "--tgtdict", dictionary)


GATES = {
    "default": (),
    "free": ("--gate-signal", "loss", "--gate-prior-weight", "0"),
    "prior": ("--gate-signal", "loss", "--gate-prior-weight", "4"),
    "normalised": ("--gate-signal", "normalised", "--gate-prior-weight", "0.5"),
}


@pytest.fixture(scope="module")
def with_the_parrot(
    tiny_corpus: Path, tiny_teacher: Path, parrot: Path, tmp_path_factory: pytest.TempPathFactory
) -> Callable[[str], dict[str, float]]:
    """What the last 30 updates' log says of a gate, by its name, and of the student's NLL of gold targets: the means.

    A single update of a few sentences can be far off.
    """

    @functools.cache
    def trained(name: str) -> dict[str, float]:
        rarely = ("--validate-interval", "1000", "--save-interval", "1000")
        words = hybrid(tiny_teacher, parrot, *GATES[name], "--gate-lr-scale", "5", "--max-update", "150", *rarely)
        done = train_command(tiny_corpus, tmp_path_factory.mktemp("gates"), *words)
        keys = ("gate", "gate_spread", "gate_high", "gate_low", "nll_loss")
        return {key: fmean(logged(done.stdout + done.stderr, key)[-30:]) for key in keys}

    return trained


@pytest.mark.slow
def test_a_free_gate_collapses_and_the_default_does_not(with_the_parrot: Callable[[str], dict[str, float]]) -> None:
    """A free gate takes the smaller loss, the sentence-level one: the student learns to say what says nothing."""
    free = with_the_parrot("free")
    assert free["gate"] < 0.05 and free["gate_low"] > 0.95
    for name in ("default", "normalised", "prior"):
        other = with_the_parrot(name)
        assert other["gate"] > 0.2 and other["gate_low"] < 0.1, name
        assert other["nll_loss"] < free["nll_loss"] - 1, name
    assert with_the_parrot("normalised")["gate_high"] == with_the_parrot("prior")["gate_high"] == 0


@pytest.mark.slow
def test_the_default_turns_to_the_loss_that_helps(with_the_parrot: Callable[[str], dict[str, float]]) -> None:
    default, normalised = (with_the_parrot(name) for name in ("default", "normalised"))
    assert default["gate"] > 0.65 > normalised["gate"] and default["nll_loss"] < normalised["nll_loss"]
