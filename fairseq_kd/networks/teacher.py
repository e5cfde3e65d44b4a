"""A frozen teacher: one checkpoint or several, never a part of the student, its criterion or its optimiser."""

import logging
from collections.abc import Sequence
from typing import Any

import torch
from fairseq.models import BaseFairseqModel
from fairseq.tasks.translation import TranslationTask
from torch import Tensor, nn

from fairseq_kd.data.databins.databin import translation_task
from fairseq_kd.data.databins.vocabulary import check_languages, check_vocabulary
from fairseq_kd.errors import UserError
from fairseq_kd.losses.chunk import NextTokens
from fairseq_kd.networks.checkpoints import build_models, read_checkpoint
from fairseq_kd.networks.distributions import next_tokens
from fairseq_kd.networks.finite import check_finite, finite_projection
from fairseq_kd.networks.parameters import count_parameters
from fairseq_kd.networks.teacher_tasks import Direction, TeacherTask
from fairseq_kd.networks.teacher_tokens import TeacherTokens, plain_tokens

logger = logging.getLogger(__name__)


class Teacher:
    """Gives next-token distributions on the student's own batches.

    It is not an ``nn.Module``. fairseq optimises, saves, halves, wraps and ``.train()``s every module it can reach from
    the model or the criterion.

    Args:
        models: in eval mode; several count as the mean of their probabilities.
        dtype: the models' dtype, whatever the student's; None follows the student.
        tokens: of each model's task; None: all take the student's batches as they are.

    Attributes:
        paths: the checkpoints, for errors.
        update: the current update of a training, for errors.
    """

    def __init__(
        self,
        models: Sequence[BaseFairseqModel],
        dtype: torch.dtype | None = None,
        tokens: Sequence[TeacherTokens | None] | None = None,
    ):
        self.models = list(models)
        self.dtype = dtype
        self.paths = "of the training"
        self.update: int | None = None
        self._checked: dict[BaseFairseqModel, bool] = {}
        self.tokens = [None if one is None or one.plain else one for one in tokens or [None] * len(self.models)]

    def follow(self, student: nn.Module) -> None:
        """Move to the student's device and dtype. It is free where nothing has changed.

        Raises:
            UserError: the teacher is to be in float16 on a CPU.
        """
        example = next(student.parameters())
        if self.dtype == torch.float16 and example.device.type == "cpu":
            raise UserError("--teacher-fp16 needs a GPU; leave it out on a CPU")
        dtype = self.dtype or example.dtype
        for model in self.models:
            own = next(model.parameters())
            if own.device != example.device or own.dtype != dtype:
                model.to(device=example.device, dtype=dtype)

    @torch.inference_mode()
    def next_tokens(self, sample: dict[str, Any], real: Tensor) -> list[NextTokens]:
        """Each model's distributions over the student's symbols, on the batch's own target prefixes.

        Args:
            sample: the batch.
            real: mask of the target tokens that count, shape (batch, length).

        Returns:
            For each model the distributions at the real tokens, row after row, on the model's device and in its dtype.
            Their features are inference tensors, which autograd does not save: use :meth:`NextTokens.logits`, or a
            clone, in a loss of your own.

        Raises:
            UserError: the batch is longer than a teacher's positions, or an answer is NaN or infinite.
        """
        answers = []
        for model, tokens in zip(self.models, self.tokens, strict=True):
            asked, mask = (sample, real) if tokens is None else tokens.batch(sample, real)
            self._check_length(sample["net_input"], self._positions(model, tokens))
            answer = next_tokens(model, asked, mask)
            if model not in self._checked:
                self._checked[model] = finite_projection(answer)
            check_finite(answer, mask, sample, self.paths, self.update, self._checked[model])
            answers.append(answer if tokens is None else tokens.kept_part(answer))
        return answers

    @property
    def plain(self) -> bool:
        """Whether every model takes the student's batches as they are."""
        return not any(self.tokens)

    def max_positions(self) -> list[int]:
        """The longest source and the longest target of the student's that every model takes."""
        most = [self._positions(model, tokens) for model, tokens in zip(self.models, self.tokens, strict=True)]
        return [min(side) for side in zip(*most, strict=True)]

    @staticmethod
    def _positions(model: BaseFairseqModel, tokens: TeacherTokens | None) -> list[int]:
        """The longest source and the longest target of the student's that a model takes."""
        more = (0, 0) if tokens is None else tokens.more
        return [int(side) - added for side, added in zip(model.max_positions(), more, strict=True)]

    @staticmethod
    def _check_length(net_input: dict[str, Tensor], positions: Sequence[int]) -> None:
        sides = (("source", net_input["src_tokens"]), ("target", net_input["prev_output_tokens"]))
        for (side, tokens), most in zip(sides, positions, strict=True):
            if tokens.size(1) > most:
                raise UserError(
                    f"a {side} sentence has {tokens.size(1)} tokens, the teacher takes at most {most}; "
                    f"train with --max-{side}-positions {most} and --skip-invalid-size-inputs-valid-test"
                )


def load_teacher(
    paths: Sequence[str],
    student: TranslationTask,
    data: str | None,
    assume_same_dictionary: bool,
    dtype: torch.dtype | None,
    role: str = "teacher",
    direction: Direction = (None, None),
) -> Teacher:
    """Load and check a teacher for the students of the task ``student``. Each file is read once.

    :func:`fairseq_kd.data.databins.vocabulary.check_vocabulary` finds its dictionaries and compares them with the
    student's. :class:`fairseq_kd.networks.teacher_tasks.TeacherTask` tells which tokens its own task adds.

    Args:
        paths: the teacher's checkpoints; several count as the mean of their probabilities.
        student: the task, whose dictionaries the teacher must have.
        data: folder with the teacher's dictionaries; None looks beside the checkpoint, then in its recorded data-bin.
        assume_same_dictionary: do not compare the dictionaries.
        dtype: as :class:`Teacher`.
        role: what errors call a checkpoint.
        direction: the languages by the teacher's names.

    Raises:
        UserError: a checkpoint is bad, its task is not served, its dictionary is not found or differs, or its direction
            is the opposite.
    """
    models, tokens = [], []
    for path in paths:
        state = read_checkpoint(path, role)
        own = TeacherTask(path, state["cfg"], student, direction, role)
        tokens.append(_tokens(own, student))
        if assume_same_dictionary:
            logger.warning("--assume-same-dictionary: the dictionaries of %s are not compared with the data's", path)
            check_languages(path, state["cfg"], student, role)
        else:
            not_found = check_vocabulary(path, state, student, role, data, own.files, own.augment)
            if not_found:
                raise UserError(
                    f"{role} {path}: {not_found}; give the teacher's data-bin with --teacher-data DIR "
                    "(or --assume-same-dictionary if you know that its dictionaries are the student's)"
                )
        # The teacher's own task: the student's would hand its eval-BLEU generator over to the teacher.
        task = translation_task("", *own.languages, tokens[-1].dictionaries)
        models += build_models([path], task, role, [state])
        models[-1].make_generation_fast_(need_attn=False)  # else every layer computes attention weights to return
        logger.info("teacher %s: %s parameters", path, f"{count_parameters(models[-1]):,}")
    teacher = Teacher(models, dtype, tokens)
    teacher.paths = ":".join(paths)
    return teacher


def _tokens(own: TeacherTask, student: TranslationTask) -> TeacherTokens:
    """The teacher's tokens; none where the student's own task puts the same ones into the batches."""
    batches = getattr(student, "conventions", None)
    if batches is None:
        return own.tokens(student.source_dictionary, student.target_dictionary)
    own.require(batches)
    return plain_tokens((student.source_dictionary, student.target_dictionary))
