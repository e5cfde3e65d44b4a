"""Task ``translation_kd``: fairseq's ``translation`` with a frozen teacher."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from fairseq import utils
from fairseq.criterions import FairseqCriterion
from fairseq.data import FairseqDataset
from fairseq.data.iterators import EpochBatchIterator
from fairseq.tasks import register_task
from fairseq.tasks.translation import TranslationConfig, TranslationTask
from fairseq.utils import split_paths as split_data
from omegaconf import II
from torch import nn

from fairseq_kd.data.cached_dataset import CachedDataset, add_soft_targets
from fairseq_kd.data.databins.checksums import check_databin
from fairseq_kd.data.databins.databin import mapped, open_dictionaries
from fairseq_kd.data.databins.files import choose_pair, file_names, first_folder, pairs_in
from fairseq_kd.data.databins.indexes import refuse_unreadable
from fairseq_kd.data.databins.lists import beside, require_folders
from fairseq_kd.data.databins.symbol_numbers import check_symbols
from fairseq_kd.data.distilled import DistilledDataset, add_distilled
from fairseq_kd.data.soft_targets import read_manifest, refuse_unlike, splits
from fairseq_kd.data.teacher_text_dataset import add_teacher_text
from fairseq_kd.errors import UserError
from fairseq_kd.networks.teacher import Teacher
from fairseq_kd.networks.teacher_vocabulary import task_of_teacher, teacher_is_there
from fairseq_kd.tasks.databin_mistakes import (
    check_dictionaries,
    check_loaded,
    check_upsampling,
    explain_split,
    explained_by,
    refuse_large,
    refuse_long,
    tell_lost_rows,
)
from fairseq_kd.tasks.teacher_options import TranslationTeacherOptions
from fairseq_kd.tasks.validation_batches import ValidationBatches
from fairseq_kd.tasks.validation_bleu import ValidationBLEU
from fairseq_kd.tasks.with_teacher import WithTeacher, criterion_name


@dataclass
class TranslationKDConfig(TranslationTeacherOptions, TranslationConfig):
    """The options of fairseq's ``translation``, and the teacher's."""

    valid_subset: str = II("dataset.valid_subset")
    patience: int = II("checkpoint.patience")
    best_checkpoint_metric: str = II("checkpoint.best_checkpoint_metric")
    maximize_best_checkpoint_metric: bool = II("checkpoint.maximize_best_checkpoint_metric")
    curriculum: int = II("dataset.curriculum")
    cpu: bool = II("common.cpu")
    fp16: bool = II("common.fp16")
    bf16: bool = II("common.bf16")
    memory_efficient_fp16: bool = II("common.memory_efficient_fp16")
    tpu: bool = II("common.tpu")
    restore_file: str = II("checkpoint.restore_file")
    save_dir: str = II("checkpoint.save_dir")


@register_task("translation_kd", dataclass=TranslationKDConfig)
class TranslationKDTask(WithTeacher, ValidationBLEU, TranslationTask):
    """Trains, validates and generates as ``translation`` does. Criterions ask it for the teacher.

    The first such call loads the teacher, so that a student's checkpoint generates where no teacher exists.
    """

    cfg: TranslationKDConfig
    _teacher_task: TranslationTask | None = None
    soft_targets_of_distilled = False
    """Whether --teacher-cache has the training split of --distilled-data, and not that of the gold data."""
    _validation: ValidationBatches | None = None

    @classmethod
    def setup_task(cls, cfg: TranslationKDConfig, **options: Any) -> "TranslationKDTask":
        """As ``translation`` does.

        Raises:
            UserError: a folder, its language pair or a dictionary is missing or damaged, or dictionaries differ.
        """
        require_folders(cfg.data)
        if not (cfg.source_lang and cfg.target_lang) and pairs_in(first_folder(cfg.data)):
            # fairseq ignores one language without the other, and takes any of several pairs. Raw text it finds itself.
            cfg.source_lang, cfg.target_lang = choose_pair(cfg.data, (cfg.source_lang, cfg.target_lang))
        with explained_by(lambda: open_dictionaries(cfg.data, (cfg.source_lang, cfg.target_lang))):
            task: TranslationKDTask = super().setup_task(cfg, **options)
        check_dictionaries(task, [Path(path) for path in split_data(cfg.data)])
        return task

    def teacher(self, student: nn.Module) -> Teacher | None:
        """As :meth:`WithTeacher.teacher`; None with --teacher-cache."""
        if self.cfg.teacher_cache:
            return None
        teacher = super().teacher(student)
        if teacher is not None and self.cfg.teacher_spm and not teacher.plain:
            raise UserError(
                "--teacher-spm: a teacher with language tokens needs the student's vocabulary; leave out the option, "
                "or train on its translations (scripts/generate_distilled_corpus.sh --student-spm)"
            )
        return teacher

    def build_criterion(self, cfg: Any, *args: Any, **options: Any) -> FairseqCriterion:
        """As :meth:`WithTeacher.build_criterion`.

        Raises:
            UserError: also where --distilled-data is given, and the criterion has no ``takes_distilled = True``, or a
                training has --student-post-process and no --teacher-spm.
        """
        criterion: FairseqCriterion = super().build_criterion(cfg, *args, **options)
        if self.cfg.distilled_data and not getattr(criterion, "takes_distilled", False):
            raise UserError(
                f"--criterion {criterion_name(cfg, criterion)} learns only from the targets of the training data: "
                "leave out --distilled-data, or train on that data-bin"
            )
        if str(self.cfg.student_post_process) != "sentencepiece" and not (self.cfg.teacher_spm or self.of_checkpoint):
            raise UserError(
                f"--student-post-process {self.cfg.student_post_process}: joins text for a teacher of other subwords; "
                "give --teacher-spm, or leave it out"
            )
        return criterion

    def teacher_task(self) -> TranslationTask:
        """The task with the teacher's dictionaries: this one, or with --teacher-spm that of :func:`task_of_teacher`."""
        if self._teacher_task is None:
            self._teacher_task = task_of_teacher(self) if self.cfg.teacher_spm else self
        return self._teacher_task

    def cache_settings(self) -> dict[str, Any] | None:
        """The manifest of --teacher-cache: "top_k", "temperature" and more.

        None without --teacher-cache, or where its folder is empty or missing: a student is validated without it.
        """
        if not self.cfg.teacher_cache:
            return None
        kept = [read_manifest(folder, found[0]) for folder in self._caches() if (found := splits(folder))]
        refuse_unlike(self.cfg.teacher_cache, [one for one in kept if one])
        return kept[0] if kept else None

    def _caches(self) -> list[Path]:
        """The folders of --teacher-cache, one for each data-bin."""
        return beside(split_data(self.cfg.data), self.cfg.teacher_cache or "", "--teacher-cache")

    def load_dataset(self, split: str, epoch: int = 1, combine: bool = False, **options: Any) -> None:
        """Load a split as ``translation`` does. Soft targets and distilled targets are added to its batches.

        Raises:
            UserError: a file of the data-bin is missing, damaged, empty or of another dictionary. --teacher-cache or
                --distilled-data lacks the training split, or their content for this split is unfinished or belongs to
                other data.
        """
        pair = self.cfg.source_lang, self.cfg.target_lang
        bins = [Path(path) for path in split_data(self.cfg.data)]
        for folder in bins:
            names = [f"dict.{language}.txt" for language in pair] + file_names(folder, split, *pair, *pair)
            check_databin(folder, names)
            for language in pair:
                refuse_unreadable(folder, split, pair, language)
        # fairseq trains on another data-bin in each epoch, and takes all other splits from the first.
        turn = (epoch - 1) % len(bins) if split == self.cfg.train_subset else 0
        data = distilled = bins[turn]
        if combine:
            check_upsampling(self.cfg, split, data)
        with explained_by(lambda: explain_split(self.cfg, data, split)):
            super().load_dataset(split, epoch=epoch, combine=combine, **options)
            self.datasets[split] = mapped(self.datasets[split])
            check_loaded(self.datasets[split], split, data, None if self.of_checkpoint else pair[1])
        for language, dictionary in zip(pair, (self.source_dictionary, self.target_dictionary), strict=True):
            check_symbols(data, split, pair, language, dictionary)
        if self.cfg.distilled_data:
            distilled = beside(bins, self.cfg.distilled_data, "--distilled-data")[turn]
            self.datasets[split] = add_distilled(self, split, data, distilled)
        if self.cfg.teacher_cache:
            loaded = self.datasets[split]
            if self.soft_targets_of_distilled and isinstance(loaded, DistilledDataset):
                loaded, data = loaded.distilled, distilled
            self.datasets[split] = add_soft_targets(self, split, loaded, data, self._caches()[turn])
        if self.cfg.teacher_spm and (split == self.cfg.train_subset or teacher_is_there(self)):
            self.datasets[split] = add_teacher_text(self, split, self.teacher_task())

    def train_step(
        self, sample: Any, model: Any, criterion: Any, optimizer: Any, update_num: int, ignore_grad: bool = False
    ) -> Any:
        """As :meth:`WithTeacher.train_step`, but the stand-in of a process without a batch is of the training set.

        fairseq's own is of the set that it read last, which is a validation set in the first epoch and after each
        validation within an epoch. It may lack distilled or soft targets. The processes would then log different
        figures, whose sums over all of them fail.
        """
        if ignore_grad:
            own = self.train_iterator.first_batch
            sample = utils.move_to_cuda(own, sample["id"].device) if sample["id"].is_cuda else own
        return super().train_step(sample, model, criterion, optimizer, update_num, ignore_grad)

    def validation_batch(self) -> dict[str, Any]:
        """A batch of the first validation set: one for each update, again from the first when all have come.

        Raises:
            UserError: there is no such set, or none of its rows fits the model.
        """
        if self._validation is None:
            self._validation = ValidationBatches(self, self.cfg.valid_subset.split(",")[0], self.student())
        return self._validation.of(self.update)

    def filter_indices_by_size(
        self, indices: np.ndarray, dataset: FairseqDataset, *args: Any, **options: Any
    ) -> np.ndarray:
        """As ``translation``, but rows that --teacher-cache lacks are no mistake: the log told them with the split.

        Raises:
            UserError: a row is too long, in a validation or a decode without --skip-invalid-size-inputs-valid-test.
        """
        if isinstance(dataset, CachedDataset):
            indices = dataset.with_soft_targets(indices)
        with explained_by(lambda: refuse_long(self.split_of(dataset), dataset, indices, *args)):
            self._fitting: np.ndarray = super().filter_indices_by_size(indices, dataset, *args, **options)
        return self._fitting

    def get_batch_iterator(
        self, dataset: FairseqDataset, *args: Any, epoch: int = 1, **options: Any
    ) -> EpochBatchIterator:
        """The batches of ``translation``, but a resumed run has the same ones as an unbroken run.

        fairseq draws the batches once per process and keeps them over all epochs. Its seed depends on the epoch in
        which the process began. Here that is always epoch 1. The order of the batches still changes with each epoch.
        A warning counts the rows that fairseq leaves out.

        Raises:
            UserError: fairseq leaves out all rows, or a row is longer than --max-tokens.
        """
        kept = self.dataset_to_epoch_iter.get(dataset)
        self._fitting = np.array([])
        split = self.split_of(dataset)
        option = "--max-tokens" if split == self.cfg.train_subset else "--max-tokens-valid"
        with explained_by(lambda: refuse_large(split, dataset, self._fitting, option, options.get("max_tokens"))):
            iterator = super().get_batch_iterator(dataset, *args, epoch=1, **options)
        if not (len(self._fitting) or iterator.frozen_batches):
            refuse_large(split, dataset, self._fitting, option, None)
        if iterator is not kept:
            tell_lost_rows(split, len(self._fitting), iterator)
            iterator.epoch = epoch
            dataset.set_epoch(epoch)
        return iterator
