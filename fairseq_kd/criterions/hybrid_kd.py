"""Criterion ``hybrid_kd``: a gate between sentence-level and token-level distillation (Wei et al. 2024)."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import torch
from fairseq.criterions import CRITERION_REGISTRY, register_criterion
from fairseq.logging import metrics
from fairseq.models import BaseFairseqModel
from torch import Tensor

from fairseq_kd.criterions.base import log_mean, summed
from fairseq_kd.criterions.gate_log import gate_sums, log_gate
from fairseq_kd.criterions.held_out import held_out_answer
from fairseq_kd.criterions.hybrid_options import HybridKDConfig, hybrid_config
from fairseq_kd.criterions.interleave import Answer, interleave
from fairseq_kd.criterions.token_kd import TokenKDCriterion
from fairseq_kd.criterions.turned_gate import refuse_turned
from fairseq_kd.errors import UserError
from fairseq_kd.gates.batch import GateBatch, GateValues
from fairseq_kd.gates.registry import GATES, build_gate, on_registration
from fairseq_kd.losses.chunk import TeacherAnswer
from fairseq_kd.losses.fused import Losses, fused_loss
from fairseq_kd.losses.token_values import entropies
from fairseq_kd.networks.encoder import encoder_outputs, encoder_states, encoder_width
from fairseq_kd.tasks.translation_kd import TranslationKDTask

OLD_GATE_STATE = ("network.", "signal.")
"""Where a learned gate's state begins in checkpoints written when it was not yet a module of its own."""


class HybridKDCriterion(TokenKDCriterion):
    """L(x) = g(x)·L_token(x) + (1−g(x))·L_sentence(x): Wei et al. 2024, eq. 4.

    L_sentence is the NLL of the teacher's output ŷ (eq. 3). L_token is the loss of ``token_kd`` on the gold target y,
    or on ŷ with --gate-token-prefixes distilled; with --kd-alpha 1 it is eq. 2. Both are sums over tokens. The label
    smoothing is that of both NLLs.

    The sample size is the sum of the tokens' weights: g(x) in L_token, 1 − g(x) in L_sentence. With g = 1 loss,
    gradient and sample size are those of ``token_kd``, with g = 0 those of ``fused_cross_entropy`` on the distilled
    data.

    The gate, a :class:`fairseq_kd.gates.registry.Gate`, gives g. A gate that learns follows the gradient of an
    objective of its own, which can be that of L. The objective's value does not enter the loss.

    Raises:
        UserError: an option is out of its range, there is no distilled data, or the task has no teacher. Or the
            training goes on from an earlier version's, with the same g that now means the opposite.
    """

    needs_teacher = "hybrid_kd"
    takes_tagged = False
    takes_distilled = True
    takes_other_vocabulary = False

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
        if task.cfg.left_pad_target:
            raise UserError(
                "--criterion hybrid_kd reads targets that are padded on the right: leave out --left-pad-target"
            )
        if not task.cfg.distilled_data:
            raise UserError(
                "--criterion hybrid_kd learns from the teacher's output too: give it with --distilled-data DATABIN"
            )
        if not task.of_checkpoint:
            refuse_turned(cfg, task.cfg)
        self.on_distilled = str(cfg.gate_token_prefixes) == "distilled"
        task.soft_targets_of_distilled = self.on_distilled
        self.gate = build_gate(
            str(cfg.gate),
            cfg,
            by_token=str(cfg.gate_level) == "token",
            encoder_width=lambda: encoder_width(task.student(), task.source_dictionary.eos()),
            trains=not task.of_checkpoint,
        )

    def forward(self, model: BaseFairseqModel, sample: dict[str, Any]) -> tuple[Tensor, Tensor | int, dict[str, Any]]:
        """The loss summed over both sequences' tokens by their weights, the sum of these, and what to log.

        In validation the loss is that of ``token_kd``, on every set: fairseq-validate loads no gate, nor the number of
        the update, and most sets have no teacher's output.
        """
        if not self.training or "distilled" not in sample:
            return super().forward(model, self._without_distilled(sample))
        targets = [sample["distilled"]] if self.on_distilled else [sample["target"], sample["distilled"]]
        asked = sample
        if self.on_distilled:  # the teacher answers about the tokens of ŷ
            _, batch_of_it = interleave(sample, targets, self.task.target_dictionary)
            asked = {**sample, **batch_of_it, "target": sample["distilled"]}
        teacher = self._answer(model, asked)
        if teacher is None:
            return super().forward(model, sample)
        # One forward about the targets of each sentence; the gate may read the encoder's states in it.
        with encoder_outputs(model) as outputs:
            answers = list(self.answers(model, sample, targets))
        token, sentence = answers[0], answers[-1]
        batch = self._gate_batch(sample, teacher, lambda: _states(outputs[0], len(targets)))
        g = self.gate.values(batch)
        loss, halves = self._losses(sentence, token, teacher, g)
        sample_size, log = self._log(sample, g, loss, halves)
        log |= gate_sums(
            g.token, batch.token_places, sample["net_input"]["src_lengths"], batch.entropy, self.gate.by_token
        )
        objective, own_log = self.gate.objective(batch, g, (sentence.student, token.student), halves)
        if objective is not None:  # its gradient alone: the loss stays that of the formula
            loss = loss + objective - objective.detach()
        return loss, sample_size, log | own_log

    def _without_distilled(self, sample: dict[str, Any]) -> dict[str, Any]:
        """The batch as a set without the teacher's output has it: with no soft targets of that output."""
        left_out = {"distilled", "soft_targets"} if self.on_distilled and "distilled" in sample else {"distilled"}
        return {name: value for name, value in sample.items() if name not in left_out}

    def _gate_batch(
        self, sample: dict[str, Any], teacher: TeacherAnswer, states: Callable[[], tuple[Tensor, Tensor]]
    ) -> GateBatch:
        return GateBatch(
            gold=sample["target"],
            distilled=sample["distilled"],
            on_distilled=self.on_distilled,
            pad=self.padding_idx,
            update=self.task.update,
            entropy=entropies(teacher, self.chunk_memory) if self.gate.depends_on_input else None,
            encoder_states=states,
        )

    def _losses(
        self, sentence: Answer, token: Answer, teacher: TeacherAnswer, g: GateValues
    ) -> tuple[Tensor, tuple[Losses, Losses]]:
        """The student's loss, and the sentence-level and the token-level loss in it."""
        if self.on_distilled and not self.gate.needs_slopes:
            # Both are on the same tokens: one pass, with g·(h·NLL + s·divergence) + (1 − g)·NLL at each.
            share, full = g.token[:, None], self.objective
            mixed = replace(full, hard_weight=1 - share * (1 - full.hard_weight), soft_weight=share * full.soft_weight)
            both = fused_loss(token.student, token.symbols, mixed, teacher, self.chunk_memory)
            return both.loss, (replace(both, objective=self.gold_alone), replace(both, objective=full))
        # The tokens of ŷ count by 1 − g, those of the token-level loss by g.
        halves = (
            fused_loss(
                sentence.student, sentence.symbols, self.gold_alone, None, self.chunk_memory, weights=1 - g.sentence
            ),
            fused_loss(token.student, token.symbols, self.objective, teacher, self.chunk_memory, weights=g.token),
        )
        return halves[0].loss + halves[1].loss, halves

    def _log(
        self, sample: dict[str, Any], g: GateValues, loss: Tensor, halves: tuple[Losses, Losses]
    ) -> tuple[Tensor | int, dict[str, Any]]:
        """The student's sample size, and its log."""
        sentence, token = halves
        # The sum of all weights, in float64: long batches would lose tokens in half precision.
        weights = (1 - g.sentence).sum(dtype=torch.float64) + g.token.sum(dtype=torch.float64)
        sample_size = self.sample_size(sample) if self.sentence_avg else weights
        gold_nll = None if self.on_distilled else token.nll_loss
        log = self.common_log(sample, sample_size, loss, gold_nll) | self.teacher_log(token)
        log |= {"sentence_nll": sentence.nll_loss, "sentence_tokens": len(g.sentence)}
        return sample_size, log | {"seen_tokens": len(g.sentence) + (0 if self.on_distilled else len(g.token))}

    def after_update(self, logging_outputs: list[dict[str, Any]]) -> None:
        """Tell the gate an update's sums over all batches and processes."""
        keys = dict.fromkeys(key for log in logging_outputs for key in log)
        sums = {key: summed(logging_outputs, key) for key in keys}
        self.gate.after_update(sums, lambda: held_out_answer(self.task, self.chunk_memory))

    def load_state_dict(self, state_dict: Mapping[str, Any] | None, *args: Any, **options: Any) -> Any:
        """As torch's; also takes the state of a learned gate that was saved when the criterion held its parts.

        Raises:
            UserError: the state is that of another kind of gate.
        """
        if state_dict is not None:
            state_dict = {
                f"gate.{name}" if name.startswith(OLD_GATE_STATE) else name: value for name, value in state_dict.items()
            }
            shapes, own = _shapes(state_dict), _shapes(self.state_dict())
            if shapes and shapes != own:
                raise UserError(
                    f"the checkpoint's gate is another one than --gate {self.gate.name} makes here; "
                    "give the --gate and --gate-level of its training, and a student of its width"
                )
        return super().load_state_dict(state_dict, *args, **options)

    @classmethod
    def reduce_metrics(cls, logging_outputs: list[dict[str, Any]]) -> None:
        """Log also the sentence_loss, per distilled token in bits, and what the gate does."""
        super().reduce_metrics(logging_outputs)
        if summed(logging_outputs, "sentence_tokens") > 0:
            # Beside fairseq's wpb, which counts the tokens of the gold target.
            metrics.log_scalar("seen_wpb", summed(logging_outputs, "seen_tokens"), priority=181, round=1)
            log_mean(logging_outputs, "sentence_nll", per="sentence_tokens", name="sentence_loss")
            log_gate(logging_outputs)
            for gate in GATES.values():
                for key, per in gate.logged.items():
                    if key in logging_outputs[0]:
                        log_mean(logging_outputs, key, per, unit=1.0, digits=4)


def _shapes(state: Mapping[str, Any]) -> dict[str, torch.Size]:
    """The shapes of a gate's weights in a criterion's state, by name."""
    return {name: value.shape for name, value in state.items() if name.startswith("gate.network.")}


def _states(output: Any, times: int) -> tuple[Tensor, Tensor]:
    """The student's encoder states, (sentences, source length, width), and the mask of real source positions.

    Each source was encoded several ``times``, once for each target, with dropout of its own: the encodings' mean.
    """
    states, real = encoder_states(output)  # (times · sentences, …): sentence i has the rows from times · i on
    return states.unflatten(0, (-1, times)).mean(dim=1), real[::times]


def _tell_fairseq() -> None:
    """Register the criterion with the options of all gates known by now, in the place of an earlier registration."""
    CRITERION_REGISTRY.pop("hybrid_kd", None)
    register_criterion("hybrid_kd", dataclass=hybrid_config())(HybridKDCriterion)


on_registration(_tell_fairseq)
