"""A block of soft targets on disk: the records of its rows, and behind them a checksum for each row.

The file is what ``np.save`` writes of the records. Behind that come a CRC-32 for each row, of 4 bytes, and a seal: the
checksum of these and of the file's head. Readers of ``.npy`` files pass over them. A training that reads a row checks
that row alone, so no file is read twice.
"""

import errno
import io
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np

from fairseq_kd.errors import UserError
from fairseq_kd.storage.block_folder import Block
from fairseq_kd.storage.checksums import LENGTH, Damaged, seal_of
from fairseq_kd.storage.files import write_sealed

SUM = np.dtype("<u4")


def write_records(block: Block, records: np.ndarray, ends: Sequence[int]) -> None:
    """Write a block's records.

    Args:
        block: has one file.
        records: shape (target tokens of its rows,).
        ends: where each row's records end; as many as the block has rows.
    """
    (path,) = block.paths
    buffer = io.BytesIO()
    np.save(buffer, records)
    head = buffer.tell() - records.nbytes
    sums = np.array([_sum(records[first:end]) for first, end in zip([0, *ends[:-1]], ends, strict=True)], SUM).tobytes()
    buffer.write(sums)
    content = buffer.getvalue()
    write_sealed(path, content, content[:head] + sums)


def _sum(records: np.ndarray) -> int:
    return zlib.crc32(records.tobytes())


@dataclass(frozen=True)
class Records:
    """A block's records, mapped into memory.

    Attributes:
        path: of the file.
        records: shape (tokens,).
        sums: a checksum for each row, shape (rows,); None in a file of an earlier version, which has none.
    """

    path: Path
    records: np.ndarray
    sums: np.ndarray | None

    def row(self, number: int, first: int, end: int) -> np.ndarray:
        """A copy of the records of one row of the block: a part of the map would keep the file open.

        Args:
            number: of the row in the block.
            first: where its records begin.
            end: where they end.

        Raises:
            Damaged: they are not those that were written.
        """
        found = self.records[first:end].copy()
        if self.sums is not None and _sum(found) != self.sums[number]:
            raise Damaged(f"the checksum of row {number} of this block differs")
        return found


@lru_cache(maxsize=256)
def open_records(path: Path, tokens: int, rows: int, kind: np.dtype) -> Records:
    """Map a block's file. Each map keeps a file open, and a process may open only so many: a thousand by default.

    Args:
        path: of the file.
        tokens: how many records it holds.
        rows: how many rows these are of.
        kind: of a record.

    Raises:
        Damaged: the file holds something else.
        OSError: it cannot be opened.
    """
    try:
        records = np.load(path, mmap_mode="r")
    except OSError:
        raise
    except Exception as error:  # numpy lets errors of its parser, of zipfile and of others through
        raise Damaged(f"no array: {error!r}") from None
    if not isinstance(records, np.memmap) or records.shape != (tokens,) or records.dtype != kind:
        raise Damaged(f"it does not hold {tokens} records of this cache")
    end = records.offset + records.nbytes
    size = path.stat().st_size
    plain = records.view(np.ndarray)  # whose slices are made in half the time
    if size == end:
        return Records(path, plain, None)
    if size != end + rows * SUM.itemsize + LENGTH:
        raise Damaged("its size is wrong")
    with open(path, "rb") as handle:
        head = handle.read(records.offset)
        handle.seek(end)
        sums = handle.read(rows * SUM.itemsize)
        if handle.read() != seal_of(head + sums):
            raise Damaged("the checksum of its head differs")
    return Records(path, plain, np.frombuffer(sums, SUM))


def unreadable(path: Path, reason: OSError | Damaged | str) -> UserError:
    """What to tell of a block that cannot be read."""
    if isinstance(reason, OSError) and reason.errno in (errno.EMFILE, errno.ENFILE):
        return UserError(f"{path}: this process may open no more files; raise the limit (ulimit -n)")
    return UserError(f"{path}: damaged ({reason}); delete it and run the cache again")
