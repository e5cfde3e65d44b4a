"""The detokenised text that translations are scored against."""

import logging
from pathlib import Path

from fairseq.data.data_utils import post_process
from fairseq.tasks.translation import TranslationTask

from fairseq_kd.errors import UserError

logger = logging.getLogger(__name__)


def read_references(path: str | Path, rows: int) -> list[str]:
    """The lines of a file of detokenised references, as many as ``rows``.

    Raises:
        UserError: the file is missing, is not UTF-8 or has another number of lines.
    """
    try:
        text = Path(path).read_bytes().decode("utf-8")
    except OSError as error:
        raise UserError(f"reference {path}: cannot be read ({error.strerror}); give a text file") from None
    except UnicodeDecodeError as error:
        raise UserError(f"reference {path}: byte {error.start} is not UTF-8; convert the file to UTF-8") from None
    # str.splitlines would also cut at characters such as U+2028, which belong to a line here
    lines = [line.removesuffix("\r") for line in text.removesuffix("\n").split("\n")]
    if len(lines) != rows:
        raise UserError(
            f"reference {path}: {len(lines)} lines for {rows} rows of the subset; give one line for each row"
        )
    return lines


def databin_references(task: TranslationTask, subset: str, symbol: str) -> list[str]:
    """The subset's target side with its subwords joined as ``symbol`` says.

    Unknown symbols in it make the scores wrong; a warning counts the lines that have some.

    Raises:
        UserError: the subset has no target side.
    """
    dataset = task.dataset(subset)
    if dataset.tgt is None:
        raise UserError(
            f"data-bin {task.cfg.data}: subset {subset!r} has no {task.cfg.target_lang} side; give --reference FILE"
        )
    dictionary = task.target_dictionary
    targets = [dataset.tgt[row] for row in range(len(dataset))]
    unknown = sum(bool((target == dictionary.unk()).any()) for target in targets)
    if unknown:
        logger.warning(
            "%d of %d references hold %s, so the scores are off: give the text with --reference FILE",
            unknown, len(targets), dictionary.unk_word,
        )  # fmt: skip
    return [post_process(dictionary.string(target), symbol) for target in targets]
