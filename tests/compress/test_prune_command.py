"""`fairseq-kd prune`, and real retraining that keeps every zero."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from fairseq_kd import cli
from fairseq_kd.errors import UserError
from fairseq_kd.networks.checkpoints import read_checkpoint
from fairseq_kd.networks.parameters import is_prunable
from fairseq_kd.storage.structured import read_json
from tests.support.commands import generated_rows
from tests.support.training import train_command, train_model, train_on_two_processes


def kd(verb: str, *words: object) -> None:
    cli.main([verb, *map(str, words)])


@pytest.fixture(scope="module")
def pruned(tiny_teacher: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The teacher with 60 % of its weights at zero."""
    path = tmp_path_factory.mktemp("pruned") / "pruned.pt"
    kd("prune", "--model", tiny_teacher, "--sparsity", "0.6", "--scheme", "class-uniform", "--output", path)
    return path


def zeros(model: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {name: tensor == 0 for name, tensor in model.items() if is_prunable(name, tensor)}


def assert_kept(start: dict[str, torch.Tensor], end: dict[str, torch.Tensor]) -> None:
    """The same weights are zero, and the others have moved."""
    before, after = zeros(start), zeros(end)
    assert sum(int(mask.sum()) for mask in before.values()) > 1000 and before.keys() == after.keys()
    for name, mask in before.items():
        assert torch.equal(mask, after[name]), name
    moved = [name for name in before if not torch.equal(start[name], end[name])]
    assert len(moved) == len(before)


def keeping(start: Path, *options: str) -> tuple[str, ...]:
    return ("--task", "translation_kd", "--keep-zeros", "--finetune-from-model", str(start), *options)


def test_the_report_and_the_checkpoint(
    tiny_teacher: Path, tiny_corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "out" / "pruned.pt"
    words = ["--model", tiny_teacher, "--sparsity", "0.8", "--scheme", "class-distribution", "--output", path]
    kd("prune", *words)
    printed = capsys.readouterr().out
    report = read_json(path.with_name("pruned.pt.json"))
    model = read_checkpoint(path)["model"]
    count = sum(int(mask.sum()) for mask in zeros(model).values())
    assert count == round(0.8 * report["prunable"]) == report["parameters"] - report["nonzero"]
    assert report["bytes"] == path.stat().st_size and report["lambda"] > 0
    assert f"{report['nonzero']:,} not zero" in printed and "target layer 1: " in printed and "λ = " in printed
    for name, tensor in read_checkpoint(tiny_teacher)["model"].items():
        kept = model[name] != 0
        assert torch.equal(model[name][kept], tensor[kept]), name
    before = path.stat().st_mtime_ns
    kd("prune", *words)
    assert path.stat().st_mtime_ns == before
    kd("evaluate", "--model", path, "--data", tiny_corpus, "--beam", 1, "--output", tmp_path / "scores.json")
    scores = read_json(tmp_path / "scores.json")
    assert [scores[key] for key in ("parameters", "nonzero_parameters")] == [report["parameters"], report["nonzero"]]
    assert generated_rows(tiny_corpus, path) == 40


def test_a_sparse_file_gives_the_checkpoint_back(
    pruned: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    report = read_json(pruned.with_name("pruned.pt.json"))
    sparse, dense = tmp_path / "model.sparse", tmp_path / "model.pt"
    kd("export", "--model", pruned, "--to", "sparse", "--output", sparse)
    assert sparse.stat().st_size == report["sparse_bytes"] < report["bytes"]
    assert f"{report['sparse_bytes']:,} bytes" in caplog.text
    kd("export", "--model", sparse, "--to", "fairseq", "--output", dense)
    one, other = (torch.load(path, weights_only=True) for path in (pruned, dense))
    assert list(one) == list(other) and one["cfg"] == other["cfg"]
    for key in ("model", "ema"):
        models = [state["model"] if key == "model" else state["extra_state"]["ema"] for state in (one, other)]
        assert list(models[0]) == list(models[1])
        assert all(models[0][name].numpy().tobytes() == models[1][name].numpy().tobytes() for name in models[0])
    kd("export", "--model", sparse, "--to", "fairseq", "--output", dense)
    assert "nothing to do" in caplog.text


OPTIMIZERS = {
    "adam": "--optimizer adam --weight-decay 0.01 --store-ema --ema-fp32 --ema-decay 0.5 --clip-norm 0.1",
    "sgd": "--optimizer sgd --momentum 0.9 --weight-decay 0.01 --lr 0.5 --update-freq 2 --store-ema --ema-decay 0.5",
    "adafactor": "--optimizer adafactor --weight-decay 0.01",
    "nag": "--optimizer nag --momentum 0.9 --weight-decay 0.01 --lr 0.5",
}


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_retraining_keeps_every_zero_across_resume(
    tiny_corpus: Path, pruned: Path, tmp_path: Path, optimizer: str
) -> None:
    options = keeping(pruned, *OPTIMIZERS[optimizer].split(), "--disable-validation")
    start, before = read_checkpoint(pruned)["model"], 0
    for updates in (3, 6):
        path = train_model(tiny_corpus, tmp_path, *options, "--max-update", str(updates))
        state = read_checkpoint(path)
        assert state["optimizer_history"][-1]["num_updates"] == updates > before
        assert_kept(start, state["model"])
        if "--store-ema" in options:
            average = state["extra_state"]["ema_fp32_params" if "--ema-fp32" in options else "ema"]
            assert_kept(start, average)
            assert_kept(state["model"], average)
        start, before = state["model"], updates


def test_two_processes_keep_every_zero(tiny_corpus: Path, pruned: Path, tmp_path: Path) -> None:
    options = keeping(pruned, "--optimizer", "adam", "--lr", "0.01", "--max-update", "3", "--disable-validation")
    path = train_on_two_processes(tiny_corpus, tmp_path, *options)
    assert_kept(read_checkpoint(pruned)["model"], read_checkpoint(path)["model"])


def test_without_the_option_zeros_are_lost(tiny_corpus: Path, pruned: Path, tmp_path: Path) -> None:
    options = [option for option in keeping(pruned) if option != "--keep-zeros"]
    path = train_model(tiny_corpus, tmp_path, *options, "--max-update", "2", "--disable-validation")
    with pytest.raises(AssertionError):
        assert_kept(read_checkpoint(pruned)["model"], read_checkpoint(path)["model"])


def test_a_start_that_is_not_pruned_is_one_line(tiny_corpus: Path, tiny_teacher: Path, tmp_path: Path) -> None:
    for options in (keeping(tiny_teacher), keeping(tiny_teacher)[:3]):
        done = train_command(tiny_corpus, tmp_path / "save", *options, check=False)
        assert done.returncode != 0 and "Traceback" not in done.stderr
        (line,) = [line for line in done.stderr.splitlines() if line.startswith("fairseq_kd: error:")]
        assert "--keep-zeros: no weight is zero" in line


def other_file(folder: Path) -> Path:
    path = folder / "other.pt"
    path.write_bytes(b"other")
    return path


REFUSED: dict[str, tuple[Callable[[Path, Path], dict[str, Any]], str]] = {
    "all": (lambda pruned, folder: {"sparsity": 1}, "--sparsity 1.0: give a number from 0 to below 1"),
    "negative": (lambda pruned, folder: {"sparsity": -0.1}, "--sparsity -0.1: give"),
    "no number": (lambda pruned, folder: {"sparsity": "nan"}, "--sparsity nan: give"),
    "missing": (lambda pruned, folder: {"model": folder / "none.pt"}, "none.pt: no such file"),
    "pruned further": (lambda pruned, folder: {"sparsity": 0.5}, "pruned further already: "),
    "pruned further in a class": (
        lambda pruned, folder: {"sparsity": 0.5, "scheme": "class-uniform"},
        "weights of class 'source embeddings' are zero",
    ),
    "taken": (lambda pruned, folder: {"output": other_file(folder)}, "other.pt: holds something else"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_pruned_is_one_line(name: str, pruned: Path, tmp_path: Path) -> None:
    make, told = REFUSED[name]
    model = shutil.copy(pruned, tmp_path / "model.pt")
    words = {"model": model, "sparsity": 0.7, "output": tmp_path / "new.pt", **make(pruned, tmp_path)}
    with pytest.raises(UserError, match=told):
        kd("prune", *(word for key, value in words.items() for word in (f"--{key}={value}",)))
    assert not (tmp_path / "new.pt").exists() and not list(tmp_path.glob("*.json"))


def test_options_of_another_export_are_refused(pruned: Path, tmp_path: Path) -> None:
    for words, told in (
        (("--to", "sparse", "--precision", "int8"), "--precision: is for --to ctranslate2 alone"),
        (("--to", "fairseq", "--spm-model", "x"), "--spm-model: is for --to ctranslate2 alone"),
        (("--to", "fairseq"), "no sparse export"),
        (("--to", "ctranslate2"), "give --data DATABIN"),
    ):
        with pytest.raises(UserError, match=told):
            kd("export", "--model", pruned, "--output", tmp_path / "out", *words)
    with pytest.raises(SystemExit):
        kd("prune", "--model", pruned, "--sparsity", 0.8, "--scheme", "other", "--output", tmp_path / "out")
    assert list(tmp_path.iterdir()) == []
