"""A learned gate's state as checkpoints held it when the criterion itself held the gate's network and signal."""

from pathlib import Path

import pytest
import torch

from tests.support.models import build

OPTIONS = ("--task", "translation_kd", "--criterion", "hybrid_kd", "--distilled-data", "x")


@pytest.mark.parametrize("level", ["sentence", "token"])
def test_the_state_loads_under_its_old_names(tiny_corpus: Path, level: str) -> None:
    _, _, saved = build(tiny_corpus, *OPTIONS, "--gate-level", level)
    saved.gate.network.output.weight.data.normal_()
    saved.gate.signal.sizes += 3
    old = {name.removeprefix("gate."): value for name, value in saved.state_dict().items()}
    assert list(old) == [
        *("network.hidden.weight", "network.hidden.bias", "network.output.weight", "network.output.bias"),
        "signal._extra_state",
    ]
    _, _, loaded = build(tiny_corpus, *OPTIONS, "--gate-level", level, seed=2)
    loaded.load_state_dict(old, strict=True)
    for name, value in saved.gate.network.state_dict().items():
        assert torch.equal(loaded.gate.network.state_dict()[name], value)
    assert loaded.gate.signal.sizes.tolist() == [3, 3]
    with pytest.raises(RuntimeError, match="Unexpected key"):
        loaded.load_state_dict({**old, "other.weight": torch.zeros(1)}, strict=True)


def test_a_training_without_a_gate_leaves_the_new_gate_alone(tiny_corpus: Path) -> None:
    """fairseq passes None for --finetune-from-model a checkpoint whose criterion had no parameters."""
    _, _, criterion = build(tiny_corpus, *OPTIONS)
    before = {name: value.clone() for name, value in criterion.gate.network.state_dict().items()}
    criterion.load_state_dict(None, strict=True)
    assert all(torch.equal(before[name], value) for name, value in criterion.gate.network.state_dict().items())
