"""Open fairseq data-bins and their dictionaries; errors name what is missing."""

from pathlib import Path

from fairseq.data import Dictionary, data_utils
from fairseq.tasks.translation import TranslationConfig, TranslationTask

from fairseq_kd.errors import UserError
from fairseq_kd.storage.files import file_hash


def languages(data: str | Path) -> tuple[str, str]:
    """Source and target language of a data-bin, read from its file names.

    Raises:
        UserError: no such folder, or no file named like ``train.en-de.en.idx`` in it.
    """
    if not Path(data).is_dir():
        raise UserError(f"data-bin {data}: no such folder; make it with fairseq-preprocess or scripts/prepare_data.sh")
    source, target = data_utils.infer_language_pair(str(data))
    if source is None or target is None:
        raise UserError(f"data-bin {data}: no file named like train.en-de.en.idx; was it made by fairseq-preprocess?")
    return source, target


def read_dictionary(path: str | Path) -> Dictionary:
    """A fairseq dictionary file.

    Raises:
        UserError: missing, not UTF-8, or not "symbol count" lines.
    """
    if not Path(path).is_file():
        raise UserError(f"dictionary {path}: no such file")
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


def open_dictionaries(data: str | Path) -> TranslationTask:
    """fairseq's translation task with the dictionaries of ``data``, without a dataset.

    Raises:
        UserError: the folder, its language pair or a dictionary is missing, or a dictionary is damaged.
    """
    source, target = languages(data)
    dictionaries = (
        read_dictionary(Path(data, f"dict.{source}.txt")),
        read_dictionary(Path(data, f"dict.{target}.txt")),
    )
    return translation_task(data, source, target, dictionaries)


def open_databin(data: str | Path, subset: str) -> TranslationTask:
    """fairseq's translation task over ``data`` with ``subset`` loaded as ``task.dataset(subset)``.

    Raises:
        UserError: the folder, its language pair, a dictionary or the subset is missing, or a file is damaged.
    """
    task = open_dictionaries(data)
    source, target = task.cfg.source_lang, task.cfg.target_lang
    index = Path(data, f"{subset}.{source}-{target}.{source}.idx")
    if not index.is_file():
        suffix = f".{source}-{target}.{source}.idx"
        found = ", ".join(sorted(path.name.removesuffix(suffix) for path in Path(data).glob(f"*{suffix}"))) or "none"
        raise UserError(f"data-bin {data}: no subset {subset!r} for {source}-{target}; it has: {found}")
    try:
        task.load_dataset(subset)
        task.dataset(subset)[len(task.dataset(subset)) - 1]  # a file that was cut short lacks the last row
    except Exception as error:  # struct.error, ValueError, TypeError: whatever a damaged file leads to
        raise UserError(f"data-bin {data}: subset {subset!r} cannot be read ({error}); make it again") from None
    return task


def source_hashes(data: str | Path, subset: str, source: str, target: str) -> dict[str, str]:
    """Hashes by file name of all data that a model's output on a split depends on: dictionaries and source side."""
    stem = f"{subset}.{source}-{target}.{source}"
    names = (f"dict.{source}.txt", f"dict.{target}.txt", f"{stem}.bin", f"{stem}.idx")
    return {name: file_hash(Path(data, name)) for name in names}
