"""The teacher's side of a task: what criterions ask a task for, whatever its data."""

import logging
import weakref
from collections.abc import Callable
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any

import torch
from fairseq.criterions import FairseqCriterion
from fairseq.data import FairseqDataset
from fairseq.data.iterators import EpochBatchIterator
from fairseq.models import BaseFairseqModel
from fairseq.tasks import FairseqTask
from torch import nn

from fairseq_kd.errors import UserError
from fairseq_kd.networks.guarded_build import without_side_effects
from fairseq_kd.networks.parameters import clear_unset_buffers, freeze_embeddings
from fairseq_kd.networks.second_copies import keep_one_copy
from fairseq_kd.networks.teacher import Teacher, load_teacher
from fairseq_kd.networks.teacher_vocabulary import teacher_is_there, teacher_paths
from fairseq_kd.tasks.best_metric import refuse_unlogged
from fairseq_kd.tasks.early_stopping import keep_count, validations_without_gain
from fairseq_kd.tasks.keep_zeros import PrunedWeights
from fairseq_kd.tasks.option_mistakes import refuse_options

logger = logging.getLogger(__name__)

OF_A_TEACHER = ("teacher_path", "teacher_cache", "teacher_spm")
"""Options that give a teacher, or tell how it cuts text."""
_Task: Any = FairseqTask if TYPE_CHECKING else object


class WithTeacher(_Task):
    """Mixed into a task of fairseq's, it keeps a frozen teacher for the criterions. It comes before the task's class.

    The first call of :meth:`teacher` loads the teacher, so that a student's checkpoint generates where no teacher
    exists. ``self.cfg`` has the fields of :class:`fairseq_kd.tasks.teacher_options.TeacherOptions`.
    """

    cfg: Any
    conventions: dict[str, Any] | None = None
    """The language tokens that the task itself puts into its batches; None: none. The teacher must have the same."""
    _teacher: Teacher | None = None
    _missed = False
    _pruned: PrunedWeights | None = None
    train_iterator: EpochBatchIterator
    """The training set's iterator; it knows the batches to come in this epoch."""
    _iterated: EpochBatchIterator | None = None
    """What :meth:`get_batch_iterator` gave last; in a validation the iterator of its set."""
    of_checkpoint = False
    """Whether the model is of a checkpoint that fairseq has loaded to validate or generate, and no training."""
    update = 0
    """The current update, counted over all runs of a training. Random draws depend on it."""
    _student: Callable[[], BaseFairseqModel | None] = staticmethod(lambda: None)

    def build_model(self, cfg: Any, from_checkpoint: bool = False) -> BaseFairseqModel:
        """As the task of fairseq. The task remembers the model for :meth:`student`. A checkpoint's text is not run.

        Raises:
            UserError: an option of a training is one of :func:`fairseq_kd.tasks.option_mistakes.refuse_options`.
        """
        if not from_checkpoint:
            refuse_options(self.cfg)
        with without_side_effects() if from_checkpoint else nullcontext():
            model = super().build_model(cfg, from_checkpoint)
        self.of_checkpoint = from_checkpoint
        keep_one_copy(model)
        clear_unset_buffers(model)
        if getattr(self.cfg, "freeze_embeddings", False):  # checkpoints of earlier versions do not record it
            freeze_embeddings(model)
        self._student = weakref.ref(model)
        return model

    def build_criterion(self, cfg: Any, *args: Any, **options: Any) -> FairseqCriterion:
        """As the task of fairseq.

        Raises:
            UserError: a training is given a teacher, which the criterion, fairseq's or the plugin's, never asks.
        """
        criterion: FairseqCriterion = super().build_criterion(cfg, *args, **options)
        given = next((name for name in OF_A_TEACHER if getattr(self.cfg, name, None)), None)
        if given and not self.of_checkpoint and not _may_ask_a_teacher(criterion):
            raise UserError(
                f"--criterion {criterion_name(cfg, criterion)} learns from no teacher: leave out "
                f"--{given.replace('_', '-')}, or give --criterion token_kd"
            )
        return criterion

    def student(self) -> BaseFairseqModel:
        """The model that was built last. fairseq builds a criterion after the model, but does not hand the model over.

        Raises:
            ValueError: no model was built.
        """
        model = self._student()
        if model is None:
            raise ValueError("the task has built no model")
        return model

    def teacher(self, student: nn.Module) -> Teacher | None:
        """The teacher, on the device and in the dtype of ``student``.

        None where the student is validated and the teacher's file is missing.

        Raises:
            UserError: no --teacher-path, or the teacher is missing, damaged, or has another vocabulary.
        """
        if self._teacher is None:
            paths = teacher_paths(self)
            if not student.training and not teacher_is_there(self):
                if not self._missed:
                    logger.warning(
                        "no teacher at %s: validating the gold part of the loss alone", self.cfg.teacher_path
                    )
                self._missed = True
                return None
            cfg = self.cfg
            if cfg.teacher_fp16 and cfg.teacher_bf16:
                raise UserError("--teacher-fp16 and --teacher-bf16 exclude each other: give one")
            dtype = torch.float16 if cfg.teacher_fp16 else torch.bfloat16 if cfg.teacher_bf16 else None
            named = (getattr(cfg, "teacher_source_lang", None), getattr(cfg, "teacher_target_lang", None))
            data, unchecked = cfg.teacher_data, cfg.assume_same_dictionary
            # Building a model draws its initial weights: the student's dropout must not depend on when that was.
            with torch.random.fork_rng(devices=[]):
                self._teacher = load_teacher(paths, self.teacher_task(), data, unchecked, dtype, direction=named)
        self._teacher.update = self.update if student.training else None
        self._teacher.follow(student)
        return self._teacher

    def teacher_task(self) -> Any:
        """The task with the teacher's dictionaries: this one."""
        return self

    def cache_settings(self) -> dict[str, Any] | None:
        """The manifest of the soft targets that the task reads in the teacher's place; None where it reads none."""
        return None

    def train_step(
        self, sample: Any, model: Any, criterion: Any, optimizer: Any, update_num: int, ignore_grad: bool = False
    ) -> Any:
        """As the task of fairseq. Criterions can read the update's number."""
        self.update = update_num
        return super().train_step(sample, model, criterion, optimizer, update_num, ignore_grad)

    def get_batch_iterator(self, dataset: FairseqDataset, *args: Any, **options: Any) -> EpochBatchIterator:
        """As the task of fairseq. The iterator's state, which checkpoints hold, has the count of --patience."""
        iterator: EpochBatchIterator = super().get_batch_iterator(dataset, *args, **options)
        if getattr(self.cfg, "curriculum", 0):
            # The loader that fairseq-fixed keeps over the epochs would never begin to shuffle.
            iterator.reuse_dataloader = False
        names = ("best_checkpoint_metric", "maximize_best_checkpoint_metric")
        keep_count(iterator, [getattr(self.cfg, name, None) for name in names])
        self._iterated = iterator
        if dataset is self.datasets.get(self.cfg.train_subset):
            self.train_iterator = iterator
        return iterator

    def split_of(self, dataset: Any) -> str:
        """The name of the split that a dataset was loaded for, as errors call it."""
        return next((name for name, loaded in self.datasets.items() if loaded is dataset), "a set")

    def begin_epoch(self, epoch: int, model: Any) -> None:
        """As the task of fairseq. With --keep-zeros the first call remembers which of the loaded weights are zero.

        Raises:
            SystemExit: of status 0, where a training is resumed that --patience had ended.
            UserError: --keep-zeros is given, and no weight is zero. Or --skip-remainder-batch leaves no update.
        """
        super().begin_epoch(epoch, model)
        iterator = getattr(self, "train_iterator", None)
        if iterator is not None and iterator.end_of_epoch():
            raise UserError(
                f"--skip-remainder-batch leaves no update in epoch {epoch} (batches of a process: {len(iterator)}); "
                "leave out the option, or give a smaller --max-tokens or --update-freq"
            )
        if 0 < getattr(self.cfg, "patience", 0) <= validations_without_gain():
            logger.info("the training had ended: validation was no better for --patience %d", self.cfg.patience)
            raise SystemExit(0)
        if self.cfg.keep_zeros and self._pruned is None:
            self._pruned = PrunedWeights(model)

    def optimizer_step(self, optimizer: Any, model: Any, update_num: int) -> None:
        """As the task of fairseq. With --keep-zeros the pruned weights are then set to zero again."""
        super().optimizer_step(optimizer, model, update_num)
        if self._pruned is not None:
            self._pruned.reset(optimizer)

    def reduce_metrics(self, logging_outputs: list[dict[str, Any]], criterion: FairseqCriterion) -> None:
        """As the task of fairseq. At the end of an update a criterion with an ``after_update`` gets the logged sums.

        The sums are over all batches and processes, and every process calls this.

        Raises:
            UserError: a validation of a training ends without the figure of --best-checkpoint-metric.
        """
        super().reduce_metrics(logging_outputs, criterion)
        metric = getattr(self.cfg, "best_checkpoint_metric", None)
        if metric and self._iterated is not None and not (criterion.training or self.of_checkpoint):
            refuse_unlogged(metric, self._iterated, self.split_of(self._iterated.dataset))
        after_update = getattr(criterion, "after_update", None)
        if criterion.training and after_update is not None:
            after_update(logging_outputs)


def criterion_name(cfg: Any, criterion: FairseqCriterion) -> str:
    """The criterion's name on the command line, from its options."""
    return getattr(cfg, "_name", None) or type(criterion).__name__


def _may_ask_a_teacher(criterion: FairseqCriterion) -> bool:
    """Whether the criterion may ask the task for its teacher. One of the user's own, of which nothing is known, may."""
    package = type(criterion).__module__.split(".")[0]
    return package not in ("fairseq", "fairseq_kd") or bool(getattr(criterion, "needs_teacher", ""))
