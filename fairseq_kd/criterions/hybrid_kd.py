"""Criterion ``hybrid_kd``: a gate between sentence-level and token-level distillation (Wei et al. 2024)."""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from fairseq.criterions import CRITERION_REGISTRY, register_criterion
from fairseq.logging import metrics
from fairseq.models import BaseFairseqModel
from torch import Tensor

from fairseq_kd.criterions.base import log_mean, summed
from fairseq_kd.criterions.gate_log import gate_sums, log_gate
from fairseq_kd.criterions.hybrid_options import HybridKDConfig, hybrid_config
from fairseq_kd.criterions.interleave import Answer
from fairseq_kd.criterions.token_kd import TokenKDCriterion
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
    """L(x) = g(x)·L_sentence(x) + (1−g(x))·L_token(x), as the mean over tokens by their weights.

    L_sentence is the NLL of the teacher's output ŷ, L_token the loss of ``token_kd`` on the gold target y. A token of
    ŷ weighs g(x), one of y weighs 1 − g(x), and the sample size is the sum of these weights. With g = 0 loss, gradient
    and sample size are those of ``token_kd``; with g = 1 they are those of ``fused_cross_entropy`` on the distilled
    data.

    The gate, a :class:`fairseq_kd.gates.registry.Gate`, gives g. The student learns with the gate's values as they are:
    the student's loss sends no gradient into the gate. A gate that learns adds an objective of its own.

    Raises:
        UserError: an option is out of its range, there is no distilled data, or the task has no teacher.
    """

    needs_teacher = "hybrid_kd"
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
        self.gate = build_gate(
            str(cfg.gate),
            cfg,
            by_token=str(cfg.gate_level) == "token",
            encoder_width=lambda: encoder_width(task.student(), task.source_dictionary.eos()),
        )

    def forward(self, model: BaseFairseqModel, sample: dict[str, Any]) -> tuple[Tensor, Tensor | int, dict[str, Any]]:
        """The loss summed over both sequences' tokens by their weights, the sum of these, and what to log.

        A validation set has no teacher's output. There the loss is that of ``token_kd``.
        """
        teacher = self._answer(model, sample) if "distilled" in sample else None
        if teacher is None:
            return super().forward(model, sample)
        # One forward about both targets of each sentence; the gate may read the encoder's states in it.
        with encoder_outputs(model) as outputs:
            gold, distilled = self.answers(model, sample, [sample["target"], sample["distilled"]])
        batch = self._gate_batch(sample, teacher, lambda: _states(outputs[0]))
        g = self.gate.values(batch)
        # Distilled tokens count by g, gold tokens by 1 − g: (distilled tokens,), (gold tokens,).
        sentence = self._loss(distilled, self.gold_alone, None, g.distilled)
        token = self._loss(gold, self.objective, teacher, 1 - g.gold)
        loss, sample_size, log = self._weighted(sample, g, sentence, token)
        log |= gate_sums(
            g.gold, batch.gold_places, sample["net_input"]["src_lengths"], batch.entropy, self.gate.by_token
        )
        students = (distilled.student, gold.student)
        objective, own_log = self.gate.objective(batch, g, students, (sentence, token))
        return loss if objective is None else loss + objective, sample_size, log | own_log

    def _gate_batch(
        self, sample: dict[str, Any], teacher: TeacherAnswer, states: Callable[[], tuple[Tensor, Tensor]]
    ) -> GateBatch:
        return GateBatch(
            gold=sample["target"],
            distilled=sample["distilled"],
            pad=self.padding_idx,
            update=self.task.update,
            entropy=entropies(teacher, self.chunk_memory) if self.gate.depends_on_input else None,
            encoder_states=states,
            counts=self.training and not self.task.ignored,
            chunk_memory=self.chunk_memory,
        )

    def _loss(self, answer: Answer, objective: Any, teacher: TeacherAnswer | None, weights: Tensor) -> Losses:
        return fused_loss(answer.student, answer.symbols, objective, teacher, self.chunk_memory, weights)

    def _weighted(
        self, sample: dict[str, Any], g: GateValues, sentence: Losses, token: Losses
    ) -> tuple[Tensor, Tensor | int, dict[str, Any]]:
        """The student's loss, its sample size, and its log."""
        loss = sentence.loss + token.loss
        # The sum of all weights, in float64: long batches would lose tokens in half precision.
        weights = g.distilled.sum(dtype=torch.float64) + (1 - g.gold).sum(dtype=torch.float64)
        sample_size = self.sample_size(sample) if self.sentence_avg else weights
        log = self.common_log(sample, sample_size, loss, token.nll_loss) | self.teacher_log(sample, token)
        return loss, sample_size, log | {"sentence_nll": sentence.nll_loss, "sentence_tokens": len(g.distilled)}

    def after_update(self, logging_outputs: list[dict[str, Any]]) -> None:
        """Tell the gate an update's sums over all batches and processes."""
        keys = dict.fromkeys(key for log in logging_outputs for key in log)
        self.gate.after_update({key: summed(logging_outputs, key) for key in keys})

    def load_state_dict(self, state_dict: Mapping[str, Any] | None, *args: Any, **options: Any) -> Any:
        """As torch's; also takes the state of a learned gate that was saved when the criterion held its parts."""
        if state_dict is not None:
            state_dict = {
                f"gate.{name}" if name.startswith(OLD_GATE_STATE) else name: value for name, value in state_dict.items()
            }
        return super().load_state_dict(state_dict, *args, **options)

    @classmethod
    def reduce_metrics(cls, logging_outputs: list[dict[str, Any]]) -> None:
        """Log also the sentence_loss, per distilled token in bits, and what the gate does."""
        super().reduce_metrics(logging_outputs)
        distilled_tokens = summed(logging_outputs, "sentence_tokens")
        if distilled_tokens > 0:
            # Beside fairseq's wpb, which counts the tokens of the gold target.
            metrics.log_scalar("distilled_wpb", distilled_tokens, priority=181, round=1)
            log_mean(logging_outputs, "sentence_nll", per="sentence_tokens", name="sentence_loss")
            log_gate(logging_outputs)
            for gate in GATES.values():
                for key, per in gate.logged.items():
                    if key in logging_outputs[0]:
                        log_mean(logging_outputs, key, per, unit=1.0, digits=4)


def _states(output: Any) -> tuple[Tensor, Tensor]:
    """The student's encoder states, (sentences, source length, width), and the mask of real source positions.

    Each source was encoded twice, once for either target, with dropout of its own: the two encodings' mean.
    """
    states, real = encoder_states(output)  # (2 · sentences, …): rows 2i and 2i + 1 are sentence i
    return (states[::2] + states[1::2]) / 2, real[::2]


def _tell_fairseq() -> None:
    """Register the criterion with the options of all gates known by now, in the place of an earlier registration."""
    CRITERION_REGISTRY.pop("hybrid_kd", None)
    register_criterion("hybrid_kd", dataclass=hybrid_config())(HybridKDCriterion)


on_registration(_tell_fairseq)
