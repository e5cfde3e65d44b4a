"""A learned gate's state as checkpoints held it before: under other names, and with a g of the other meaning."""

import lzma
from io import BytesIO
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from fairseq_kd.criterions.turned_gate import refuse_turned
from fairseq_kd.errors import UserError
from tests.support.models import build, configured

STORED = Path(__file__).parents[1] / "stored"
OPTIONS = ("--task", "translation_kd", "--criterion", "hybrid_kd", "--distilled-data", "x")


@pytest.mark.parametrize("level", ["sentence", "token"])
def test_the_state_loads_under_its_old_names(tiny_corpus: Path, level: str) -> None:
    _, _, saved = build(tiny_corpus, *OPTIONS, "--gate-level", level)
    saved.gate.network.output.weight.data.normal_()
    saved.gate.signal.sizes += 3
    old = {
        name.removeprefix("gate."): value for name, value in saved.state_dict().items() if name != "gate._extra_state"
    }
    assert sorted(old) == [
        *("network.hidden.bias", "network.hidden.weight", "network.output.bias", "network.output.weight"),
        "signal._extra_state",
    ]
    _, _, loaded = build(tiny_corpus, *OPTIONS, "--gate-level", level, seed=2)
    loaded.load_state_dict(old, strict=True)
    for name, value in saved.gate.network.state_dict().items():
        assert torch.equal(loaded.gate.network.state_dict()[name], value)
    # sigmoid(z) weighed the sentence-level loss; g weighs the token-level loss, also after the next save.
    z = torch.tensor([-1.0, 2.0])
    torch.testing.assert_close(loaded.gate.of_logits(z, z).token, 1 - saved.gate.of_logits(z, z).token)
    again = build(tiny_corpus, *OPTIONS, "--gate-level", level, seed=3)[2]
    again.load_state_dict(loaded.state_dict(), strict=True)
    assert again.gate.sign == -1 and saved.gate.sign == 1
    assert loaded.gate.signal.sizes.tolist() == [3, 3]
    with pytest.raises(RuntimeError, match="Unexpected key"):
        loaded.load_state_dict({**old, "other.weight": torch.zeros(1)}, strict=True)


def test_another_learning_rate_leaves_the_gate_what_it_was(tiny_corpus: Path) -> None:
    _, _, saved = build(tiny_corpus, *OPTIONS, "--gate-lr-scale", "4")
    saved.gate.network.output.weight.data.normal_()
    _, _, loaded = build(tiny_corpus, *OPTIONS, "--gate-lr-scale", "10", seed=2)
    loaded.load_state_dict(saved.state_dict(), strict=True)
    inputs = torch.linspace(-1, 1, 32).view(2, 16) ** 3
    torch.testing.assert_close(loaded.gate.network(inputs), saved.gate.network(inputs))


@pytest.mark.parametrize("other", [("--gate", "scalar"), ("--gate-level", "token")])
def test_the_state_of_another_gate_is_refused_in_one_line(tiny_corpus: Path, other: tuple[str, str]) -> None:
    saved, loaded = (build(tiny_corpus, *OPTIONS, *words)[2] for words in ((), other))
    with pytest.raises(UserError, match=r"the checkpoint's gate is another one.*give the --gate and --gate-level"):
        loaded.load_state_dict(saved.state_dict(), strict=True)


def test_a_training_without_a_gate_leaves_the_new_gate_alone(tiny_corpus: Path) -> None:
    """fairseq passes None for --finetune-from-model a checkpoint whose criterion had no parameters."""
    _, _, criterion = build(tiny_corpus, *OPTIONS)
    before = {name: value.clone() for name, value in criterion.gate.network.state_dict().items()}
    criterion.load_state_dict(None, strict=True)
    assert all(torch.equal(before[name], value) for name, value in criterion.gate.network.state_dict().items())


GIVEN_AGAIN = {
    "fixed": (("--gate-value", "0.3"), ("--gate-value", "0.7")),
    "learned": (("--gate-value", "0.3"), ("--gate-value", "0.7")),
    "schedule": (("--gate-start", "0.1"), ("--gate-start", "0.9")),
}


@pytest.mark.parametrize("gate", GIVEN_AGAIN)
def test_a_value_of_g_that_meant_the_opposite_is_refused(
    tiny_corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, gate: str
) -> None:
    """A training of commit 169c845 goes on with the options that it was begun with."""
    state = torch.load(BytesIO(lzma.decompress((STORED / "gate.pt.xz").read_bytes())), weights_only=True)
    state["cfg"]["criterion"].update(gate=gate, gate_value=0.3, gate_start=0.1, gate_end=1.0)
    torch.save(state, tmp_path / "checkpoint_last.pt")
    words, turned = GIVEN_AGAIN[gate]
    steps = ("--gate-updates", "9") if gate == "schedule" else ()
    options = (*OPTIONS, "--gate", gate, *steps, "--save-dir", str(tmp_path))
    told = f"{words[0]} {words[1]}: {tmp_path}/checkpoint_last.pt .*give {words[0]} {turned[1]} "
    with pytest.raises(UserError, match=told):
        build(tiny_corpus, *options, *words)
    build(tiny_corpus, *options, *turned)
    build(tiny_corpus, *options)  # other values than the recorded ones are of today
    # A task from Python may have no folder of checkpoints, and trains nothing of the working directory's.
    monkeypatch.chdir(tmp_path)
    refuse_turned(configured(tiny_corpus, *options, *words).criterion, SimpleNamespace(save_dir=None))
    # A configuration of another maker may have no criterion.
    other = {**state, "cfg": {name: value for name, value in state["cfg"].items() if name != "criterion"}}
    torch.save(other, tmp_path / "checkpoint_last.pt")
    build(tiny_corpus, *options, *words)
    # What the present version saved records the options of today.
    state["cfg"]["criterion"]["gate_token_prefixes"] = "gold"
    torch.save(state, tmp_path / "checkpoint_last.pt")
    build(tiny_corpus, *options, *words)
