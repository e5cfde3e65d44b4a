"""Data-bins of any language pair and format, made in this process."""

from collections.abc import Sequence
from pathlib import Path

import torch
from fairseq.data import Dictionary
from fairseq.data.indexed_dataset import make_builder

WORDS = 9
"""Words of a dictionary: w0, w1, …"""


def write_dictionary(folder: Path, language: str) -> Path:
    """``dict.LANGUAGE.txt`` with :data:`WORDS` words."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"dict.{language}.txt"
    path.write_text("".join(f"w{number} 1\n" for number in range(WORDS)))
    return path


def write_side(prefix: Path, rows: Sequence[str], impl: str = "mmap") -> None:
    """Both files of one side of a split, in a format of fairseq's --dataset-impl."""
    dictionary = Dictionary()
    for number in range(WORDS):
        dictionary.add_symbol(f"w{number}")
    builder = make_builder(f"{prefix}.bin", impl, len(dictionary))
    for row in rows:
        ids = dictionary.encode_line(row, add_if_not_exist=False).long()
        builder.add_item(ids if impl == "mmap" else ids.to(torch.int32))
    builder.finalize(f"{prefix}.idx")


def write_databin(
    folder: Path, pair: tuple[str, str], rows: dict[str, int], *, impl: str = "mmap", first: int = 0
) -> Path:
    """A data-bin with a number of rows for each split; no two rows of a side are the same.

    Args:
        folder: gets the files; it may hold other pairs.
        pair: source and target language.
        rows: by split.
        impl: the format.
        first: number of the first row; data-bins with other numbers have other rows.
    """
    number = first
    for language in pair:
        write_dictionary(folder, language)
    for split, count in rows.items():
        for place, language in enumerate(pair):
            lines = [_line(number + row, place) for row in range(count)]
            write_side(folder / f"{split}.{pair[0]}-{pair[1]}.{language}", lines, impl)
        number += count
    return folder


def _line(number: int, side: int) -> str:
    """The digits of a number as words; the sides have opposite orders."""
    words = [f"w{digit}" for digit in f"{number + 1:o}"]
    return " ".join(words[::-1] if side else words)
