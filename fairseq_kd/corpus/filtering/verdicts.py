"""What a filter finds out about each row, in blocks on disk, and which rows are dropped in comparison with others.

``parts/NNNNN.npy`` holds a record for each row of a block: the rule that it breaks by itself, a 64-bit hash of its
text, the teacher's score and the cross-entropy under the reverse model (NaN where there is none).

Memory: 1 byte for each row, and about 70 for each of a million rows while duplicates are found.
"""

import hashlib
import io
from collections.abc import Iterator, Sequence

import numpy as np

from fairseq_kd.corpus.filtering.rules import DUPLICATE, KEPT
from fairseq_kd.errors import UserError
from fairseq_kd.storage.block_folder import Block
from fairseq_kd.storage.checksums import Damaged, read_sealed
from fairseq_kd.storage.files import write_sealed

RECORD = np.dtype([("rule", "u1"), ("key", "<u8"), ("score", "<f4"), ("reverse", "<f4")])
NO_VALUE = 2**32 - 1
"""Stands for NaN; the order of no other value is as high."""
AT_ONCE = 1_000_000
"""Rows whose hashes are compared at a time."""


def text_key(source: str, target: str) -> int:
    """A 64-bit hash of a pair. Two of 10 million different pairs have the same one with probability 0.000003."""
    return int.from_bytes(hashlib.blake2b(f"{source}\n{target}".encode(), digest_size=8).digest(), "little")


def write_records(block: Block, records: np.ndarray) -> None:
    """Write a block's records, shape (rows,)."""
    buffer = io.BytesIO()
    np.save(buffer, records)
    write_sealed(block.paths[0], buffer.getvalue())


def read_records(block: Block) -> np.ndarray:
    """What :func:`write_records` wrote.

    Raises:
        UserError: the file is damaged.
    """
    (path,) = block.paths
    try:
        content = io.BytesIO(read_sealed(path))
        records = np.load(content, allow_pickle=False)
        if content.read():
            raise Damaged("it is too long")
    except Exception as error:  # numpy lets errors of its parser, of zipfile and of others through
        raise UserError(f"{path}: cannot be read ({error}); delete it and run the filter again") from None
    if not isinstance(records, np.ndarray) or records.dtype != RECORD or records.shape != (len(block.rows),):
        raise UserError(f"{path}: not the records of {len(block.rows)} rows; delete it and run the filter again")
    return records


class Verdicts:
    """The rule that drops each row, or 0.

    Args:
        blocks: all blocks, written.
        rows: how many there are.
    """

    def __init__(self, blocks: Sequence[Block], rows: int):
        self.blocks = blocks
        self.rules = np.empty(rows, np.uint8)
        for block in blocks:
            self.rules[block.rows.start : block.rows.stop] = read_records(block)["rule"]

    def _column(self, name: str) -> Iterator[tuple[slice, np.ndarray]]:
        for block in self.blocks:
            yield slice(block.rows.start, block.rows.stop), read_records(block)[name]

    def drop_duplicates(self, at_once: int = AT_ONCE) -> None:
        """Of kept rows with the same text, keep the first."""
        parts = 1 + len(self.rules) // at_once
        for part in range(parts):
            keys, rows = [], []
            for span, column in self._column("key"):
                here = np.flatnonzero((self.rules[span] == KEPT) & (column % np.uint64(parts) == part))
                keys.append(column[here])
                rows.append(here + span.start)
            every = np.concatenate(rows)
            firsts = np.unique(np.concatenate(keys), return_index=True)[1]
            repeated = np.ones(len(every), bool)
            repeated[firsts] = False
            self.rules[every[repeated]] = DUPLICATE

    def drop_share(self, name: str, rule: int, share: float, lowest: bool) -> tuple[float | None, int]:
        """Drop round(``share`` × rows) of the kept rows that have a value; of equal ones the first.

        Args:
            name: of the value, "score" or "reverse".
            rule: the number of the rule.
            share: from 0 to below 1.
            lowest: whether low values are bad; otherwise high ones are.

        Returns:
            The best value that was dropped, None where none was; and how many kept rows have no value.
        """
        unscored = with_value = 0
        for _, order in self._kept(name, lowest):
            with_value += int((order != NO_VALUE).sum())
            unscored += int((order == NO_VALUE).sum())
        count = round(share * with_value)
        if count == 0:
            return None, unscored
        threshold, left = self._nth(name, lowest, count)
        for rows, order in self._kept(name, lowest):
            equal = rows[order == threshold][:left]
            left -= len(equal)
            self.rules[np.concatenate([rows[order < threshold], equal])] = rule
        value = _values(threshold)
        return value if lowest else -value, unscored

    def _kept(self, name: str, lowest: bool) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Of each block the kept rows, and their values as :func:`_order` gives them, bad ones low."""
        for span, column in self._column(name):
            here = np.flatnonzero(self.rules[span] == KEPT)
            yield here + span.start, _order(column[here] if lowest else -column[here])

    def _nth(self, name: str, lowest: bool, count: int) -> tuple[int, int]:
        """The value at place ``count``, from 1, of all in ascending order; how many of that value are up to there.

        The upper 16 bits are found first, then the lower ones: each needs a count of 65,536 numbers.
        """
        found = 0
        for shift in (16, 0):
            counts = np.zeros(2**16, np.int64)
            for _, order in self._kept(name, lowest):
                same = order[(order >> np.uint64(shift + 16)) == found]
                counts += np.bincount((same >> np.uint64(shift)).astype(np.int64) & 0xFFFF, minlength=2**16)
            place = int(np.searchsorted(np.cumsum(counts), count))
            count -= int(counts[:place].sum())
            found = found << 16 | place
        return found, count


def _order(values: np.ndarray) -> np.ndarray:
    """Whole numbers from 0 to 2³² − 1 in the order of float32 values; :data:`NO_VALUE` for NaN; uint64, same shape."""
    bits = (values + np.float32(0)).view(np.uint32)  # −0 becomes 0
    order = np.where(bits >> np.uint32(31), ~bits, bits | np.uint32(2**31)).astype(np.uint64)
    return np.where(np.isnan(values), np.uint64(NO_VALUE), order)


def _values(order: int) -> float:
    """The float32 value whose place :func:`_order` gave."""
    bits = order - 2**31 if order >= 2**31 else 2**32 - 1 - order
    return float(np.uint32(bits).view(np.float32))
