"""Open fairseq data-bins and their dictionaries; errors name what is missing."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from fairseq.data import BaseWrapperDataset, ConcatDataset, Dictionary, LanguagePairDataset, data_utils
from fairseq.data.indexed_dataset import IndexedDataset, infer_dataset_impl
from fairseq.tasks.translation import TranslationConfig, TranslationTask

from fairseq_kd.data.databins.checksums import check_databin
from fairseq_kd.data.databins.files import (
    UNNAMED,
    Languages,
    choose_pair,
    file_names,
    first_folder,
    only_folder,
    pair_name,
    pairs_in,
    parts_of,
    splits_of,
)
from fairseq_kd.data.databins.indexes import refuse_unreadable
from fairseq_kd.data.databins.symbol_numbers import check_symbols
from fairseq_kd.errors import UserError
from fairseq_kd.storage.files import file_hash


def read_dictionary(path: str | Path) -> Dictionary:
    """A fairseq dictionary file.

    Raises:
        UserError: missing, not UTF-8, or not "symbol count" lines.
    """
    if not Path(path).is_file():
        raise UserError(f"dictionary {path}: no such file")
    check_databin(Path(path).parent, [Path(path).name])
    try:
        return Dictionary.load(str(path))
    except Exception as error:  # fairseq raises bare ones
        raise UserError(f"dictionary {path}: cannot be read: {error}") from None


def translation_task(
    data: str | Path, source: str, target: str, dictionaries: tuple[Dictionary, Dictionary]
) -> TranslationTask:
    """fairseq's translation task outside of fairseq-train, which would fill in the settings that it shares."""
    config = TranslationConfig(
        data=str(data),
        source_lang=source,
        target_lang=target,
        train_subset="train",
        dataset_impl=None,
        required_seq_len_multiple=1,
    )
    return TranslationTask(config, *dictionaries)


def open_dictionaries(data: str | Path, languages: Languages = UNNAMED) -> TranslationTask:
    """fairseq's translation task with the dictionaries of ``data``, without a dataset.

    Args:
        data: the data-bin; of several, ``a:b``, the first.
        languages: as :func:`fairseq_kd.data.databins.files.choose_pair` takes them.

    Raises:
        UserError: the folder, its language pair or a dictionary is missing, a dictionary is damaged, or several pairs
            fit.
    """
    source, target = choose_pair(data, languages)
    folder = first_folder(data)
    if not (folder / f"dict.{target}.txt").is_file() and not any(folder.glob(f"*.{target}.idx")):
        raise UserError(
            f"data-bin {folder}: it has no targets and no dictionary of them, as fairseq-preprocess --only-source "
            "makes it; decode alone takes it"
        )
    dictionaries = (
        read_dictionary(folder / f"dict.{source}.txt"),
        read_dictionary(folder / f"dict.{target}.txt"),
    )
    return translation_task(folder, source, target, dictionaries)


def open_databin(data: str | Path, subset: str, languages: Languages = UNNAMED) -> TranslationTask:
    """fairseq's translation task over ``data`` with ``subset`` loaded as ``task.dataset(subset)``.

    The split ``train`` has the rows of ``train``, ``train1``, ``train2``, …, as fairseq-train combines them.

    Args:
        data: the data-bin; of several, ``a:b``, the first one has all splits but train.
        subset: the split.
        languages: as :func:`fairseq_kd.data.databins.files.choose_pair` takes them.

    Raises:
        UserError: the folder, its language pair, a dictionary or the subset is missing, a file is damaged or of another
            dictionary, several pairs fit, or several data-bins share the training split.
    """
    folder = only_folder(data, subset)
    task = open_dictionaries(folder, languages)
    pair = (task.cfg.source_lang, task.cfg.target_lang)
    check_split(folder, subset, pair)
    source, target = (read_side(folder, subset, pair, language) for language in pair)
    if source is None or (target is not None and len(source) != len(target)):
        rows = "no source side" if source is None else f"{len(source)} rows of {pair[0]}, {len(target)} of {pair[1]}"
        raise UserError(f"data-bin {folder}: subset {subset!r} has {rows}; make it again")
    for language, dictionary in zip(pair, (task.source_dictionary, task.target_dictionary), strict=True):
        check_symbols(folder, subset, pair, language, dictionary)
    sizes = None if target is None else target.sizes
    task.datasets[subset] = LanguagePairDataset(
        source, source.sizes, task.source_dictionary, target, sizes, task.target_dictionary, shuffle=subset != "test"
    )
    return task


def check_split(folder: Path, subset: str, pair: tuple[str, str]) -> None:
    """Raise a UserError unless ``folder`` has files of ``subset`` in these languages."""
    source, target = pair
    if not parts_of(folder, subset, source, target):
        found = ", ".join(splits_of(folder, source, target)) or "none"
        others = [pair_name(other) for other in pairs_in(folder) if {*other} != {source, target}]
        hint = f" (and the pairs {', '.join(others)})" if others else ""
        raise UserError(f"data-bin {folder}: no subset {subset!r} for {pair_name(pair)}; it has: {found}{hint}")


def read_side(folder: Path, subset: str, pair: tuple[str, str], language: str) -> Any:
    """The rows of one side of a split, over all its parts; None where a side has no files.

    Raises:
        UserError: a file is damaged or has no rows, or a part lacks the side that others have.
    """
    prefixes = [f"{folder / part}{language}" for part in parts_of(folder, subset, *pair)]
    missing = [prefix for prefix in prefixes if not Path(f"{prefix}.idx").is_file()]
    if len(missing) == len(prefixes):
        return None
    if missing:
        raise UserError(f"{missing[0]}.idx: no such file; other parts of {subset} have this side")
    check_databin(folder, file_names(folder, subset, *pair, language))
    refuse_unreadable(folder, subset, pair, language)
    try:
        parts = [_rows(prefix) for prefix in prefixes]
        return parts[0] if len(parts) == 1 else ConcatDataset(parts)
    except Exception as error:  # struct.error, ValueError, TypeError: whatever a damaged file leads to
        raise UserError(f"data-bin {folder}: subset {subset!r} cannot be read ({error}); make it again") from None


def _rows(prefix: str) -> Any:
    """The rows of one file, in whichever of fairseq's formats."""
    lazy = infer_dataset_impl(prefix) == "cached"
    rows = MappedRows(prefix) if lazy else data_utils.load_indexed_dataset(prefix)
    if rows is None:
        raise ValueError(f"no known format of fairseq's, or no {Path(prefix).name}.bin")
    rows[len(rows) - 1]  # a file that was cut short lacks the last row
    return rows


class MappedRows(IndexedDataset):
    """Rows of the format that fairseq calls lazy or cached; any row can be read at any time, by several processes.

    fairseq's own readers share one file position between processes, or want to be told all rows beforehand.

    Args:
        path: of both files, without their endings.
    """

    def __init__(self, path: str):
        super().__init__(path)
        self.rows = np.memmap(f"{path}.bin", dtype=self.dtype, mode="r")

    def __getitem__(self, i: int) -> torch.Tensor:
        """The symbols of row ``i``, int64. The files count symbols from 1.

        Raises:
            IndexError: there is no such row.
            ValueError: the file was cut short.
        """
        self.check_index(i)
        first, end = self.data_offsets[i : i + 2]
        if end > len(self.rows):
            raise ValueError(f"{self.path}.bin ends before row {i}")
        return torch.from_numpy(self.rows[first:end].astype(np.int64)) - 1


def mapped(dataset: Any) -> Any:
    """A dataset that fairseq has loaded, but :class:`MappedRows` read its lazy and cached files."""
    if isinstance(dataset, IndexedDataset):
        return MappedRows(dataset.path)
    if isinstance(dataset, BaseWrapperDataset):
        dataset.dataset = mapped(dataset.dataset)
    elif isinstance(dataset, ConcatDataset):
        dataset.datasets = [mapped(part) for part in dataset.datasets]
    elif isinstance(dataset, LanguagePairDataset):
        for name in ("src", "tgt", "align_dataset"):
            setattr(dataset, name, mapped(getattr(dataset, name)))
    return dataset


def source_hashes(data: str | Path, subset: str, source: str, target: str) -> dict[str, str]:
    """Hashes by file name of all data that a model's output on a split depends on: dictionaries and source side."""
    folder = only_folder(data, subset)
    names = [f"dict.{source}.txt", f"dict.{target}.txt", *file_names(folder, subset, source, target, source)]
    return {name: file_hash(folder / name) for name in names}
