"""Criterion ``pre_distill``: gold targets, the teacher's distributions and its hidden states (Shleifer & Rush 2020)."""

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from fairseq.criterions import register_criterion
from fairseq.models import BaseFairseqModel
from fairseq.models.transformer import TransformerModelBase
from fairseq.utils import has_parameters
from torch import Tensor, nn

from fairseq_kd.criterions.base import FusedConfig, FusedCriterion, log_mean, warn_of_new
from fairseq_kd.errors import UserError
from fairseq_kd.losses.chunk import Objective
from fairseq_kd.losses.divergences import kl
from fairseq_kd.losses.ranges import check_share, check_temperature, check_weight
from fairseq_kd.networks.checkpoints import model_config
from fairseq_kd.networks.distributions import real_tokens
from fairseq_kd.networks.hidden_states import (
    SIDES,
    HiddenStates,
    hidden_states,
    squared_error,
    stacks,
    transformer_config,
)
from fairseq_kd.networks.teacher_vocabulary import teacher_is_there
from fairseq_kd.storage.files import split_paths
from fairseq_kd.tasks.translation_kd import TranslationKDTask

logger = logging.getLogger(__name__)


@dataclass
class PreDistillConfig(FusedConfig):
    """Options of ``pre_distill``."""

    kd_alpha: float = field(
        default=0.8,
        metadata={
            "help": "weight alpha of the teacher's distributions; the gold target's cross-entropy gets 1 - alpha"
        },
    )
    kd_temperature: float = field(
        default=1.0,
        metadata={"help": "temperature tau of both distributions; the divergence is multiplied by tau^2"},
    )
    hidden_weight: float = field(default=3.0, metadata={"help": "weight of the hidden states' mean squared error"})
    hidden_norm: bool = field(
        default=False,
        metadata={"help": "normalise each position's hidden state, over the width, before they are compared"},
    )


@register_criterion("pre_distill", dataclass=PreDistillConfig)
class PreDistillCriterion(FusedCriterion):
    """L = (1−α)·NLL(gold) + α·Σ_t KL(p‖q)(t) + γ·T·(MSE_encoder + MSE_decoder), on gold prefixes, T target tokens.

    The direct knowledge distillation of Shleifer & Rush 2020 (arXiv 2010.13002), with the weights of their code: α 0.8,
    γ 3. At a temperature τ, 2 in their code and 1 by default, the KL is of both distributions at τ, times τ² (Hinton et
    al. 2015). A mean squared error is over a sentence's real positions and the width, and a sum over the student's
    layers, each beside the teacher layer of ``matched_layers``. With --hidden-norm each position's state is brought to
    mean 0 and variance 1 before. (Wen et al.'s code does so over a whole batch, padding included.)

    If the widths differ, each side has a linear map without bias from the student's width to the teacher's (Jiao et al.
    2020, TinyBERT's hidden-state loss). The maps are trained and saved with the criterion and are no part of the
    student.

    Raises:
        UserError: an option out of its range, a task without a teacher, several teachers or soft targets alone, a model
            that is no Transformer, or a student of more layers than its teacher.
    """

    needs_teacher = "pre_distill"

    def __init__(self, cfg: PreDistillConfig, task: TranslationKDTask):
        super().__init__(task, cfg.label_smoothing, cfg.chunk_memory, cfg.sentence_avg)
        if task.cfg.teacher_cache:
            raise UserError(
                "--criterion pre_distill needs the teacher's hidden states, which a cache does not hold: "
                "give --teacher-path"
            )
        check_share("--kd-alpha", cfg.kd_alpha)
        check_weight("--hidden-weight", cfg.hidden_weight)
        check_temperature("--kd-temperature", cfg.kd_temperature)
        self.hidden_weight, self.hidden_norm = cfg.hidden_weight, cfg.hidden_norm
        self.gold_alone = Objective(label_smoothing=cfg.label_smoothing)
        soft = cfg.kd_alpha * cfg.kd_temperature**2
        self.objective = Objective(1 - cfg.kd_alpha, cfg.label_smoothing, soft, kl, cfg.kd_temperature)
        self.to_teacher = nn.ModuleDict(_linear_maps(task))
        # fairseq-validate and its kind load the student alone.
        self.has_maps = not (task.of_checkpoint and has_parameters(self.to_teacher))
        if not self.has_maps:
            logger.warning(
                "fairseq loads no linear maps where it validates a checkpoint: the loss is without the hidden states"
            )

    def forward(self, model: BaseFairseqModel, sample: dict[str, Any]) -> tuple[Tensor, int, dict[str, Any]]:
        """The loss summed over the batch's real target tokens (a scalar, in nats), the sample size, and what to log."""
        teacher = self.task.teacher(model)
        if teacher is None:
            losses, sample_size, log = self.losses(model, sample, self.gold_alone)
            return losses.loss, sample_size, log
        if not teacher.plain:
            raise UserError(
                "--criterion pre_distill compares positions one by one; the teacher's task adds language tokens, and "
                "so positions: give --criterion token_kd"
            )
        with hidden_states(teacher.models[0]) as wanted:
            answer = teacher.next_tokens(sample, real_tokens(sample["target"], self.padding_idx))
        with hidden_states(model) as own:
            losses, sample_size, log = self.losses(model, sample, self.objective, answer)
        log |= {"kl": losses.soft_loss, "kd_ntokens": sample["ntokens"]}
        if not self.has_maps:
            return losses.loss, sample_size, log
        encoder, decoder = self._squared_errors(own, wanted, sample)
        loss = losses.loss + self.hidden_weight * (encoder + decoder)
        return loss, sample_size, log | {"loss": loss.data, "encoder_mse": encoder.data, "decoder_mse": decoder.data}

    def _squared_errors(self, own: HiddenStates, wanted: HiddenStates, sample: dict[str, Any]) -> list[Tensor]:
        """Of encoder and decoder, a sum over target tokens: of a sentence's source positions each gets the mean.

        So a batch's sum is that of its sentences, however they are cut into batches, and long sources weigh no more.
        """
        source = real_tokens(sample["net_input"]["src_tokens"], self.task.source_dictionary.pad()).float()
        target = real_tokens(sample["target"], self.padding_idx).float()
        tokens = target.sum(dim=1, keepdim=True)
        weights = {"encoder": source * tokens / source.sum(dim=1, keepdim=True), "decoder": target}
        return [
            squared_error(
                getattr(own, side), getattr(wanted, side), weights[side], self.to_teacher[side], self.hidden_norm
            )
            for side in SIDES
        ]

    def load_state_dict(self, state_dict: Mapping[str, Any] | None, *args: Any, **options: Any) -> Any:
        """As the base's; a map between other widths, of another student or teacher, changes nothing either."""
        own, given = self.state_dict(), state_dict or {}
        fits = {name: given[name] for name in own.keys() & given.keys() if given[name].shape == own[name].shape}
        new = own.keys() - fits.keys()
        if given and new:
            warn_of_new(new)
        return super().load_state_dict({**own, **fits}, *args, **options)

    @classmethod
    def reduce_metrics(cls, logging_outputs: list[dict[str, Any]]) -> None:
        """Log also the kl, per token in bits, and both sides' mean squared errors, each summed over its layers."""
        super().reduce_metrics(logging_outputs)
        log_mean(logging_outputs, "kl", per="kd_ntokens")
        if any("encoder_mse" in log for log in logging_outputs):
            for name in ("encoder_mse", "decoder_mse"):
                log_mean(logging_outputs, name, per="kd_ntokens", unit=1.0, digits=4)


def _linear_maps(task: TranslationKDTask) -> dict[str, nn.Module]:
    """For each side a map from the student's width to the teacher's: linear where they differ.

    fairseq builds the optimiser before the teacher is loaded: the widths come from what its checkpoint recorded. Where
    there is no teacher a checkpoint can still be validated, on the gold targets alone.

    Raises:
        UserError: the teacher of a training is missing, or its hidden states cannot be matched.
    """
    student_model = task.student()
    if not isinstance(student_model, TransformerModelBase):
        raise UserError("--arch is no Transformer: --criterion pre_distill matches the hidden states of Transformers")
    paths = split_paths(task.cfg.teacher_path or "")
    if len(paths) > 1:
        raise UserError(f"--teacher-path has {len(paths)} checkpoints: pre_distill learns from one's hidden states")
    if not paths or (task.of_checkpoint and not teacher_is_there(task)):
        return {side: nn.Identity() for side in SIDES}
    teacher_config = transformer_config(model_config(paths[0], "teacher"))
    if teacher_config is None:
        raise UserError(f"teacher {paths[0]}: no Transformer, whose hidden states --criterion pre_distill needs")
    students, teachers = stacks(student_model.cfg), stacks(teacher_config)
    maps: dict[str, nn.Module] = {}
    for side in SIDES:
        student, teacher = students[side], teachers[side]
        if student.layers > teacher.layers:
            raise UserError(
                f"--{side}-layers {student.layers}: --criterion pre_distill matches each layer with one of the "
                f"teacher's, which has {teacher.layers}"
            )
        same = student.width == teacher.width
        maps[side] = nn.Identity() if same else nn.Linear(student.width, teacher.width, bias=False)
    return maps
