"""The learned gate: a small network on the student's encoder, trained by an objective of its own."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from fairseq.dataclass import ChoiceEnum
from torch import Tensor

from fairseq_kd.errors import UserError
from fairseq_kd.gates.batch import GateBatch, GateValues
from fairseq_kd.gates.constant import ValueOptions
from fairseq_kd.gates.inputs import gate_inputs, local_inputs
from fairseq_kd.gates.network import GateNetwork
from fairseq_kd.gates.registry import Gate, register_gate
from fairseq_kd.gates.signal import SIGNALS, Half, Signal, gate_objective
from fairseq_kd.losses.chunk import NextTokens, Objective
from fairseq_kd.losses.fused import Losses, fused_loss


@dataclass(frozen=True)
class LearnedOptions(ValueOptions):
    """Options of the learned gate."""

    gate_signal: ChoiceEnum(SIGNALS) = field(  # type: ignore[valid-type]
        default="held_out", metadata={"help": "learned gate: the cost it minimises: loss, normalised or held_out"}
    )
    gate_prior_weight: float = field(
        default=0.5, metadata={"help": "learned gate: weight of KL(g || --gate-value), which is added to that cost"}
    )
    gate_lr_scale: float = field(
        default=1.0, metadata={"help": "learned gate: its learning rate, as a multiple of the student's"}
    )
    gate_trains_encoder: bool = field(
        default=False, metadata={"help": "learned gate: let its gradient flow into the student's encoder"}
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 <= self.gate_prior_weight < math.inf:
            raise UserError(f"--gate-prior-weight {self.gate_prior_weight}: give a weight of at least 0")
        if not 0 < self.gate_lr_scale < math.inf:
            raise UserError(f"--gate-lr-scale {self.gate_lr_scale}: give a factor above 0")


@register_gate("learned")
class LearnedGate(Gate):
    """g = sigmoid(network(encoder states)).

    The gate minimises, per gold token,
    J(x) = g(x)·(C_sentence(x) − C_token(x)) + prior weight·KL(g(x)‖prior). C is the mean cost per token of either
    loss, as :class:`fairseq_kd.gates.signal.Signal` gives it. Wei et al. 2024 leave the parametrisation of the gate
    open; this one is the project's choice.
    """

    Options = LearnedOptions
    options: LearnedOptions
    by_token_too = True
    logged = {"gate_loss": "ntokens"}  # noqa: RUF012

    def __init__(self, options: LearnedOptions, by_token: bool, encoder_width: Callable[[], int]):
        super().__init__(options, by_token, encoder_width)
        if options.gate_value in (0, 1):
            raise UserError(f"--gate-value {options.gate_value}: a learned gate starts above 0 and below 1")
        # By token the network also reads the state at the token's place.
        width = encoder_width() * (2 if by_token else 1)
        self.network = GateNetwork(width, options.gate_value, options.gate_lr_scale)
        self.signal = Signal(str(options.gate_signal))

    def values(self, batch: GateBatch) -> GateValues:
        """g of the batch's distilled and gold tokens, with the logits behind them."""
        states, real = batch.encoder_states()
        states = states if self.options.gate_trains_encoder else states.detach()
        both = (batch.distilled_places, batch.gold_places)
        if self.by_token:
            logits = [self.network(local_inputs(states, real, places)) for places in both]  # (tokens,) each
        else:
            by_sentence = self.network(gate_inputs(states, real))  # (sentences,)
            logits = [by_sentence[places.sentence] for places in both]
        distilled, gold = (one.sigmoid().detach() for one in logits)
        return GateValues(distilled, gold, torch.cat(logits))

    def objective(
        self,
        batch: GateBatch,
        values: GateValues,
        students: tuple[NextTokens, NextTokens],
        losses: tuple[Losses, Losses],
    ) -> tuple[Tensor, dict[str, Any]]:
        """Σ J over the batch's gold tokens, and the sums from which the signal goes on after the update."""
        assert values.logits is not None
        halves = [
            Half(loss.by_token, loss.slopes, student.features.detach())
            for loss, student in zip(losses, students, strict=True)
        ]
        if self.signal.kind == "held_out":
            self._observe(students[1], batch)
        raw = self.signal.costs(halves[0], halves[1])  # (distilled tokens,), (gold tokens,)
        sentence, token = self.signal.scaled(raw)
        # A sentence counts by its gold tokens, however long the teacher's output is: a distilled token's share is
        # gold length / distilled length, a gold token's is 1.
        shares = batch.gold_places.lengths.to(token.dtype) / batch.distilled_places.lengths
        shares = torch.cat([shares[batch.distilled_places.sentence], torch.ones_like(token)])
        # Each half's tokens get half of the prior's weight.
        objective = gate_objective(
            values.logits,
            torch.cat([sentence, -token]),
            shares,
            self.options.gate_value,
            self.options.gate_prior_weight / 2,
        )
        sizes = {name: one.abs().sum() for name, one in zip(("sentence_cost", "token_cost"), raw, strict=True)}
        return objective, {"gate_loss": objective.data, **sizes}

    def _observe(self, student: NextTokens, batch: GateBatch) -> None:
        """Show the signal the gradient of the gold targets' NLL."""
        if student.weight is None:
            raise UserError(
                "--gate-signal held_out needs a student with an output layer of its own, a Transformer; "
                "give --gate-signal normalised"
            )
        if not batch.counts:
            return
        features = student.features.detach().requires_grad_()
        own = NextTokens(features, student.weight.detach(), None if student.bias is None else student.bias.detach())
        target = batch.gold[batch.gold.ne(batch.pad)]  # (gold tokens,)
        with torch.enable_grad():
            nll = fused_loss(own, target, Objective(), None, batch.chunk_memory)
        self.signal.observe(Half(nll.by_token, nll.slopes, features.detach()))

    def after_update(self, sums: Mapping[str, Any]) -> None:
        """Bring the signal up to date with an update's sums over all batches and processes."""
        sizes, tokens = (
            tuple(sums.get(name, 0) for name in names)
            for names in (("sentence_cost", "token_cost"), ("sentence_tokens", "ntokens"))
        )
        self.signal.update((sizes[0], sizes[1]), (tokens[0], tokens[1]))
