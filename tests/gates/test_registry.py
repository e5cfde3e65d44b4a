"""A new gate is a class in the registry: hybrid_kd, the command line and the help find it there."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import torch
from fairseq.criterions import CRITERION_DATACLASS_REGISTRY, CRITERION_REGISTRY

from fairseq_kd.errors import UserError
from fairseq_kd.gates.batch import GateBatch, GateValues
from fairseq_kd.gates.constant import ValueOptions
from fairseq_kd.gates.registry import GATES, Gate, GateOptions, register_gate, unregister_gate
from fairseq_kd.networks.checkpoints import read_checkpoint
from tests.support.models import batch, build
from tests.support.training import train_command

HYBRID = ("--task", "translation_kd", "--criterion", "hybrid_kd")
OWN_GATE = """
from fairseq_kd.gates.registry import Gate, register_gate

@register_gate("longer")
class Longer(Gate):
    def values(self, batch):
        return batch.of_sentences(batch.sentence_places.lengths.gt(batch.token_places.lengths).float())
"""


@pytest.fixture
def registry() -> Iterator[None]:
    """Afterwards the registry holds the gates that it held before."""
    before = set(GATES)
    yield
    for name in set(GATES) - before:
        unregister_gate(name)


@dataclass(frozen=True)
class PowerOptions(GateOptions):
    gate_power: float = field(default=2.0, metadata={"help": "an exponent"})

    def __post_init__(self) -> None:
        if self.gate_power < 0:
            raise UserError(f"--gate-power {self.gate_power}: give 0 or more")


class Power(Gate):
    """g = ½ to the power of an option; with a parameter of its own, to be driven to 3."""

    Options = PowerOptions
    logged = {"power_loss": "nsentences"}  # noqa: RUF012

    def __init__(self, *settings: Any):
        super().__init__(*settings)
        self.shift = torch.nn.Parameter(torch.zeros(()))
        self.updates = 0

    def values(self, batch: GateBatch) -> GateValues:
        return batch.of_sentences(torch.full((len(batch.gold),), 0.5**self.options.gate_power))

    def objective(self, batch: GateBatch, *_: Any) -> tuple[torch.Tensor, dict[str, Any]]:
        loss = len(batch.gold) * (self.shift - 3).square()
        return loss, {"power_loss": loss.data}

    def after_update(self, sums: Any, held_out: Any) -> None:
        self.updates += sums["nsentences"]


def test_a_gate_of_three_lines_trains(tiny_corpus: Path, tiny_teacher: Path, distilled: Path, registry: None) -> None:
    @register_gate("half")
    class Half(Gate):
        def values(self, batch: GateBatch) -> GateValues:
            return batch.of_sentences(torch.full((len(batch.gold),), 0.5))

    data = ("--teacher-path", str(tiny_teacher), "--distilled-data", str(distilled))
    task, model, criterion = build(tiny_corpus, *HYBRID, *data, "--gate", "half")
    fixed = build(tiny_corpus, *HYBRID, *data, "--gate", "fixed")[2]  # at 0.5
    sample = batch(task, "train", [0, 1, 2])
    assert criterion(model, sample)[0].item() == fixed(model, sample)[0].item()
    optimizer, losses = torch.optim.Adam(model.parameters(), lr=0.01), []
    for _ in range(10):
        optimizer.zero_grad()
        loss, sample_size, _ = criterion(model, sample)
        (loss / sample_size).backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.8 * losses[0]


def test_a_gate_brings_options_parameters_and_a_log(
    tiny_corpus: Path, tiny_teacher: Path, distilled: Path, registry: None, capsys: pytest.CaptureFixture[str]
) -> None:
    register_gate("power")(Power)
    data = ("--teacher-path", str(tiny_teacher), "--distilled-data", str(distilled))
    task, model, criterion = build(tiny_corpus, *HYBRID, *data, "--gate", "power", "--gate-power", "3")
    loss, _, log = criterion(model, batch(task, "train", [4, 5]))
    assert log["gate_g"].item() == pytest.approx(2 / 8) and log["power_loss"] == 18
    loss.backward()
    assert criterion.gate.shift.grad == 2 * 2 * -3
    assert list(criterion.state_dict()) == ["gate.shift"]
    criterion.after_update([log, log])
    assert criterion.gate.updates == 4
    with pytest.raises(UserError, match=r"--gate-power -1\.0: give 0 or more"):
        build(tiny_corpus, *HYBRID, *data, "--gate", "fixed", "--gate-power", "-1")
    with pytest.raises(UserError, match="--gate power weighs whole sentences: leave out --gate-level token"):
        build(tiny_corpus, *HYBRID, *data, "--gate", "power", "--gate-level", "token")
    with pytest.raises(SystemExit):
        build(tiny_corpus, *HYBRID, *data, "--gate", "sometimes")
    told = capsys.readouterr().err
    assert ", ".join(f"'{name}'" for name in GATES) in told and "--gate-power" in told


def test_the_options_are_those_of_all_gates_once() -> None:
    options = list(CRITERION_DATACLASS_REGISTRY["hybrid_kd"].__dataclass_fields__)
    assert [name for name in options if name.startswith("gate")] == [
        *("gate", "gate_level", "gate_token_prefixes", "gate_value", "gate_start", "gate_end", "gate_updates"),
        *("gate_signal", "gate_prior_weight", "gate_lr_scale", "gate_trains_encoder"),
    ]
    assert list(GATES) == ["fixed", "schedule", "teacher_entropy", "agreement", "learned", "scalar"]
    assert CRITERION_REGISTRY["hybrid_kd"].__name__ == "HybridKDCriterion"


def test_a_gate_that_cannot_be_registered(registry: None) -> None:
    with pytest.raises(ValueError, match="there is a gate 'fixed' already"):
        register_gate("fixed")(Power)

    @dataclass(frozen=True)
    class Again(GateOptions):
        gate_value: float = 0.1

    @dataclass(frozen=True)
    class Shared(ValueOptions):
        gate_more: int = 1

    @dataclass(frozen=True)
    class Foreign(GateOptions):
        label_smoothing: float = 0.1

    with pytest.raises(ValueError, match="gate_value: another gate declares it"):
        register_gate("again")(type("AgainGate", (Gate,), {"Options": Again}))
    with pytest.raises(ValueError, match="label_smoothing: start its name with gate_"):
        register_gate("foreign")(type("ForeignGate", (Gate,), {"Options": Foreign}))
    register_gate("shared")(type("SharedGate", (Gate,), {"Options": Shared}))
    assert "shared" in GATES and "again" not in GATES and "foreign" not in GATES


@pytest.mark.integration
def test_a_users_module_adds_a_gate_to_fairseq_train(
    tiny_corpus: Path, tiny_teacher: Path, distilled: Path, tmp_path: Path
) -> None:
    """--user-dir names the user's module, which adds its gate to the installed package."""
    module = tmp_path / "own_gates"
    module.mkdir()
    (module / "__init__.py").write_text(OWN_GATE)
    options = [*HYBRID, "--teacher-path", tiny_teacher, "--distilled-data", distilled, "--gate", "longer"]
    done = train_command(tiny_corpus, tmp_path / "out", *options, "--user-dir", module, "--max-update", "2")
    assert "gate_spread=" in done.stdout + done.stderr
    assert read_checkpoint(tmp_path / "out" / "checkpoint_last.pt")["cfg"]["criterion"]["gate"] == "longer"
