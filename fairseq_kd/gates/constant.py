"""Gates that know nothing of the input: one g for all sentences of an update."""

from dataclasses import dataclass, field

import torch

from fairseq_kd.errors import UserError
from fairseq_kd.gates.batch import GateBatch, GateValues
from fairseq_kd.gates.registry import Gate, GateOptions, register_gate
from fairseq_kd.losses.ranges import check_share


@dataclass(frozen=True)
class ValueOptions(GateOptions):
    """The option that the fixed and the learned gates share."""

    gate_value: float = field(
        default=0.5,
        metadata={"help": "fixed gate: g; learned gates: g at the start and in the prior"},
    )

    def __post_init__(self) -> None:
        check_share("--gate-value", self.gate_value)


@register_gate("fixed")
class FixedGate(Gate):
    """g = --gate-value throughout."""

    Options = ValueOptions
    options: ValueOptions
    depends_on_input = False

    def values(self, batch: GateBatch) -> GateValues:
        """g at the tokens of both losses."""
        return batch.of_sentences(torch.full((len(batch.gold),), self.options.gate_value, device=batch.gold.device))


@dataclass(frozen=True)
class ScheduleOptions(GateOptions):
    """Options of the schedule."""

    gate_start: float = field(default=1.0, metadata={"help": "schedule: g before the first update"})
    gate_end: float = field(default=0.0, metadata={"help": "schedule: g after --gate-updates"})
    gate_updates: int = field(
        default=0, metadata={"help": "schedule: number of updates in which g moves from --gate-start to --gate-end"}
    )

    def __post_init__(self) -> None:
        check_share("--gate-start", self.gate_start)
        check_share("--gate-end", self.gate_end)


@register_gate("schedule")
class ScheduleGate(Gate):
    """g moves from --gate-start to --gate-end on a straight line over --gate-updates updates, and stays there."""

    Options = ScheduleOptions
    options: ScheduleOptions
    depends_on_input = False

    def __init__(self, options: ScheduleOptions, *settings: object):
        super().__init__(options, *settings)  # type: ignore[arg-type]
        if options.gate_updates < 1:
            raise UserError(
                f"--gate schedule --gate-updates {options.gate_updates}: give the number of updates that it takes"
            )

    def values(self, batch: GateBatch) -> GateValues:
        """g at the tokens of both losses."""
        done = min(1.0, batch.update / self.options.gate_updates)
        g = self.options.gate_start + done * (self.options.gate_end - self.options.gate_start)
        return batch.of_sentences(torch.full((len(batch.gold),), g, device=batch.gold.device))
