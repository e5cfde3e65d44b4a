"""Data-bins that `fairseq-preprocess --only-source` makes: no target text and no target dictionary."""

from pathlib import Path

from fairseq.data import LanguagePairDataset, data_utils
from fairseq.tasks.translation import TranslationTask

from fairseq_kd.data.databin import languages, read_dictionary
from fairseq_kd.data.vocabulary import first_difference
from fairseq_kd.errors import UserError


def is_source_only(data: str | Path) -> bool:
    """Whether a data-bin has neither text nor a dictionary of the target side.

    Raises:
        UserError: it is no data-bin.
    """
    source, target = languages(data)
    text = any(Path(data).glob(f"*.{source}-{target}.{target}.idx"))
    return not text and not Path(data, f"dict.{target}.txt").is_file()


def load_source(data: str | Path, subset: str, task: TranslationTask) -> None:
    """Load a split of a source-only data-bin as ``task.dataset(subset)``, without targets.

    Args:
        data: the data-bin.
        subset: the split.
        task: with the model's dictionaries.

    Raises:
        UserError: there is no such split, it is damaged, or its dictionary is not the task's.
    """
    source, target = languages(data)
    path = Path(data, f"dict.{source}.txt")
    difference = first_difference(task.source_dictionary, read_dictionary(path))
    if difference:
        raise UserError(f"data-bin {data}: its {path.name} is not the model's dictionary: {difference}")
    prefix = source_prefix(data, subset)
    if not Path(f"{prefix}.idx").is_file():
        raise UserError(f"data-bin {data}: no subset {subset!r} for {source}-{target}")
    try:
        rows = data_utils.load_indexed_dataset(prefix, task.source_dictionary)
        rows[len(rows) - 1]  # a file that was cut short lacks the last row
    except Exception as error:  # whatever a damaged file leads to
        raise UserError(f"data-bin {data}: subset {subset!r} cannot be read ({error}); make it again") from None
    task.datasets[subset] = LanguagePairDataset(rows, rows.sizes, task.source_dictionary)


def source_prefix(data: str | Path, subset: str) -> str:
    """The path of a split's source side, without its ending ``.bin`` or ``.idx``."""
    source, target = languages(data)
    return str(Path(data, f"{subset}.{source}-{target}.{source}"))
