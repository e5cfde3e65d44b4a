"""A translation dataset whose batches bring a teacher's soft targets along."""

import logging
from pathlib import Path
from typing import Any

import numpy as np
from fairseq.data import LanguagePairDataset
from fairseq.tasks.translation import TranslationTask

from fairseq_kd.data.aligned import AlignedDataset
from fairseq_kd.data.databins.databin import read_side
from fairseq_kd.data.databins.indexes import rows_of_split
from fairseq_kd.data.databins.left_out import MISSING
from fairseq_kd.data.distilled import DistilledDataset
from fairseq_kd.data.soft_targets import (
    SoftTargets,
    data_hashes,
    read_manifest,
    refuse_mixture,
    untaught,
    warn_of_untaught,
)
from fairseq_kd.errors import UserError
from fairseq_kd.storage.files import file_hash, split_paths
from fairseq_kd.storage.settings import differences

logger = logging.getLogger(__name__)


class CachedDataset(AlignedDataset):
    """A ``LanguagePairDataset`` that adds ``sample["soft_targets"]`` to its batches.

    That entry is what :meth:`SoftTargets.of` returns, in the order of the batch's real tokens:
    ``target[target != pad]``.

    Args:
        dataset: the whole split, in the order of its files.
        soft_targets: of the rows of ``dataset``.
        untaught: mask, shape (rows,), of rows without soft targets; they count as too long.
        places: for each row of ``dataset`` its row in ``soft_targets``, shape (rows,); None: the same row.
    """

    def __init__(
        self,
        dataset: LanguagePairDataset,
        soft_targets: SoftTargets,
        untaught: np.ndarray,
        places: np.ndarray | None = None,
    ):
        super().__init__(dataset)
        self.soft_targets = soft_targets
        self.untaught = untaught
        self.places = places

    def along(self, rows: list[int]) -> dict[str, Any]:
        """As :meth:`AlignedDataset.along`; of a damaged row the entry "error" tells what is wrong.

        It is not raised here, in a data loader's worker, whose end fairseq answers with a traceback of its own.
        """
        try:
            return {"soft_targets": self.soft_targets.of(rows if self.places is None else self.places[rows].tolist())}
        except UserError as error:
            return {"soft_targets": {"error": str(error)}}

    def with_soft_targets(self, indices: np.ndarray) -> np.ndarray:
        """Those of these rows that have soft targets."""
        return indices[~self.untaught[indices]]

    def filter_indices_by_size(self, indices: np.ndarray, max_sizes: Any) -> tuple[np.ndarray, list[int]]:
        """As the stock dataset, but also leaves out the rows that are longer than the teacher's positions."""
        kept, ignored = self.dataset.filter_indices_by_size(indices, max_sizes)
        unusable = self.untaught[kept]
        return kept[~unusable], [*ignored, *kept[unusable].tolist()]


def add_soft_targets(
    task: TranslationTask, split: str, of: LanguagePairDataset, data: Path, directory: Path
) -> LanguagePairDataset | CachedDataset:
    """Add the soft targets of --teacher-cache to the dataset ``split`` that ``task`` has loaded.

    Args:
        task: the task.
        split: name of the dataset.
        of: the dataset whose targets the soft targets belong to: the loaded one, or the distilled one.
        data: the data-bin of ``of``.
        directory: the folder of --teacher-cache that goes with it.

    Returns:
        The dataset with its soft targets; without them where the cache has none of a split that is not trained on.

    Raises:
        UserError: the cache has no soft targets of the training split, or they are unfinished or damaged, or belong to
            other data, another dictionary or another teacher.
    """
    dataset = task.datasets[split]
    settings = read_manifest(directory, split)
    if settings is None:
        if split == task.cfg.train_subset:
            raise UserError(
                f"--teacher-cache {directory}: it has no soft targets of {split}; "
                f"write them with fairseq-kd cache --subset {split} --output {directory}"
            )
        logger.warning("no soft targets of %s in %s: validation shows only the gold part of the loss", split, directory)
        return dataset
    _refuse_combined(task, split, data, len(of))
    _check_data(task, split, settings, data, len(of), directory)
    _check_teacher(task, settings, directory)
    refuse_mixture(directory, settings)
    sizes = _stored_sizes(task, split, data)
    # With buckets, the dataset's sizes include padding.
    if dataset.buckets is None and not np.array_equal(of.tgt_sizes, sizes[:, 1]):
        raise UserError(
            f"--teacher-cache {directory}: the task adds tokens to the targets of {split} that the cache does not have"
        )
    _refuse_cut_sources(task, split, sizes[:, 0])
    missed = untaught(sizes, settings["max_positions"])
    warn_of_untaught(missed, settings)
    places = dataset.places if isinstance(dataset, DistilledDataset) and of is dataset.distilled else None
    if places is not None:
        missed = np.where(places == MISSING, False, missed[places])  # the dataset itself leaves missing rows out
    return CachedDataset(dataset, SoftTargets(directory, settings, sizes[:, 1]), missed, places)


def _refuse_combined(task: TranslationTask, split: str, data: Path, rows: int) -> None:
    """Raise a UserError where fairseq has combined ``split`` with ``split1``, …: the cache has each by itself."""
    source, target = task.cfg.source_lang, task.cfg.target_lang
    own = rows_of_split(data, split, source, target, source)
    if split != task.cfg.train_subset and rows > own:
        raise UserError(
            f"--combine-valid-subsets: {split} has {rows} rows then, the soft targets of --teacher-cache are of the "
            f"{own} rows of {split} alone; give --ignore-unused-valid-subsets --valid-subset {split},{split}1 instead"
        )


def _refuse_cut_sources(task: TranslationTask, split: str, source_sizes: np.ndarray) -> None:
    """Raise a UserError where --truncate-source cuts a source of the split: the cache is of whole sources."""
    cut = int((source_sizes > task.cfg.max_source_positions).sum()) if task.cfg.truncate_source else 0
    if cut:
        raise UserError(
            f"--truncate-source: it cuts {cut} sources of {split} to --max-source-positions "
            f"{task.cfg.max_source_positions}, the soft targets of --teacher-cache are of whole sources; leave out "
            "--truncate-source, or give --teacher-path instead of the cache"
        )


def _check_data(
    task: TranslationTask, split: str, settings: dict[str, Any], data: Path, rows: int, directory: Path
) -> None:
    source, target = task.cfg.source_lang, task.cfg.target_lang
    expected = {
        "source": source,
        "target": target,
        "rows": rows,
        "vocabulary": len(task.target_dictionary),
    }
    details = differences(settings, expected) or differences(
        settings, {"data": data_hashes(data, split, source, target)}
    )
    if details:
        raise UserError(
            f"--teacher-cache {directory}: its soft targets of {split} belong to other data: {details}; "
            f"write those of {data} with fairseq-kd cache"
        )


def _check_teacher(task: TranslationTask, settings: dict[str, Any], directory: Path) -> None:
    paths = split_paths(task.cfg.teacher_path or "")
    unknown = [path for path in paths if not Path(path).is_file()]
    if unknown:
        logger.warning("%s: no such file, so nothing proves that --teacher-cache was made with it", unknown[0])
        return
    details = differences(settings, {"models": [file_hash(path) for path in paths]}) if paths else ""
    if details:
        raise UserError(
            f"--teacher-cache {directory} was made with another teacher than --teacher-path: {details}; "
            "leave out one of the two"
        )
    given = (task.cfg.teacher_source_lang, task.cfg.teacher_target_lang)
    for tokens in settings.get("teacher_tokens", []):
        for side, own, kept in zip(("source", "target"), given, tokens["languages"], strict=True):
            if own not in (None, kept):
                raise UserError(
                    f"--teacher-cache {directory}: its teacher read {kept!r} as the {side} language, "
                    f"--teacher-{side}-lang is {own!r}; leave out one of the two"
                )


def _stored_sizes(task: TranslationTask, split: str, data: Path) -> np.ndarray:
    """Lengths of source and target in the data-bin's files, before the task changes them; shape (rows, 2)."""
    pair = task.cfg.source_lang, task.cfg.target_lang
    sides = [read_side(data, split, pair, language) for language in pair]
    return np.stack([side.sizes for side in sides], axis=1)
