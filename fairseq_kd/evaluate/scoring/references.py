"""The detokenised text that translations are scored against."""

import logging
from collections.abc import Sequence
from pathlib import Path

import torch
from fairseq.data import Dictionary
from fairseq.tasks.translation import TranslationTask

from fairseq_kd.corpus.text_lines import stream_lines
from fairseq_kd.data.text.joining import join
from fairseq_kd.errors import UserError

logger = logging.getLogger(__name__)
OTHER_CASE = 0.1
"""The largest share of lines that may differ from the data in case alone."""


def read_references(path: str | Path, rows: int) -> list[str]:
    """The lines of a file of detokenised references, as many as ``rows``. The file may be compressed.

    Raises:
        UserError: the file is missing, damaged, not UTF-8 or has another number of lines.
    """
    lines = [line.removesuffix("\r") for line in stream_lines(Path(path), f"reference {path}")]
    if len(lines) != rows:
        raise UserError(
            f"reference {path}: {len(lines)} lines for {rows} rows of the subset; give one line for each row"
        )
    return lines


def read_more_references(paths: Sequence[str | Path], rows: int) -> list[list[str | None]]:
    """Further references of the same rows; an empty line is None, a row that has no more.

    Raises:
        UserError: as :func:`read_references`.
    """
    return [[line or None for line in read_references(path, rows)] for path in paths]


def warn_of_tokens(path: str | Path) -> None:
    """Log a warning that the reference ``path`` is Moses-tokenised, while translations are not."""
    logger.warning(
        "reference %s: is Moses-tokenised, but translations are plain text, so scores count its spaces and escapes as "
        "errors; give plain text, or --detokenize moses",
        path,
    )


def warn_of_case(target: Sequence[str], references: Sequence[str | None], path: str | Path) -> None:
    """Log a warning where a reference has another case than the data that the model learned: lowercased or truecased.

    Only letters are compared, so that tokenised text counts too.

    Args:
        target: the data-bin's target text, a line for each row.
        references: the lines of ``path``; None where a row has none.
        path: what the message calls them.
    """
    pairs = ((own, line) for own, line in zip(target, references, strict=True) if line)
    letters = (("".join(filter(str.isalpha, line)) for line in pair) for pair in pairs)
    other = sum(own != theirs and own.lower() == theirs.lower() for own, theirs in letters)
    if other > OTHER_CASE * len(references):
        logger.warning(
            "reference %s: %d of %d lines differ from the data-bin's target text in upper and lower case alone, so "
            "scores count case as errors; give a --reference in the case of the data, or --lowercase",
            path, other, len(references),
        )  # fmt: skip


def databin_references(task: TranslationTask, subset: str, symbol: str, *, quiet: bool = False) -> list[str]:
    """The subset's target side with its subwords joined as ``symbol`` says.

    Unknown symbols in it make the scores wrong; a warning counts the lines that have some, unless ``quiet``.

    Raises:
        UserError: the subset has no target side.
    """
    dataset = task.dataset(subset)
    if dataset.tgt is None:
        raise UserError(
            f"data-bin {task.cfg.data}: subset {subset!r} has no {task.cfg.target_lang} side; give --reference FILE"
        )
    unknown = "so the scores are off: give the text with --reference FILE"
    return _joined(task.target_dictionary, dataset.tgt, symbol, "" if quiet else "references", unknown)


def databin_sources(task: TranslationTask, subset: str, symbol: str) -> list[str]:
    """The subset's source side with its subwords joined as ``symbol`` says; a warning counts lines with unknowns."""
    unknown = "so scores that read the source are off"
    return _joined(task.source_dictionary, task.dataset(subset).src, symbol, "sources", unknown)


def _joined(dictionary: Dictionary, lines: Sequence[torch.Tensor], symbol: str, what: str, effect: str) -> list[str]:
    rows = [lines[row] for row in range(len(lines))]
    unknown = sum(bool((row == dictionary.unk()).any()) for row in rows)
    if unknown and what:
        logger.warning("%d of %d %s hold %s, %s", unknown, len(rows), what, dictionary.unk_word, effect)
    return [join(dictionary.string(row), symbol) for row in rows]
