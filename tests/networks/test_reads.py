"""How often a checkpoint is read: once, whatever it is read for."""

from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import torch

from fairseq_kd import cli
from fairseq_kd.compress.export import export
from fairseq_kd.data.databins.databin import open_databin
from fairseq_kd.decoding.choice import choose_engine
from tests.support.models import build


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """How often torch reads each file from now on, by its name. A check that leaves the tensors on disk is "mapped"."""
    real, found = torch.load, Counter[str]()

    def load(file: Any, *words: Any, **options: Any) -> Any:
        name = Path(getattr(file, "name", file)).name
        found[f"{name}, mapped" if options.get("mmap") else name] += 1
        return real(file, *words, **options)

    monkeypatch.setattr(torch, "load", load)
    return found


def test_a_teacher_in_training(reads: Counter[str], tiny_corpus: Path, tiny_teacher: Path) -> None:
    words = ("--task", "translation_kd", "--criterion", "token_kd", "--teacher-path", str(tiny_teacher))
    task, student, _ = build(tiny_corpus, *words)
    for _ in range(2):
        assert task.teacher(student) is not None
    assert reads == {tiny_teacher.name: 1}


def test_an_ensemble_in_fairseqs_engine(reads: Counter[str], tiny_corpus: Path, tiny_teacher: Path) -> None:
    paths = [str(tiny_teacher), str(tiny_teacher.with_name("checkpoint_best.pt"))]
    choose_engine("fairseq", "float32", paths, open_databin(tiny_corpus, "test")).build()
    assert reads == {"checkpoint_last.pt": 1, "checkpoint_best.pt": 1}


@pytest.mark.parametrize("how", [("--engine", "fairseq", "--beam", "1"), ("--sampling",)], ids=["search", "sampling"])
def test_the_verb_decode(
    how: tuple[str, ...], reads: Counter[str], tiny_corpus: Path, tiny_teacher: Path, tmp_path: Path
) -> None:
    words = ["decode", "--model", str(tiny_teacher), "--data", str(tiny_corpus), "--subset", "test", *how]
    cli.main([*words, "--max-len-b", "5", "--output", str(tmp_path / "out")])
    assert reads == {tiny_teacher.name: 1}


def test_the_verb_cache(reads: Counter[str], tiny_corpus: Path, tiny_teacher: Path, tmp_path: Path) -> None:
    words = ["cache", "--model", str(tiny_teacher), "--data", str(tiny_corpus), "--subset", "test", "--top-k", "2"]
    cli.main([*words, "--output", str(tmp_path / "out")])
    assert reads == {tiny_teacher.name: 1}


def test_a_conversion(
    reads: Counter[str],
    tiny_corpus: Path,
    tiny_teacher: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The converter reads the file that is made for it. A conversion that is kept needs no second one."""
    monkeypatch.setenv("FAIRSEQ_KD_CACHE", str(tmp_path))
    task = open_databin(tiny_corpus, "test")
    choose_engine("ctranslate2", "float32", [str(tiny_teacher)], task).build()
    assert reads == {tiny_teacher.name: 1, "checked.pt": 1}
    choose_engine("ctranslate2", "float32", [str(tiny_teacher)], task).build()
    assert reads == {tiny_teacher.name: 2, "checked.pt": 1}


def test_an_export(
    reads: Counter[str], tiny_corpus: Path, tiny_teacher: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The float32 model that proves the conversion, and the exported one."""
    monkeypatch.setenv("FAIRSEQ_KD_CACHE", str(tmp_path))
    export(str(tiny_teacher), "ctranslate2", tmp_path / "out", str(tiny_corpus), "int8")
    assert reads == {tiny_teacher.name: 1, "checked.pt": 2}
