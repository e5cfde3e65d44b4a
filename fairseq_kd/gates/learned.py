"""Gates that learn: what they minimise, one that reads the student's encoder, and one that reads nothing."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from fairseq.dataclass import ChoiceEnum
from torch import Tensor

from fairseq_kd.errors import UserError
from fairseq_kd.gates.batch import GateBatch, GateValues, HeldOut
from fairseq_kd.gates.constant import ValueOptions
from fairseq_kd.gates.inputs import gate_inputs, local_inputs
from fairseq_kd.gates.network import GateNetwork, ScaledScalar
from fairseq_kd.gates.registry import Gate, register_gate
from fairseq_kd.gates.signal import SIGNALS, Half, Signal, gate_objective
from fairseq_kd.losses.chunk import NextTokens, Objective
from fairseq_kd.losses.fused import Losses, fused_loss
from fairseq_kd.losses.ranges import check_weight


@dataclass(frozen=True)
class LearningOptions(ValueOptions):
    """Options of every gate that learns."""

    gate_signal: ChoiceEnum(SIGNALS) = field(  # type: ignore[valid-type]
        default="held_out", metadata={"help": "learned gates: the cost they minimise: loss, normalised or held_out"}
    )
    gate_prior_weight: float = field(
        default=0.1, metadata={"help": "learned gates: weight of KL(g || --gate-value), which is added to that cost"}
    )
    gate_lr_scale: float = field(
        default=1.0, metadata={"help": "learned gates: their learning rate, as a multiple of the student's"}
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        check_weight("--gate-prior-weight", self.gate_prior_weight)
        if not 0 < self.gate_lr_scale < math.inf:
            raise UserError(f"--gate-lr-scale {self.gate_lr_scale}: give a factor above 0")


NO_OUTPUT_LAYER = (
    "--gate-signal held_out needs a student whose output layer is at hand: a Transformer, and with "
    "--find-unused-parameters one with shared embeddings; give --gate-signal normalised"
)


class LearningGate(Gate):
    """A gate g = sigmoid(z) whose logit z (Wei et al. 2024, eq. 1) is trained.

    The gate minimises J(x) = g(x)·(C_token(x) − C_sentence(x)) + n(x)·prior weight·KL(g(x)‖prior). C is the cost of
    either loss, as :class:`fairseq_kd.gates.signal.Signal` gives it. With the signal ``loss`` C is the loss itself,
    summed over the sentence's tokens: without a prior, the gate follows the gradient of eq. 4; n is the mean number of
    tokens of both losses. With the other signals n is the number of tokens of the token-level loss and C is n times
    the mean cost per token, so that the length of neither target decides.
    """

    Options = LearningOptions
    options: LearningOptions
    logged = {"gate_loss": "kd_ntokens"}  # noqa: RUF012

    def __init__(self, options: LearningOptions, by_token: bool, encoder_width: Callable[[], int]):
        super().__init__(options, by_token, encoder_width)
        if options.gate_value in (0, 1):
            raise UserError(f"--gate-value {options.gate_value}: a learned gate starts above 0 and below 1")
        self.signal = Signal(str(options.gate_signal))
        self.needs_slopes = self.signal.kind == "held_out"
        # −1 for weights from a state of version 0.1.0, in which sigmoid(z) weighed the sentence-level loss. The weights
        # stay as they are, and the optimizer's moments with them.
        self.sign = 1

    def get_extra_state(self) -> dict[str, float]:
        """What the stored weights of the network mean."""
        return {"sign": self.sign, "lr_scale": self.options.gate_lr_scale}

    def set_extra_state(self, state: dict[str, float]) -> None:
        """Take the sign; :meth:`_load_from_state_dict` has taken the scale."""
        self.sign = int(state["sign"])

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *settings: Any) -> None:
        """As torch's; the gate stays what it was, also from version 0.1.0 or with another --gate-lr-scale."""
        scale = self.options.gate_lr_scale
        saved = state_dict.setdefault(f"{prefix}_extra_state", {"sign": -1, "lr_scale": scale})
        if saved["lr_scale"] != scale:
            for name in [name for name in state_dict if name.startswith(f"{prefix}network.")]:
                state_dict[name] = state_dict[name] * (saved["lr_scale"] / scale)
        super()._load_from_state_dict(state_dict, prefix, *settings)

    def of_logits(self, sentence: Tensor, token: Tensor) -> GateValues:
        """The values with these z at the tokens of the sentence-level and of the token-level loss, (tokens,) each."""
        sentence, token = self.sign * sentence, self.sign * token
        return GateValues(sentence.sigmoid().detach(), token.sigmoid().detach(), torch.cat([sentence, token]))

    def objective(
        self,
        batch: GateBatch,
        values: GateValues,
        students: tuple[NextTokens, NextTokens],
        losses: tuple[Losses, Losses],
    ) -> tuple[Tensor, dict[str, Any]]:
        """Σ J over the batch's sentences, and the sums from which the signal goes on after the update.

        Raises:
            UserError: the signal is ``held_out``, and the student has no output layer of its own.
        """
        assert values.logits is not None
        if self.needs_slopes and students[0].weight is None:
            raise UserError(NO_OUTPUT_LAYER)
        halves = [
            Half(loss.by_token, loss.slopes, student.features.detach())
            for loss, student in zip(losses, students, strict=True)
        ]
        raw = self.signal.costs(halves[0], halves[1])  # (distilled tokens,), (tokens of the token-level loss,)
        sentence, token = self.signal.scaled(raw)
        # Eq. 4 sums over tokens. The other costs are means: a sentence counts by the tokens of its token-level loss,
        # however many its other target has.
        shares = torch.ones_like(sentence)
        if self.signal.kind != "loss":
            ratios = batch.token_places.lengths.to(token.dtype) / batch.sentence_places.lengths  # (sentences,)
            shares = ratios[batch.sentence_places.sentence]
        # Each half's tokens get half of the prior's weight.
        objective = gate_objective(
            values.logits,
            torch.cat([-sentence, token]),
            torch.cat([shares, torch.ones_like(token)]),
            self.options.gate_value,
            self.options.gate_prior_weight / 2,
        )
        sizes = {name: one.abs().sum() for name, one in zip(("sentence_cost", "token_cost"), raw, strict=True)}
        return objective, {"gate_loss": objective.data, **sizes}

    def after_update(self, sums: Mapping[str, Any], held_out: Callable[[], HeldOut]) -> None:
        """Bring the signal up to date with an update's sums, and with a batch of the validation set."""
        sizes, tokens = (
            tuple(sums.get(name, 0) for name in names)
            for names in (("sentence_cost", "token_cost"), ("sentence_tokens", "kd_ntokens"))
        )
        asked = _nll(held_out()) if self.signal.kind == "held_out" else None
        self.signal.update((sizes[0], sizes[1]), (tokens[0], tokens[1]), asked)


def _nll(held_out: HeldOut) -> Half:
    """The NLL of held-out targets with its slopes."""
    student = held_out.student
    assert student.weight is not None
    features = student.features.detach().requires_grad_()
    own = NextTokens(features, student.weight.detach(), None if student.bias is None else student.bias.detach())
    with torch.enable_grad():
        nll = fused_loss(own, held_out.target, Objective(), None, held_out.chunk_memory)
    return Half(nll.by_token, nll.slopes, features.detach())


@dataclass(frozen=True)
class LearnedOptions(LearningOptions):
    """Options of the gate that reads the encoder."""

    gate_trains_encoder: bool = field(
        default=False, metadata={"help": "learned gate: let its gradient flow into the student's encoder"}
    )


@register_gate("learned")
class LearnedGate(LearningGate):
    """z = network(encoder states). The paper says that z is a function of the source; this network is our choice."""

    Options = LearnedOptions
    options: LearnedOptions
    by_token_too = True

    def __init__(self, options: LearnedOptions, by_token: bool, encoder_width: Callable[[], int]):
        super().__init__(options, by_token, encoder_width)
        # By token the network also reads the state at the token's place.
        width = encoder_width() * (2 if by_token else 1)
        self.network = GateNetwork(width, options.gate_value, options.gate_lr_scale)

    def values(self, batch: GateBatch) -> GateValues:
        """g at the tokens of both losses, with the logits behind them."""
        states, real = batch.encoder_states()
        states = states if self.options.gate_trains_encoder else states.detach()
        both = (batch.sentence_places, batch.token_places)
        if self.by_token:
            logits = [self.network(local_inputs(states, real, places)) for places in both]  # (tokens,) each
        else:
            by_sentence = self.network(gate_inputs(states, real))  # (sentences,)
            logits = [by_sentence[places.sentence] for places in both]
        return self.of_logits(logits[0], logits[1])


@register_gate("scalar")
class ScalarGate(LearningGate):
    """One learned z for all sentences."""

    depends_on_input = False

    def __init__(self, options: LearningOptions, by_token: bool, encoder_width: Callable[[], int]):
        super().__init__(options, by_token, encoder_width)
        self.network = ScaledScalar(options.gate_value, options.gate_lr_scale)

    def values(self, batch: GateBatch) -> GateValues:
        """g at the tokens of both losses, with the logits behind them."""
        places = (batch.sentence_places, batch.token_places)
        sentence, token = (self.network(len(one.sentence)) for one in places)
        return self.of_logits(sentence, token)
