"""Task ``translation_kd``: fairseq's ``translation`` with a frozen teacher."""

import logging
import weakref
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Optional

import torch
from fairseq.criterions import FairseqCriterion
from fairseq.data import FairseqDataset
from fairseq.data.iterators import EpochBatchIterator
from fairseq.dataclass import ChoiceEnum
from fairseq.models import BaseFairseqModel
from fairseq.tasks import register_task
from fairseq.tasks.translation import TranslationConfig, TranslationTask
from fairseq.utils import split_paths as split_data
from omegaconf import II
from torch import nn

from fairseq_kd.data.cached_dataset import add_soft_targets
from fairseq_kd.data.distilled import DistilledDataset, add_distilled
from fairseq_kd.data.soft_targets import read_manifest, splits
from fairseq_kd.data.teacher_text_dataset import add_teacher_text
from fairseq_kd.errors import UserError
from fairseq_kd.networks.teacher import Teacher, load_teacher
from fairseq_kd.networks.teacher_vocabulary import task_of_teacher, teacher_is_there
from fairseq_kd.storage.files import split_paths
from fairseq_kd.tasks.keep_zeros import PrunedWeights
from fairseq_kd.tasks.validation_batches import ValidationBatches

logger = logging.getLogger(__name__)


@dataclass
class TranslationKDConfig(TranslationConfig):
    """The options of fairseq's ``translation``, and the teacher's."""

    teacher_path: Optional[str] = field(  # noqa: UP045 (fairseq reads the annotation)
        default=None,
        metadata={"help": "the teacher's checkpoint; with several, joined by ':', the mean of their probabilities"},
    )
    teacher_data: Optional[str] = field(  # noqa: UP045
        default=None,
        metadata={
            "help": "folder with the teacher's dict.*.txt (default: the checkpoint's folder, else the data-bin that "
            "the checkpoint names)"
        },
    )
    assume_same_dictionary: bool = field(
        default=False, metadata={"help": "do not compare the teacher's dictionaries with the student's"}
    )
    teacher_spm: Optional[str] = field(  # noqa: UP045
        default=None,
        metadata={
            "help": "sentencepiece model of a teacher with other subwords than the student's; SOURCE:TARGET for two "
            "models (for --teacher-vocabulary of token_kd)"
        },
    )
    student_post_process: ChoiceEnum(("sentencepiece", "none")) = field(  # type: ignore[valid-type]
        default="sentencepiece",
        metadata={"help": "the student's subwords, joined to text for --teacher-spm: sentencepiece's, or none: words"},
    )
    teacher_fp16: bool = field(
        default=False, metadata={"help": "load the teacher in float16; needs a GPU (default: the student's dtype)"}
    )
    teacher_bf16: bool = field(
        default=False, metadata={"help": "load the teacher in bfloat16; faster on hardware that multiplies bfloat16"}
    )
    teacher_cache: Optional[str] = field(  # noqa: UP045
        default=None,
        metadata={"help": "folder that fairseq-kd cache wrote: train on its soft targets and load no teacher"},
    )
    distilled_data: Optional[str] = field(  # noqa: UP045
        default=None,
        metadata={"help": "data-bin with the same sources, row by row, and the teacher's output as targets"},
    )
    keep_zeros: bool = field(
        default=False,
        metadata={"help": "keep those weights at zero that are zero at the start, as in a pruned checkpoint"},
    )

    valid_subset: str = II("dataset.valid_subset")


@register_task("translation_kd", dataclass=TranslationKDConfig)
class TranslationKDTask(TranslationTask):
    """Trains, validates and generates as ``translation`` does. Criterions ask it for the teacher.

    The first such call loads the teacher, so that a student's checkpoint generates where no teacher exists.
    """

    cfg: TranslationKDConfig
    _teacher: Teacher | None = None
    _teacher_task: TranslationTask | None = None
    _missed = False
    _pruned: PrunedWeights | None = None
    update = 0
    """The current update, counted over all runs of a training. Random draws depend on it."""
    train_iterator: EpochBatchIterator
    """The training set's iterator; it knows the batches to come in this epoch."""
    soft_targets_of_distilled = False
    """Whether --teacher-cache has the training split of --distilled-data, and not that of the gold data."""
    _validation: ValidationBatches | None = None
    _student: Callable[[], BaseFairseqModel | None] = staticmethod(lambda: None)

    def build_model(self, cfg: Any, from_checkpoint: bool = False) -> BaseFairseqModel:
        """As ``translation``. The task remembers the model for :meth:`student`."""
        model = super().build_model(cfg, from_checkpoint)
        self._student = weakref.ref(model)
        return model

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

        None with --teacher-cache. None also where the student is validated and the teacher's file is missing.

        Raises:
            UserError: no --teacher-path, or the teacher is missing, damaged, or has another vocabulary.
        """
        if self.cfg.teacher_cache:
            return None
        if self._teacher is None:
            paths = split_paths(self.cfg.teacher_path or "")
            if not student.training and paths and not teacher_is_there(self):
                if not self._missed:
                    logger.warning(
                        "no teacher at %s: validating the gold part of the loss alone", self.cfg.teacher_path
                    )
                self._missed = True
                return None
            if not paths:
                raise UserError("this criterion needs a teacher: give its checkpoint with --teacher-path CKPT")
            cfg = self.cfg
            if cfg.teacher_fp16 and cfg.teacher_bf16:
                raise UserError("--teacher-fp16 and --teacher-bf16 exclude each other: give one")
            dtype = torch.float16 if cfg.teacher_fp16 else torch.bfloat16 if cfg.teacher_bf16 else None
            # Building a model draws its initial weights: the student's dropout must not depend on when that was.
            with torch.random.fork_rng(devices=[]):
                task = self.teacher_task()
                self._teacher = load_teacher(paths, task, cfg.teacher_data, cfg.assume_same_dictionary, dtype)
        self._teacher.follow(student)
        return self._teacher

    def teacher_task(self) -> TranslationTask:
        """The task with the teacher's dictionaries: this one, or with --teacher-spm that of :func:`task_of_teacher`."""
        if self._teacher_task is None:
            self._teacher_task = task_of_teacher(self) if self.cfg.teacher_spm else self
        return self._teacher_task

    def cache_settings(self) -> dict[str, Any] | None:
        """The manifest of --teacher-cache: "top_k", "temperature" and more.

        None without --teacher-cache, or where its folder is empty or missing: a student is validated without it.
        """
        directory = Path(self.cfg.teacher_cache or "")
        found = splits(directory) if self.cfg.teacher_cache else []
        return read_manifest(directory, found[0]) if found else None

    def load_dataset(self, split: str, epoch: int = 1, combine: bool = False, **options: Any) -> None:
        """Load a split as ``translation`` does. Soft targets and distilled targets are added to its batches.

        Raises:
            UserError: --teacher-cache or --distilled-data lacks the training split, or their content for this split
                is unfinished or belongs to other data.
        """
        super().load_dataset(split, epoch=epoch, combine=combine, **options)
        if self.cfg.distilled_data:
            self.datasets[split] = add_distilled(self, split)
        if self.cfg.teacher_cache:
            loaded, data = self.datasets[split], split_data(self.cfg.data)
            if self.soft_targets_of_distilled and isinstance(loaded, DistilledDataset):
                loaded, data = loaded.distilled, [self.cfg.distilled_data]
            self.datasets[split] = add_soft_targets(self, split, loaded, data)

        if self.cfg.teacher_spm and (split == self.cfg.train_subset or teacher_is_there(self)):
            self.datasets[split] = add_teacher_text(self, split, self.teacher_task())

    def validation_batch(self) -> dict[str, Any]:
        """A batch of the first validation set: one for each update, again from the first when all have come.

        Raises:
            UserError: there is no such set, or none of its rows fits the model.
        """
        if self._validation is None:
            self._validation = ValidationBatches(self, self.cfg.valid_subset.split(",")[0], self.student())
        return self._validation.of(self.update)

    def train_step(
        self, sample: Any, model: Any, criterion: Any, optimizer: Any, update_num: int, ignore_grad: bool = False
    ) -> Any:
        """As ``translation``. Criterions can read the update's number."""
        self.update = update_num
        return super().train_step(sample, model, criterion, optimizer, update_num, ignore_grad)

    def begin_epoch(self, epoch: int, model: Any) -> None:
        """As ``translation``. With --keep-zeros the first call remembers which weights of the loaded model are zero.

        Raises:
            UserError: --keep-zeros is given, and no weight is zero.
        """
        super().begin_epoch(epoch, model)
        if self.cfg.keep_zeros and self._pruned is None:
            self._pruned = PrunedWeights(model)

    def optimizer_step(self, optimizer: Any, model: Any, update_num: int) -> None:
        """As ``translation``. With --keep-zeros the pruned weights are then set to zero again."""
        super().optimizer_step(optimizer, model, update_num)
        if self._pruned is not None:
            self._pruned.reset(optimizer)

    def reduce_metrics(self, logging_outputs: list[dict[str, Any]], criterion: FairseqCriterion) -> None:
        """As ``translation``. At the end of an update a criterion with an ``after_update`` gets the logged sums.

        The sums are over all batches and processes, and every process calls this.
        """
        super().reduce_metrics(logging_outputs, criterion)
        after_update = getattr(criterion, "after_update", None)
        if criterion.training and after_update is not None:
            after_update(logging_outputs)

    def get_batch_iterator(
        self, dataset: FairseqDataset, *args: Any, epoch: int = 1, **options: Any
    ) -> EpochBatchIterator:
        """The batches of ``translation``, but a resumed run has the same ones as an unbroken run.

        fairseq draws the batches once per process and keeps them over all epochs. Its seed depends on the epoch in
        which the process began. Here that is always epoch 1. The order of the batches still changes with each epoch.
        """
        kept = self.dataset_to_epoch_iter.get(dataset)
        iterator = super().get_batch_iterator(dataset, *args, epoch=1, **options)
        if iterator is not kept:
            iterator.epoch = epoch
            dataset.set_epoch(epoch)
        if dataset is self.datasets.get(self.cfg.train_subset):
            self.train_iterator = iterator
        return iterator
