"""What the indexes of a data-bin's files tell without fairseq: how many rows, and whether fairseq can open the file.

Neither torch nor fairseq is imported.
"""

import struct
from contextlib import suppress
from pathlib import Path

from fairseq_kd.data.databins.files import parts_of
from fairseq_kd.errors import UserError

_COUNTS = {b"MMIDIDX\x00": 18, b"TNTIDX\x00\x00": 32, b"HUFFIDX\x00": 25}
"""Where the number of rows stands in an index, by the first 8 bytes: mmap; lazy and cached; huffman."""


def rows_of_split(folder: Path, split: str, source: str, target: str, language: str) -> int:
    """The rows of one side of a split, over all its parts, read from the indexes alone; 0 where there are none."""
    return sum(_rows_of(folder / f"{part}{language}.idx") or 0 for part in parts_of(folder, split, source, target))


def refuse_unreadable(folder: Path, split: str, pair: tuple[str, str], language: str) -> None:
    """Raise a UserError where a file of one side of a split has no rows, or is cut short: fairseq cannot read it."""
    for part in parts_of(folder, split, *pair):
        index, data = (folder / f"{part}{language}.{end}" for end in ("idx", "bin"))
        rows = _rows_of(index)
        if rows == 0:
            raise UserError(
                f"data-bin {folder}: {part}{language} has no rows, as its text was empty; give another split, or "
                "binarise text that has lines"
            )
        if _cut_short(index, data, rows):
            raise UserError(f"data-bin {folder}: {part}{language} was cut short; make the data-bin again")


def _cut_short(index: Path, data: Path, rows: int | None) -> bool:
    """Whether files of the format mmap are too short to be opened: fairseq then prints a traceback beside any error."""
    with suppress(OSError), open(index, "rb") as handle:
        # A header of 26 bytes, then of each row its length (4 bytes) and its place (8 bytes)
        whole = rows is not None and index.stat().st_size >= 26 + 12 * rows and data.stat().st_size > 0
        return handle.read(8) == b"MMIDIDX\x00" and not whole
    return False


def _rows_of(index: Path) -> int | None:
    """The rows that an index counts; None where it is missing or damaged."""
    try:
        with open(index, "rb") as handle:
            head = handle.read(40)
        return int(struct.unpack_from("<Q", head, _COUNTS[head[:8]])[0])
    except (OSError, KeyError, struct.error):
        return None
