"""The gold target of a corpus, read line by line from a text file or from a data-bin."""

import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import repeat
from pathlib import Path

from fairseq_kd.corpus.text_lines import count_lines, stream_lines
from fairseq_kd.data.databins.databin import open_databin
from fairseq_kd.data.databins.files import UNNAMED, Languages, file_names, folders
from fairseq_kd.data.text.joining import join
from fairseq_kd.errors import UserError
from fairseq_kd.storage.files import file_hash

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Gold:
    """The detokenised gold target.

    Attributes:
        rows: the number of lines.
        sha256: the hash of each file that the lines depend on, by the file's name.
        lines: a function that yields the lines from the first on.
    """

    rows: int
    sha256: dict[str, str]
    lines: Callable[[], Iterator[str]]


def open_gold(path: Path, subset: str, symbol: str, languages: Languages = UNNAMED) -> Gold:
    """The lines of a text file, or the target side of a data-bin's ``subset`` with its subwords joined.

    Args:
        path: the text file, perhaps compressed, or the folder that fairseq-preprocess made.
        subset: the split of the data-bin.
        symbol: how the data-bin's subwords are joined, fairseq's name.
        languages: source and target of the data-bin, where the lists' signature names them.

    Raises:
        UserError: the path is missing, empty or damaged, or the data-bin lacks the subset or its target side.
    """
    databin = all(folder.is_dir() for folder in folders(path))
    gold = _databin(path, subset, symbol, languages) if databin else _text(path)
    if not gold.rows:
        raise UserError(f"reference {path}: it is empty; give the gold target, one line a row")
    return gold


def no_gold(nbest: Path) -> Gold:
    """As many empty lines as a file of n-best lists has rows, for a choice that needs no gold target."""
    with open(nbest, "rb") as handle:
        rows = sum(line.split(b"\t", 2)[1:2] == [b"1"] for line in handle)
    return Gold(max(1, rows), {}, lambda: repeat("", rows))


def _text(path: Path) -> Gold:
    name = f"reference {path}"

    def lines() -> Iterator[str]:
        return (line.removesuffix("\r") for line in stream_lines(path, name))

    # "text", not the file's name: a rerun may give the same text under another name.
    return Gold(count_lines(path, name), {"text": file_hash(path)}, lines)


def _databin(path: Path, subset: str, symbol: str, languages: Languages) -> Gold:
    task = open_databin(path, subset, languages)
    dataset, dictionary, target = task.dataset(subset), task.target_dictionary, task.cfg.target_lang
    if dataset.tgt is None:
        raise UserError(f"data-bin {path}: subset {subset!r} has no {target} side; give --reference FILE")

    def lines() -> Iterator[str]:
        warned = False
        for row in range(len(dataset)):
            ids = dataset.tgt[row]
            if not warned and (ids == dictionary.unk()).any():
                warned = True
                logger.warning(
                    "%s: gold targets contain %s (first in row %d, from 0), which makes the similarities inexact; "
                    "give the text with --reference FILE",
                    path, dictionary.unk_word, row,
                )  # fmt: skip
            yield join(dictionary.string(ids), symbol)

    folder = Path(task.cfg.data)
    names = [f"dict.{target}.txt", *file_names(folder, subset, task.cfg.source_lang, target, target)]
    return Gold(len(dataset), {name: file_hash(folder / name) for name in names}, lines)
