"""Data-bins that `fairseq-preprocess --only-source` makes: no target text and no target dictionary."""

from pathlib import Path

from fairseq.data import LanguagePairDataset
from fairseq.tasks.translation import TranslationTask

from fairseq_kd.data.databins.databin import check_split, read_dictionary, read_side
from fairseq_kd.data.databins.files import first_folder, only_folder
from fairseq_kd.data.databins.symbol_numbers import check_symbols
from fairseq_kd.data.databins.vocabulary import first_difference
from fairseq_kd.errors import UserError


def is_source_only(data: str | Path, pair: tuple[str, str]) -> bool:
    """Whether a data-bin has neither text nor a dictionary of the target side.

    Args:
        data: the data-bin; of several, ``a:b``, the first.
        pair: source and target language.

    Raises:
        UserError: there is no such folder.
    """
    source, target = pair
    folder = first_folder(data)
    text = any(any(folder.glob(f"*.{both}.{target}.idx")) for both in (f"{source}-{target}", f"{target}-{source}"))
    return not text and not (folder / f"dict.{target}.txt").is_file()


def load_source(data: str | Path, subset: str, task: TranslationTask, pair: tuple[str, str]) -> None:
    """Load a split of a source-only data-bin as ``task.dataset(subset)``, without targets.

    Args:
        data: the data-bin.
        subset: the split.
        task: with the model's dictionaries.
        pair: source and target language of the data-bin's files; the target may be "None".

    Raises:
        UserError: there is no such split, it is damaged, or its dictionary is not the task's.
    """
    folder = only_folder(data, subset)
    path = folder / f"dict.{pair[0]}.txt"
    difference = first_difference(task.source_dictionary, read_dictionary(path))
    if difference:
        raise UserError(f"data-bin {folder}: its {path.name} is not the model's dictionary: {difference}")
    check_split(folder, subset, pair)
    rows = read_side(folder, subset, pair, pair[0])
    if rows is None:
        raise UserError(f"data-bin {folder}: subset {subset!r} has no {pair[0]} side")
    check_symbols(folder, subset, pair, pair[0], task.source_dictionary)
    task.datasets[subset] = LanguagePairDataset(rows, rows.sizes, task.source_dictionary)
