"""Options of criterion ``hybrid_kd``."""

import math
from dataclasses import dataclass, field

from fairseq.dataclass import ChoiceEnum

from fairseq_kd.criterions.token_kd import TokenKDConfig
from fairseq_kd.errors import UserError
from fairseq_kd.gates.signal import SIGNALS

GATES = ("fixed", "schedule", "learned", "teacher_entropy", "agreement")
BY_TOKEN = ("learned", "teacher_entropy")


@dataclass
class HybridKDConfig(TokenKDConfig):
    """Options of ``hybrid_kd``; those of ``token_kd`` are its token-level half's."""

    gate: ChoiceEnum(GATES) = field(  # type: ignore[valid-type]
        default="learned", metadata={"help": "what weighs the sentence-level loss, by g, against the token-level one"}
    )
    gate_value: float = field(
        default=0.5, metadata={"help": "g of the fixed gate; where a learned one starts and what its prior draws it to"}
    )
    gate_start: float = field(default=0.0, metadata={"help": "g of the schedule before the first update"})
    gate_end: float = field(default=1.0, metadata={"help": "g of the schedule after --gate-updates"})
    gate_updates: int = field(default=0, metadata={"help": "updates from --gate-start to --gate-end, on a line"})
    gate_level: ChoiceEnum(("sentence", "token")) = field(  # type: ignore[valid-type]
        default="sentence", metadata={"help": "one g for a sentence, or one for each relative place in it"}
    )
    gate_signal: ChoiceEnum(SIGNALS) = field(  # type: ignore[valid-type]
        default="held_out", metadata={"help": "what a learned gate is told that either half costs"}
    )
    gate_prior_weight: float = field(
        default=0.5, metadata={"help": "weight of KL(g || --gate-value) in what a learned gate minimises"}
    )
    gate_lr_scale: float = field(default=1.0, metadata={"help": "a learned gate's learning rate over the student's"})
    gate_trains_encoder: bool = field(
        default=False, metadata={"help": "let a learned gate's gradient flow into the student's encoder"}
    )


def check_options(cfg: HybridKDConfig) -> None:
    """Raise a UserError for an option out of its range or without a meaning for this gate."""
    gate = str(cfg.gate)
    for name in ("gate_value", "gate_start", "gate_end"):
        value = getattr(cfg, name)
        if not 0 <= value <= 1:
            raise UserError(f"--{name.replace('_', '-')} {value}: give a weight between 0 and 1")
    if gate == "learned" and cfg.gate_value in (0, 1):
        raise UserError(f"--gate-value {cfg.gate_value}: a learned gate starts above 0 and below 1")
    if gate == "schedule" and cfg.gate_updates < 1:
        raise UserError(f"--gate schedule --gate-updates {cfg.gate_updates}: give the number of updates that it takes")
    if str(cfg.gate_level) == "token" and gate not in BY_TOKEN:
        raise UserError(f"--gate {gate} weighs whole sentences: leave out --gate-level token")
    if not 0 <= cfg.gate_prior_weight < math.inf:
        raise UserError(f"--gate-prior-weight {cfg.gate_prior_weight}: give a weight of at least 0")
    if not 0 < cfg.gate_lr_scale < math.inf:
        raise UserError(f"--gate-lr-scale {cfg.gate_lr_scale}: give a factor above 0")
