"""The two files of one side of a split, in fairseq's format mmap, written block by block.

The bytes are those that fairseq-preprocess writes. fairseq's own writer keeps a number for each row in memory, up to 80
bytes. This one keeps nothing. Neither torch nor fairseq is imported.
"""

import os
import shutil
import struct
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import IO

import numpy as np

MAGIC = b"MMIDIDX\x00\x00"
CODES = {np.dtype("<u2"): 8, np.dtype("<u4"): 9}
"""fairseq's number of a type."""
BLOCK_ROWS = 10_000
"""Single rows that are written together."""


def number_type(symbols: int) -> np.dtype:
    """The type in which fairseq stores the symbols of a dictionary of this size."""
    return np.dtype("<u2" if symbols < 65500 else "<u4")


class RowFiles:
    """Takes the rows of ``PREFIX.bin`` and ``PREFIX.idx``; :func:`open_row_files` makes it.

    Args:
        data: gets the symbols.
        index: gets the length of each row.
        starts: gets the place of each row in ``data``.
        kind: the type of a symbol.
    """

    def __init__(self, data: IO[bytes], index: IO[bytes], starts: IO[bytes], kind: np.dtype):
        self.data, self.index, self.starts, self.kind = data, index, starts, kind
        self.rows = self.place = 0

    def add(self, sizes: np.ndarray, symbols: np.ndarray) -> None:
        """Add rows.

        Args:
            sizes: the length of each, shape (rows,).
            symbols: of all, row after row, ``</s>`` included, shape (sum of the lengths,).
        """
        ends = np.cumsum(sizes, dtype=np.int64) * self.kind.itemsize + self.place
        self.data.write(symbols.astype(self.kind).tobytes())
        self.index.write(sizes.astype("<i4").tobytes())
        self.starts.write(np.concatenate([[self.place], ends])[:-1].astype("<i8").tobytes())
        self.rows += len(sizes)
        self.place = int(ends[-1]) if len(sizes) else self.place

    def add_each(self, rows: Iterable[np.ndarray]) -> None:
        """Add rows that come one by one: the symbols of each, ``</s>`` included, shape (length,)."""
        coming = iter(rows)
        while block := list(islice(coming, BLOCK_ROWS)):
            self.add(np.array([len(row) for row in block]), np.concatenate(block))


@contextmanager
def open_row_files(prefix: Path, symbols: int) -> Iterator[RowFiles]:
    """Write ``PREFIX.bin`` and ``PREFIX.idx``, which are whole when the ``with`` block ends.

    Args:
        prefix: of both files, ``DIR/train.en-de.en`` for instance.
        symbols: in the dictionary, the four of fairseq counted.
    """
    kind = number_type(symbols)
    starts = Path(f"{prefix}.starts")
    try:
        with open(f"{prefix}.bin", "wb") as data, open(f"{prefix}.idx", "wb") as index:
            head = MAGIC + struct.pack("<QB", 1, CODES[kind])
            index.write(head + struct.pack("<Q", 0))
            with open(starts, "w+b") as places:
                files = RowFiles(data, index, places, kind)
                yield files
                places.seek(0)
                shutil.copyfileobj(places, index)
            index.seek(len(head))
            index.write(struct.pack("<Q", files.rows))
    finally:
        if starts.exists():
            os.unlink(starts)
