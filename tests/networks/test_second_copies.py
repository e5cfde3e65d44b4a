"""Checkpoints of fairseq 0.12.2, which saves a second copy of each encoder layer's weights, work as if it did not."""

import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from fairseq_kd.compress.export import export
from fairseq_kd.compress.init_student import init_student
from fairseq_kd.compress.packing import unpack
from fairseq_kd.compress.prune import prune
from fairseq_kd.data.databins.databin import open_databin
from fairseq_kd.decoding.choice import choose_engine
from fairseq_kd.decoding.ctranslate2.converted_folder import read_made
from fairseq_kd.decoding.options import DecodingOptions
from fairseq_kd.networks.checkpoints import check_checkpoint, read_checkpoint, saved_state
from fairseq_kd.networks.parameters import count_nonzero, is_parameter
from fairseq_kd.networks.second_copies import without_copies
from tests.support.models import build
from tests.support.training import train_model

COPIES = ("in_proj", "out_proj", "fc1", "fc2")


def copies(model: dict[str, torch.Tensor], layer: str) -> dict[str, torch.Tensor]:
    """The eight copies that 0.12.2 adds to an encoder layer."""
    found = {}
    for kind in ("weight", "bias"):
        projections = [model[f"{layer}.self_attn.{name}_proj.{kind}"] for name in "qkv"]
        found[f"{layer}.in_proj_{kind}"] = torch.cat(projections)
        found[f"{layer}.out_proj_{kind}"] = model[f"{layer}.self_attn.out_proj.{kind}"].clone()
        for name in ("fc1", "fc2"):
            found[f"{layer}.{name}_{kind}"] = model[f"{layer}.{name}.{kind}"].clone()
    return found


@pytest.fixture(scope="module")
def teacher(tiny_corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Transformer of two layers as today's fairseq saves it, its dictionaries beside it."""
    folder = tmp_path_factory.mktemp("teacher")
    path = train_model(tiny_corpus, folder, "--max-update", "40", "--encoder-layers", "2", "--disable-validation")
    for name in ("dict.src.txt", "dict.tgt.txt"):
        shutil.copy(tiny_corpus / name, folder)
    return path


@pytest.fixture(scope="module")
def copied(teacher: Path) -> Path:
    """The same as 0.12.2 saves it."""
    state = torch.load(teacher, weights_only=True)
    for layer in range(2):
        state["model"] |= copies(state["model"], f"encoder.layers.{layer}")
    torch.save(state, teacher.with_name("copied.pt"))
    return teacher.with_name("copied.pt")


def assert_same(first: dict[str, torch.Tensor], second: dict[str, torch.Tensor]) -> None:
    assert list(first) == list(second)
    for name, tensor in first.items():
        # fairseq 0.12 saves a buffer that it never sets, _float_tensor.
        assert not is_parameter(name) or torch.equal(tensor, second[name]), name


def test_every_reader_drops_the_copies(teacher: Path, copied: Path) -> None:
    stored = torch.load(copied, weights_only=True)["model"]
    assert len(stored) == len(read_checkpoint(teacher)["model"]) + 2 * len(COPIES) * 2
    for read in (read_checkpoint, check_checkpoint, saved_state):
        assert_same(read(copied)["model"], read(teacher)["model"])
    assert count_nonzero(saved_state(copied)["model"]) == count_nonzero(saved_state(teacher)["model"])


def test_weights_of_these_names_alone_are_no_copies(copied: Path) -> None:
    model = torch.load(copied, weights_only=True)["model"]
    alone = {name: tensor for name, tensor in model.items() if name != "encoder.layers.1.self_attn.k_proj.bias"}
    kept = set(without_copies(alone)) - set(without_copies(model))
    assert kept == {"encoder.layers.1.in_proj_bias"}
    stock = without_copies(model)
    assert without_copies(stock) is stock
    decoder = {"decoder.layers.0.fc1.weight": torch.ones(1), "decoder.layers.0.fc1_weight": torch.ones(1)}
    assert without_copies(decoder) is decoder


@pytest.mark.parametrize("engine", ["fairseq", "ctranslate2"])
def test_it_decodes(engine: str, teacher: Path, copied: Path, tiny_corpus: Path, one_thread: None) -> None:
    task = open_databin(tiny_corpus, "test")
    sources = [task.dataset("test").src[row] for row in range(20)]
    engines = [choose_engine(engine, "float32", [str(path)], task).build() for path in (teacher, copied)]
    one, other = (loaded.translate(sources, DecodingOptions(max_len_b=12)) for loaded in engines)
    assert one == other and engines[0].parameters == engines[1].parameters


def test_it_teaches(teacher: Path, copied: Path, tiny_corpus: Path) -> None:
    def weights(path: Path) -> dict[str, Any]:
        words = ("--task", "translation_kd", "--criterion", "token_kd", "--teacher-path", str(path))
        task, student, _ = build(tiny_corpus, *words)
        (model,) = task.teacher(student).models
        return model.state_dict()

    assert_same(weights(copied), weights(teacher))


def test_a_student_starts_from_it(
    teacher: Path, copied: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    shapes = [init_student(path, tmp_path / path.name, encoder_layers=1) for path in (teacher, copied)]
    assert shapes[0] == shapes[1]
    assert (tmp_path / copied.name).read_bytes() == (tmp_path / teacher.name).read_bytes()
    counts = {record.getMessage().partition(": ")[2] for record in caplog.records if "parameters of" in record.message}
    assert len(counts) == 1


def test_it_is_pruned(teacher: Path, copied: Path, tmp_path: Path) -> None:
    reports = [prune(path, tmp_path / path.name, 0.5) for path in (teacher, copied)]
    assert {
        reports[1][key] == reports[0][key] for key in ("parameters", "prunable", "nonzero", "classes", "bytes")
    } == {True}
    assert (tmp_path / copied.name).read_bytes() == (tmp_path / teacher.name).read_bytes()


def test_it_is_exported(teacher: Path, copied: Path, tiny_corpus: Path, tmp_path: Path) -> None:
    sparse = [export(str(path), "sparse", tmp_path / path.stem) for path in (teacher, copied)]
    assert_same(unpack(sparse[1])["model"], unpack(sparse[0])["model"])
    folders = [
        export(str(path), "ctranslate2", tmp_path / f"{path.stem}-folder", str(tiny_corpus), "int8")
        for path in (teacher, copied)
    ]
    made = [read_made(folder) for folder in folders]
    assert made[0]["parameters"] == made[1]["parameters"]
    assert (folders[0] / "model.bin").read_bytes() == (folders[1] / "model.bin").read_bytes()
