"""Whether a data-bin's dictionary has the symbols whose numbers its files hold.

fairseq looks a number up when it stands in a batch: training ends in an IndexError, and other programs read ``<unk>``.
"""

import struct
from pathlib import Path

import numpy as np
from fairseq.data import Dictionary

from fairseq_kd.data.databins.files import parts_of
from fairseq_kd.data.databins.row_files import MAGIC
from fairseq_kd.errors import UserError

OLD_MAGIC = b"TNTIDX\x00\x00"
"""How the index of the formats lazy and cached begins."""
TYPES = {1: "u1", 2: "i1", 3: "<i2", 4: "<i4", 5: "<i8", 8: "<u2", 9: "<u4", 10: "<u8"}
"""Types of a symbol by fairseq's number of them."""
AT_ONCE = 1 << 22
"""Symbols that are in memory at a time."""


def check_symbols(folder: Path, subset: str, pair: tuple[str, str], language: str, dictionary: Dictionary) -> None:
    """Compare one side of a split, all its parts, with its dictionary. Files that are missing are passed over.

    Raises:
        UserError: a file holds a number that the dictionary does not have.
    """
    for part in parts_of(folder, subset, *pair):
        prefix = f"{folder / part}{language}"
        largest = largest_symbol(prefix)
        if largest is not None and largest >= len(dictionary):
            raise UserError(
                f"data-bin {folder}: {Path(prefix).name}.bin holds symbol number {largest}, but dict.{language}.txt "
                f"has {len(dictionary)} symbols; binarise the text again with this dictionary, or put that of the text "
                "back"
            )


def largest_symbol(prefix: str) -> int | None:
    """The largest number in ``PREFIX.bin``; None where there is none, or the format is not mmap, lazy or cached."""
    try:
        with open(f"{prefix}.idx", "rb") as index:
            head = index.read(24)
        code, first = (head[17], 0) if head.startswith(MAGIC) else (struct.unpack_from("<Q", head, 16)[0], 1)
        if code not in TYPES or not head.startswith((MAGIC, OLD_MAGIC)):
            return None
        largest = None
        with open(f"{prefix}.bin", "rb") as rows:
            while len(numbers := np.fromfile(rows, TYPES[code], AT_ONCE)):
                largest = max(int(numbers.max()) - first, -1 if largest is None else largest)
    except (FileNotFoundError, IndexError, struct.error):
        return None
    return largest
