"""`fairseq-kd average`, beside the formula of fairseq's scripts/average_checkpoints.py."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from fairseq_kd import cli
from fairseq_kd.compress.average import average
from fairseq_kd.errors import UserError
from fairseq_kd.networks.checkpoints import read_checkpoint
from fairseq_kd.networks.parameters import is_parameter
from fairseq_kd.networks.resume import newest_sound_checkpoint
from fairseq_kd.storage.structured import read_json
from tests.support.commands import generated_rows
from tests.support.training import train_model, train_with_hydra


@pytest.fixture(scope="module")
def saved(tiny_corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Three checkpoints of one training."""
    folder = tmp_path_factory.mktemp("saved")
    train_model(tiny_corpus, folder, "--max-update", "12", "--save-interval-updates", "2", "--disable-validation")
    found = sorted(folder.glob("checkpoint_*_*.pt"), key=lambda path: int(path.stem.split("_")[2]))
    return found[:3]


def changed(checkpoint: Path, path: Path, change: Callable[[dict[str, Any]], object]) -> Path:
    state = torch.load(checkpoint, weights_only=True)
    change(state)
    torch.save(state, path)
    return path


def test_the_mean_and_what_is_kept(
    saved: list[Path], tiny_corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The oracle: sums in float64, divided; fairseq-generate loads the mean and decodes with it."""
    output = tmp_path / "mean.pt"
    cli.main(["average", *map(str, saved), "--output", str(output)])
    states = [read_checkpoint(path) for path in saved]
    mean = read_checkpoint(output)
    assert list(mean["model"]) == list(states[0]["model"])
    moved = 0
    for name in filter(is_parameter, mean["model"]):
        tensor = mean["model"][name]
        expected = sum(state["model"][name].double() for state in states) / 3
        assert tensor.dtype == states[0]["model"][name].dtype
        torch.testing.assert_close(tensor, expected.to(tensor.dtype), rtol=0, atol=0)
        moved += not torch.equal(tensor, states[0]["model"][name])
    assert moved > 20
    assert vars(mean["cfg"].model) == vars(states[0]["cfg"].model)
    assert "last_optimizer_state" not in mean and mean["optimizer_history"][-1]["num_updates"] == 0
    assert mean["extra_state"]["train_iterator"]["epoch"] == 1
    report = read_json(output.with_name("mean.pt.json"))
    hashes = [one["sha256"] for one in report["checkpoints"]]
    assert len(set(hashes)) == 3 and mean["extra_state"]["averaged"] == {"checkpoints": hashes}
    assert f"the mean of 3 checkpoints, {report['parameters']:,} parameters" in capsys.readouterr().out
    before = output.stat().st_mtime_ns
    average(saved, output)
    assert output.stat().st_mtime_ns == before
    # fairseq 0.12.2 has no working --task translation with today's torch.
    assert generated_rows(tiny_corpus, output, task="translation_kd") == 40


def test_other_number_formats(saved: list[Path], tmp_path: Path) -> None:
    """Half precision is summed in float64 and written as half; whole numbers are rounded down, as in fairseq."""

    def halve(state: dict[str, Any], count: int) -> None:
        state["model"] = {name: tensor.half() for name, tensor in state["model"].items()}
        state["model"]["steps"] = torch.tensor([count])

    paths = [
        changed(path, tmp_path / path.name, lambda state, number=number: halve(state, number + 3))
        for number, path in enumerate(saved[:2])
    ]
    average(paths, tmp_path / "mean.pt")
    states = [torch.load(path, weights_only=True)["model"] for path in (*paths, tmp_path / "mean.pt")]
    name = "decoder.embed_tokens.weight"
    assert states[2][name].dtype == torch.half and states[2]["steps"].tolist() == [3]
    assert torch.equal(states[2][name], ((states[0][name].double() + states[1][name].double()) / 2).half())


def test_a_buffer_that_fairseq_never_sets(saved: list[Path], tmp_path: Path) -> None:
    """Those of 0.12.2 hold whatever was in memory: NaN is no reason to refuse a checkpoint."""
    name = "encoder.embed_positions._float_tensor"
    values = (torch.tensor([float("nan")]), torch.tensor([6e23]))
    paths = [
        changed(path, tmp_path / path.name, lambda state, value=value: state["model"].update({name: value}))
        for path, value in zip(saved[:2], values, strict=True)
    ]
    average(paths, tmp_path / "mean.pt")
    assert torch.load(tmp_path / "mean.pt", weights_only=True)["model"][name].isnan().all()


def differing(one: dict[str, Any], other: dict[str, Any]) -> bool:
    tensors = {name: tensor for name, tensor in one.items() if isinstance(tensor, torch.Tensor)}
    return any(not torch.equal(tensor, other[name]) for name, tensor in tensors.items())


@pytest.fixture(scope="module")
def gated(tiny_corpus: Path, distilled: Path, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Two checkpoints of one training with a learned gate, embeddings tied."""
    folder = tmp_path_factory.mktemp("gated")
    options = ["--share-all-embeddings", "--task", "translation_kd", "--criterion", "hybrid_kd", "--gate", "learned"]
    options += ["--gate-signal", "normalised", "--distilled-data", str(distilled), "--save-interval-updates", "1"]
    teacher = train_model(tiny_corpus, folder / "teacher")
    options += ["--teacher-path", str(teacher), "--teacher-data", str(tiny_corpus), "--disable-validation"]
    train_model(tiny_corpus, folder / "save", *options, "--max-update", "2")
    return [folder / "save" / f"checkpoint_1_{updates}.pt" for updates in (1, 2)]


def test_tied_matrices_stay_tied_and_a_gate_is_averaged(gated: list[Path], tmp_path: Path) -> None:
    average(gated, tmp_path / "mean.pt")
    mean = torch.load(tmp_path / "mean.pt", weights_only=True)
    tied = [mean["model"][f"{side}.embed_tokens.weight"] for side in ("encoder", "decoder")]
    assert tied[0].data_ptr() == tied[1].data_ptr()
    gates = [torch.load(path, weights_only=True)["criterion"] for path in gated]
    assert mean["criterion"] and differing(*gates)
    for name, tensor in mean["criterion"].items():
        if isinstance(tensor, torch.Tensor) and tensor.is_floating_point():
            expected = (gates[0][name].double() + gates[1][name].double()) / 2
            torch.testing.assert_close(tensor, expected.to(tensor.dtype), rtol=0, atol=0)


def saved_gate(state: dict[str, Any]) -> dict[str, Any]:
    return state["criterion"]["gate._extra_state"]


GATES: dict[str, tuple[Callable[[dict[str, Any]], object], str]] = {
    "--gate-lr-scale": (lambda state: state["cfg"]["criterion"].update(gate_lr_scale=7.0), "gate_lr_scale: 1.0 and 7"),
    "scale": (lambda state: saved_gate(state).update(lr_scale=7.0), r"gate._extra_state.lr_scale: 1.0 and 7.0"),
    "gone on from 0.1.0": (lambda state: saved_gate(state).update(sign=-1), r"gate._extra_state.sign: 1 and -1"),
    "of 0.1.0": (lambda state: state["criterion"].pop("gate._extra_state"), r"sign: 1 and None"),
}


@pytest.mark.parametrize("name", GATES)
def test_gates_whose_weights_mean_different_things(name: str, gated: list[Path], tmp_path: Path) -> None:
    """A gate's weights are effective ones divided by --gate-lr-scale; its moments may differ."""
    change, told = GATES[name]
    other = changed(gated[1], tmp_path / "other.pt", change)
    with pytest.raises(UserError, match=f"averaged: the first setting of the gate that differs is .*{told}"):
        average([gated[0], other], tmp_path / "mean.pt")
    assert not (tmp_path / "mean.pt").exists()


def test_no_training_goes_on_from_it(saved: list[Path], tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """It is the newest file of the folder, and still the training's own newest checkpoint is found."""
    for path in saved[:2]:
        shutil.copy2(path, tmp_path)
    average(saved[:2], tmp_path / "checkpoint_average.pt")
    assert newest_sound_checkpoint(tmp_path) == tmp_path / saved[1].name
    assert "checkpoint_average.pt is a mean of checkpoints" in caplog.text


def test_a_training_may_start_from_it(saved: list[Path], tiny_corpus: Path, tmp_path: Path) -> None:
    average(saved, tmp_path / "mean.pt")
    tuned = train_model(tiny_corpus, tmp_path / "tuned", "--finetune-from-model", str(tmp_path / "mean.pt"))
    assert read_checkpoint(tuned)["optimizer_history"][-1]["num_updates"] == 4


def without(name: str) -> Callable[[dict[str, Any]], object]:
    return lambda state: state["model"].pop(name)


def reshaped(state: dict[str, Any]) -> None:
    state["model"]["decoder.embed_tokens.weight"] = state["model"]["decoder.embed_tokens.weight"][:-1]


def halved(state: dict[str, Any]) -> None:
    state["model"]["decoder.embed_tokens.weight"] = state["model"]["decoder.embed_tokens.weight"].half()


def activated(state: dict[str, Any]) -> None:
    state["cfg"]["model"].activation_fn = "gelu"


def diverged(state: dict[str, Any]) -> None:
    state["model"]["decoder.embed_tokens.weight"][0, 0] = float("nan")


NORM = "encoder.layers.0.final_layer_norm.weight"
REFUSED: dict[str, tuple[Callable[[dict[str, Any]], object], str]] = {
    "missing": (without(NORM), f"cannot be averaged: only the first has {NORM}"),
    "extra": (lambda state: state["model"].update(x=torch.zeros(1)), "only the second has model.x"),
    "shape": (reshaped, r"the shape of model.decoder.embed_tokens.weight is \[\d+, 16\] and \[\d+, 16\]"),
    "format": (halved, "the number format of model.decoder.embed_tokens.weight is torch.float32 and torch.float16"),
    "configuration": (activated, "the first option of the model that differs is activation_fn: relu and gelu"),
    "nan": (diverged, "the mean of model.decoder.embed_tokens.weight has NaN or infinite values"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_differs_is_one_line(name: str, saved: list[Path], tmp_path: Path) -> None:
    change, told = REFUSED[name]
    other = changed(saved[1], tmp_path / "other.pt", change)
    with pytest.raises(UserError, match=told.replace("only the first has ", "only the first has (model.)?")):
        average([saved[0], other], tmp_path / "mean.pt")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["other.pt"]


def test_what_cannot_be_averaged(saved: list[Path], tmp_path: Path) -> None:
    copy = shutil.copy(saved[0], tmp_path / "checkpoint_last.pt")
    (tmp_path / "taken.pt").write_bytes(b"other")
    for paths, output, told in (
        ([saved[0]], "mean.pt", "give two or more checkpoints"),
        ([saved[0], copy], "mean.pt", "are the same checkpoint, which would count twice"),
        ([saved[0], saved[0]], "mean.pt", "are the same checkpoint"),
        ([saved[0], tmp_path / "none.pt"], "mean.pt", "none.pt: no such file"),
        (saved[:2], "taken.pt", "taken.pt: holds something else"),
    ):
        with pytest.raises(UserError, match=told):
            average(paths, tmp_path / output)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["checkpoint_last.pt", "taken.pt"]


def test_the_options_of_the_training_may_differ(saved: list[Path], tmp_path: Path) -> None:
    def reseeded(state: dict[str, Any]) -> None:
        state["cfg"]["model"].seed = 99
        state["cfg"]["model"].save_dir = "elsewhere"

    average([saved[0], changed(saved[1], tmp_path / "other.pt", reseeded)], tmp_path / "mean.pt")
    assert (tmp_path / "mean.pt").exists()


def test_checkpoints_of_hydra(tiny_corpus: Path, tmp_path: Path) -> None:
    layers = {"layers": 1, "embed_dim": 16, "ffn_embed_dim": 20, "attention_heads": 2}
    groups = {"criterion": {"_name": "cross_entropy"}, "checkpoint": {"save_interval_updates": 1}}
    folder = train_with_hydra(tiny_corpus, tmp_path, layers, **groups)
    paths = [folder / f"checkpoint_1_{updates}.pt" for updates in (1, 2)]
    average(paths, tmp_path / "mean.pt")
    assert read_checkpoint(tmp_path / "mean.pt")["cfg"].model.encoder.embed_dim == 16
    narrow = changed(paths[1], tmp_path / "x.pt", lambda state: state["cfg"]["model"]["encoder"].update(layers=2))
    with pytest.raises(UserError, match=r"differs is encoder\.layers: 1 and 2"):
        average([paths[0], narrow], tmp_path / "y.pt")
