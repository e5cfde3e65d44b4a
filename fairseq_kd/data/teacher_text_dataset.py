"""A translation dataset whose batches also hold their text in the pieces of a teacher with another vocabulary."""

import logging
from collections.abc import Sequence
from itertools import islice
from typing import Any

import torch
from fairseq.data import Dictionary, LanguagePairDataset
from fairseq.tasks.translation import TranslationTask

from fairseq_kd.data.aligned import AlignedDataset
from fairseq_kd.data.text.segmentation import SPACE
from fairseq_kd.data.text.teacher_text import Dictionaries, TeacherRow, TeacherText, read_sentencepiece
from fairseq_kd.errors import UserError

logger = logging.getLogger(__name__)

SAMPLED_ROWS = 1000
"""Rows at the beginning of a split that are aligned when it is loaded, to find mistakes before training."""
FEW = 0.05
"""Share of a dictionary's symbols that may look like another tokenizer's."""
FEWEST_WHOLE = 0.5
"""Share of rows with the same characters on both sides below which a warning is logged."""
MOST_UNKNOWN = 0.1
"""Share of unknown symbols in the teacher's target text above which the sentencepiece model is not the teacher's."""


class TeacherTextDataset(AlignedDataset):
    """A ``LanguagePairDataset`` that adds ``sample["teacher_text"]``: see :meth:`TeacherText.batch`.

    The rows are cut and aligned when a batch is made, by fairseq's workers with ``--num-workers`` above 0.

    Args:
        dataset: the split, in the order of its files.
        text: cuts the rows.
    """

    def __init__(self, dataset: LanguagePairDataset, text: TeacherText):
        super().__init__(dataset)
        self.text = text

    def along(self, rows: list[int]) -> dict[str, Any]:
        """As :meth:`AlignedDataset.along`."""
        cut = [self.row(row) for row in rows]
        pads = {"left_pad_source": self.dataset.left_pad_source, "left_pad_target": self.dataset.left_pad_target}
        return {"teacher_text": self.text.batch(cut, **pads)}

    def row(self, row: int) -> TeacherRow:
        """One row in the teacher's pieces."""
        return self.text.row(self.dataset.src[row], self.dataset.tgt[row])


def add_teacher_text(task: TranslationTask, split: str, of: TranslationTask) -> TeacherTextDataset:
    """The dataset ``split`` that ``task`` has loaded, with its text in the pieces of a teacher.

    Args:
        task: the student's task, with the options about the teacher.
        split: name of the dataset.
        of: the task with the teacher's dictionaries.

    Raises:
        UserError: --teacher-spm is missing or not the teacher's, or no row has a common boundary.
    """
    cfg = task.cfg
    student, teacher = ((one.source_dictionary, one.target_dictionary) for one in (task, of))
    words = str(cfg.student_post_process) == "none"
    _check_symbols(student[1], words=words)
    dataset = TeacherTextDataset(
        task.datasets[split], TeacherText(read_sentencepiece(cfg.teacher_spm), teacher, student, words=words)
    )
    rows = [dataset.row(row) for row in islice(range(len(dataset)), SAMPLED_ROWS)]
    if not rows:
        return dataset
    _check_unknown(cfg.teacher_spm, rows, teacher)
    check_boundaries(cfg, split, rows)
    return dataset


def _check_unknown(model: str, rows: Sequence[TeacherRow], teacher: Dictionaries) -> None:
    for side, dictionary in zip(("source", "target"), teacher, strict=True):
        symbols = torch.cat([getattr(row, side)[:-1] for row in rows])
        share = symbols.eq(dictionary.unk()).double().mean().item() if len(symbols) else 0.0
        if share > MOST_UNKNOWN:
            raise UserError(
                f"--teacher-spm {model}: not the teacher's model: its {side} dictionary lacks {share:.0%} of the pieces"
            )


def _check_symbols(dictionary: Dictionary, *, words: bool) -> None:
    """Raise a UserError where the student's symbols are not what --student-post-process says."""
    option = f"--student-post-process {'none' if words else 'sentencepiece'}"
    pieces, other = (
        sum(map(test, dictionary.symbols)) / len(dictionary)
        for test in (lambda symbol: symbol.startswith(SPACE), lambda symbol: symbol.endswith("@@"))
    )
    if other > FEW:
        raise UserError(f"{option}: the data has subword_nmt's pieces; cut its text with sentencepiece")
    if words and pieces > FEW:
        raise UserError(f"{option}: the data has sentencepiece's pieces; leave the option out")
    if not words and pieces == 0:
        raise UserError(f"{option}: no symbol of the data begins with {SPACE}; give none where its symbols are words")


def check_boundaries(cfg: Any, split: str, rows: Sequence[TeacherRow]) -> None:
    """Log how a split's first rows are aligned.

    Raises:
        UserError: none of them has a common boundary within.
    """
    found = [row.alignment for row in rows]
    # </s> is always a pair; a row that is one span has no boundary within.
    if not any(len(one.pairs) + len(one.spans) > 2 or len(one.pairs) > 1 for one in found):
        raise UserError(
            f"--teacher-spm {cfg.teacher_spm}: none of the first {len(rows)} rows of {split} has a common boundary of "
            f"student's and teacher's pieces; is --student-post-process {cfg.student_post_process} the data's?"
        )
    whole = sum(one.whole for one in found) / len(rows)
    if whole < FEWEST_WHOLE:
        logger.warning(
            "the teacher's sentencepiece model changes the characters of %.0f%% of the rows, as another normalisation "
            "does: only their common beginnings and ends are compared",
            100 * (1 - whole),
        )
    tokens = sum(row.student_length for row in rows)
    logger.info(
        "teacher's pieces, first %d rows of %s: %.1f%% of the rows have the student's characters, "
        "%.1f%% of the student's tokens are the teacher's, %d spans differ",
        len(rows),
        split,
        100 * whole,
        100 * sum(len(one.pairs) for one in found) / tokens,
        sum(len(one.spans) for one in found),
    )
