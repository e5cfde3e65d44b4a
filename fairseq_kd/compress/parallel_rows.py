"""Parallel text in a model's symbols: a data-bin's training split, or two files of subwords."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from fairseq.tasks.translation import TranslationTask

from fairseq_kd.compress.word_alignment import Rows
from fairseq_kd.corpus.compressed import find_text
from fairseq_kd.corpus.coverage import Coverage
from fairseq_kd.corpus.text_lines import stream_lines
from fairseq_kd.data.databins.databin import open_databin
from fairseq_kd.data.databins.files import TRAIN, file_names
from fairseq_kd.data.databins.vocabulary import first_difference
from fairseq_kd.errors import UserError


@dataclass(frozen=True)
class Text:
    """Parallel text in a model's symbols.

    Attributes:
        sources: each sentence's symbols, without ``</s>``, as arrays of shape (length,).
        targets: of the other side, as many.
    """

    sources: Rows
    targets: Rows


def text_files(text: Path, task: TranslationTask) -> list[Path]:
    """The files of parallel text: a data-bin's training split, or TEXT.SOURCE and TEXT.TARGET, perhaps compressed.

    Raises:
        UserError: one is missing.
    """
    pair = (task.cfg.source_lang, task.cfg.target_lang)
    files = [find_text(Path(f"{text}.{language}")) for language in pair]
    if text.is_dir():
        files = [text / name for name in file_names(text, TRAIN, *pair, *pair)]
    for file in files:
        if not file.is_file():
            raise UserError(
                f"--shortlist {text}: there is no {file.name}; give a data-bin, or for two files TEXT.{pair[0]} and "
                f"TEXT.{pair[1]} in the model's subwords TEXT"
            )
    return files


def read_text(text: Path, task: TranslationTask) -> Text:
    """Parallel text, as :func:`text_files` finds it.

    Raises:
        UserError: it is missing, empty or damaged, its sides differ in length, or it has other symbols than the model.
    """
    files = text_files(text, task)
    sides = _read_databin(text, task) if text.is_dir() else _read_files(files, text, task)
    if len(sides[0]) != len(sides[1]):
        rows = f"{len(sides[0])} source rows, but {len(sides[1])} target rows"
        raise UserError(f"--shortlist {text}: {rows}; give parallel text")
    if not any(map(len, sides[1])):
        raise UserError(f"--shortlist {text}: has no text; give parallel text")
    return Text(*sides)


def _read_databin(folder: Path, task: TranslationTask) -> tuple[Rows, Rows]:
    opened = open_databin(folder, TRAIN, (task.cfg.source_lang, task.cfg.target_lang))
    own = (opened.source_dictionary, opened.target_dictionary)
    for mine, dictionary in zip(own, (task.source_dictionary, task.target_dictionary), strict=True):
        difference = first_difference(mine, dictionary)
        if difference:
            reason = f"its dictionary is not the model's: {difference}"
            raise UserError(f"--shortlist {folder}: {reason}; give a data-bin with the model's dictionaries")
    dataset, eos = opened.dataset(TRAIN), task.target_dictionary.eos()
    found = []
    for side in (dataset.src, dataset.tgt):
        rows = [side[row].numpy() for row in range(len(side))]
        found.append([row[row != eos] for row in rows])
    return found[0], found[1]


def _read_files(files: Sequence[Path], text: Path, task: TranslationTask) -> tuple[Rows, Rows]:
    found = []
    for file, dictionary in zip(files, (task.source_dictionary, task.target_dictionary), strict=True):
        coverage, rows = Coverage(dictionary.indices.__contains__), []
        for line in stream_lines(file):
            tokens = line.split()
            coverage.add(tokens)
            rows.append(np.array([dictionary.index(token) for token in tokens], dtype=np.int64))
        coverage.check(f"--shortlist {text}", f"the model's dictionary ({file.name})", "give text in its subwords")
        found.append(rows)
    return found[0], found[1]
