"""Criterion ``hybrid_kd``: a gate between sentence-level and token-level distillation (Wei et al. 2024)."""

import math
from typing import Any

import torch
from fairseq.criterions import register_criterion
from fairseq.logging import metrics
from fairseq.models import BaseFairseqModel
from torch import Tensor

from fairseq_kd.criterions.base import summed
from fairseq_kd.criterions.gate_log import gate_sums, log_gate
from fairseq_kd.criterions.hybrid_options import HybridKDConfig, check_options
from fairseq_kd.criterions.interleave import interleave, select, tokens_of
from fairseq_kd.criterions.token_kd import TokenKDCriterion
from fairseq_kd.errors import UserError
from fairseq_kd.gates.inputs import Places, at_same_places, edit_distance, gate_inputs, local_inputs, uncertainty
from fairseq_kd.gates.network import GateNetwork
from fairseq_kd.gates.signal import Half, Signal, gate_objective
from fairseq_kd.losses.chunk import NextTokens, Objective, TeacherAnswer
from fairseq_kd.losses.fused import Losses, fused_loss
from fairseq_kd.losses.token_values import entropies
from fairseq_kd.networks.distributions import next_tokens, real_tokens
from fairseq_kd.networks.encoder import encoder_outputs, encoder_states, encoder_width
from fairseq_kd.tasks.translation_kd import TranslationKDTask


@register_criterion("hybrid_kd", dataclass=HybridKDConfig)
class HybridKDCriterion(TokenKDCriterion):
    """L(x) = g(x)·L_sentence(x) + (1−g(x))·L_token(x), as the mean over tokens by their weights.

    L_sentence is the NLL of the teacher's output ŷ, L_token the loss of ``token_kd`` on the gold target y. A token of
    ŷ weighs g(x), one of y weighs 1 − g(x), and the sample size is the sum of these weights: with g = 0 loss, gradient
    and sample size are token_kd's, with g = 1 those of ``fused_cross_entropy`` on the distilled data.

    The student learns with the gate's values as they are. A learned gate minimises, per gold token,
    J(x) = g(x)·(C_sentence(x) − C_token(x)) + prior weight·KL(g(x)‖prior), C either half's mean cost per token as
    :class:`fairseq_kd.gates.signal.Signal` has it. The paper leaves the gate's parametrisation open; this one is the
    project's.

    Raises:
        UserError: an option out of its range, no distilled data, or a task without a teacher.
    """

    takes_distilled = True

    def __init__(self, cfg: HybridKDConfig, task: TranslationKDTask):
        super().__init__(
            task,
            cfg.kd_alpha,
            cfg.kd_temperature,
            cfg.kd_top_k,
            cfg.label_smoothing,
            cfg.chunk_memory,
            cfg.sentence_avg,
        )
        if not task.cfg.distilled_data:
            raise UserError(
                "--criterion hybrid_kd learns from the teacher's output too: give it with --distilled-data DATABIN"
            )
        check_options(cfg)
        self.cfg = cfg
        self.gate, self.by_token = str(cfg.gate), str(cfg.gate_level) == "token"
        if self.gate == "learned":
            width = encoder_width(task.student(), task.source_dictionary.eos()) * (2 if self.by_token else 1)
            self.network = GateNetwork(width, cfg.gate_value, cfg.gate_lr_scale)
            self.signal = Signal(str(cfg.gate_signal))

    def forward(self, model: BaseFairseqModel, sample: dict[str, Any]) -> tuple[Tensor, Tensor | int, dict[str, Any]]:
        """The loss summed over both halves' tokens by their weights, the sum of these, and what to log.

        A validation set has no teacher's output: there it is token_kd's loss.
        """
        answer = self._answer(model, sample) if "distilled" in sample else None
        if answer is None:
            return super().forward(model, sample)
        target, batch = interleave(sample, [sample["target"], sample["distilled"]], self.task.target_dictionary)
        real = real_tokens(target, self.padding_idx)
        with encoder_outputs(model) as outputs:
            student = next_tokens(model, batch, real)
        gold, distilled = (Places.of(real_tokens(sample[name], self.padding_idx)) for name in ("target", "distilled"))
        varies = self.gate not in ("fixed", "schedule")
        entropy = entropies(answer, self.chunk_memory) if varies else None
        if self.gate == "learned":
            logits = self._logits(outputs[0], (distilled, gold))
            gates = (logits[0].sigmoid().detach(), logits[1].sigmoid().detach())
        else:
            gates = self._heuristic(sample, distilled, gold, entropy)
        answers = (select(student, tokens_of(1, 2, real)), select(student, tokens_of(0, 2, real)))
        sentence, token = self._losses(answers, sample, answer, gates)
        loss, sample_size, log = self._weighted(sample, gates, sentence, token)
        log |= gate_sums(gates[1], gold, sample["net_input"]["src_lengths"], entropy, self.by_token)
        if self.gate == "learned":
            objective, costs = self._objective(logits, answers, (sentence, token), sample, (distilled, gold))
            loss = loss + objective
            log |= {"gate_loss": objective.data, **costs}
        return loss, sample_size, log

    def _heuristic(
        self, sample: dict[str, Any], distilled: Places, gold: Places, entropy: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """g of the distilled and of the gold tokens, from no parameters."""
        if self.gate == "teacher_entropy":
            assert entropy is not None
            if self.by_token:
                by_gold_token = uncertainty(entropy)
                return at_same_places(by_gold_token, gold, distilled), by_gold_token
            by_sentence = uncertainty(gold.mean(entropy))
        elif self.gate == "agreement":
            by_sentence = edit_distance(sample["target"], sample["distilled"], self.padding_idx)
        else:
            by_sentence = torch.full(gold.lengths.shape, self._constant(), device=gold.lengths.device)
        return by_sentence[distilled.sentence], by_sentence[gold.sentence]

    def _constant(self) -> float:
        if self.gate == "fixed":
            return self.cfg.gate_value
        done = min(1.0, self.task.update / self.cfg.gate_updates)
        return self.cfg.gate_start + done * (self.cfg.gate_end - self.cfg.gate_start)

    def _logits(self, output: Any, both: tuple[Places, Places]) -> tuple[Tensor, Tensor]:
        """The learned gate's logits for the distilled and for the gold tokens."""
        states, real = encoder_states(output)
        # Each source is encoded twice, with dropout of its own.
        states, real = (states[::2] + states[1::2]) / 2, real[::2]
        states = states if self.cfg.gate_trains_encoder else states.detach()
        if self.by_token:
            distilled, gold = (self.network(local_inputs(states, real, places)) for places in both)
            return distilled, gold
        by_sentence = self.network(gate_inputs(states, real))
        return by_sentence[both[0].sentence], by_sentence[both[1].sentence]

    def _losses(
        self,
        students: tuple[NextTokens, NextTokens],
        sample: dict[str, Any],
        answer: TeacherAnswer,
        gates: tuple[Tensor, Tensor],
    ) -> tuple[Losses, Losses]:
        distilled, gold = (
            sample[name][real_tokens(sample[name], self.padding_idx)] for name in ("distilled", "target")
        )
        sentence = fused_loss(students[0], distilled, self.gold_alone, None, self.chunk_memory, gates[0])
        return sentence, fused_loss(students[1], gold, self.objective, answer, self.chunk_memory, 1 - gates[1])

    def _weighted(
        self, sample: dict[str, Any], gates: tuple[Tensor, Tensor], sentence: Losses, token: Losses
    ) -> tuple[Tensor, Tensor | int, dict[str, Any]]:
        loss = sentence.loss + token.loss
        weights = sum(one.sum(dtype=torch.float64) for one in (gates[0], 1 - gates[1]))
        sample_size = len(sample["target"]) if self.sentence_avg else weights
        log = {
            "loss": loss.data,
            "nll_loss": token.nll_loss,
            "ntokens": sample["ntokens"],
            "nsentences": len(sample["target"]),
            "sample_size": sample_size,
            "kd_loss": token.soft_loss,
            "agreed": token.agreed,
            "kd_ntokens": sample["ntokens"],
            "sentence_nll": sentence.nll_loss,
            "sentence_tokens": len(gates[0]),
        }
        return loss, sample_size, log

    def _objective(
        self,
        logits: tuple[Tensor, Tensor],
        students: tuple[NextTokens, NextTokens],
        losses: tuple[Losses, Losses],
        sample: dict[str, Any],
        both: tuple[Places, Places],
    ) -> tuple[Tensor, dict[str, Any]]:
        """What the learned gate minimises, and the sums from which its signal goes on after the update."""
        halves = [
            Half(one.by_token, one.slopes, student.features.detach())
            for one, student in zip(losses, students, strict=True)
        ]
        if self.signal.kind == "held_out":
            self._observe(students[1], sample)
        raw = self.signal.costs(halves[0], halves[1])
        sentence, token = self.signal.scaled(raw)
        # A sentence counts by its gold tokens, whatever the length of the teacher's output.
        shares = both[1].lengths.to(token.dtype) / both[0].lengths
        shares = torch.cat([shares[both[0].sentence], torch.ones_like(token)])
        objective = gate_objective(
            torch.cat(logits),
            torch.cat([sentence, -token]),
            shares,
            self.cfg.gate_value,
            self.cfg.gate_prior_weight / 2,
        )
        sizes = {name: one.abs().sum() for name, one in zip(("sentence_cost", "token_cost"), raw, strict=True)}
        return objective, sizes

    def _observe(self, student: NextTokens, sample: dict[str, Any]) -> None:
        if student.weight is None:
            raise UserError(
                "--gate-signal held_out needs a student with an output layer of its own, a Transformer; "
                "give --gate-signal normalised"
            )
        if not self.training or self.task.ignored:
            return
        features = student.features.detach().requires_grad_()
        bias = None if student.bias is None else student.bias.detach()
        target = sample["target"][real_tokens(sample["target"], self.padding_idx)]
        with torch.enable_grad():
            nll = fused_loss(
                NextTokens(features, student.weight.detach(), bias), target, Objective(), None, self.chunk_memory
            )
        self.signal.observe(Half(nll.by_token, nll.slopes, features.detach()))

    def after_update(self, logging_outputs: list[dict[str, Any]]) -> None:
        """Bring the learned gate's signal up to date with an update's sums over all batches and processes."""
        if self.gate == "learned":
            sizes = [summed(logging_outputs, name) for name in ("sentence_cost", "token_cost")]
            tokens = [summed(logging_outputs, name) for name in ("sentence_tokens", "ntokens")]
            self.signal.update((sizes[0], sizes[1]), (tokens[0], tokens[1]))

    @classmethod
    def reduce_metrics(cls, logging_outputs: list[dict[str, Any]]) -> None:
        """Log also the sentence_loss, per token of the teacher's output in bits, and what the gate does."""
        super().reduce_metrics(logging_outputs)
        tokens = summed(logging_outputs, "sentence_tokens")
        if tokens > 0:
            value = summed(logging_outputs, "sentence_nll") / tokens / math.log(2)
            metrics.log_scalar("sentence_loss", value, tokens, round=3)
            log_gate(logging_outputs)
