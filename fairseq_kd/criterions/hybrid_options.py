"""Options of criterion ``hybrid_kd``: its own, and those of all registered gates."""

from dataclasses import dataclass, field, make_dataclass

from fairseq.dataclass import ChoiceEnum

from fairseq_kd.criterions.token_kd import WordKDConfig
from fairseq_kd.gates import builtin  # noqa: F401 (registers the gates)
from fairseq_kd.gates.registry import GATES, option_fields

DEFAULT_GATE = "learned"
GATE_HELP = {"help": "kind of gate; g is the weight of the token-level loss, and the sentence-level loss gets 1 - g"}


@dataclass
class HybridKDConfig(WordKDConfig):
    """Options of ``hybrid_kd`` without those of the gates. The token-level loss uses the options of ``token_kd``."""

    gate: str = field(default=DEFAULT_GATE, metadata=GATE_HELP)
    gate_level: ChoiceEnum(("sentence", "token")) = field(  # type: ignore[valid-type]
        default="sentence", metadata={"help": "one g for each sentence, or one for each relative place in it"}
    )
    gate_token_prefixes: ChoiceEnum(("gold", "distilled")) = field(  # type: ignore[valid-type]
        default="gold",
        metadata={"help": "prefixes of the token-level loss: the gold target's, or those of the teacher's output"},
    )


def hybrid_config() -> type[HybridKDConfig]:
    """The options of ``hybrid_kd`` as fairseq takes them, with the gates registered so far and their options."""
    gate = ("gate", ChoiceEnum(list(GATES)), field(default=DEFAULT_GATE, metadata=GATE_HELP))
    return make_dataclass(
        "HybridKDConfig", [gate, *option_fields(list(GATES.values()))], bases=(HybridKDConfig,), namespace={}
    )
