"""What a filter finds out about each row, in blocks on disk, and which rows are dropped in comparison with others.

``parts/NNNNN.npy`` holds a record for each row of a block: the rule that it breaks by itself, a 64-bit hash of its
text, the teacher's score and the cross-entropy under the reverse model (NaN where there is none).

Memory: 1 byte for each row, about 12 more while a share is taken, and about 70 for each of a million rows while
duplicates are found.
"""

import hashlib
import io
from collections.abc import Iterator, Sequence

import numpy as np

from fairseq_kd.corpus.filter_rules import DUPLICATE, KEPT
from fairseq_kd.errors import UserError
from fairseq_kd.storage.block_folder import Block
from fairseq_kd.storage.checksums import Damaged, read_sealed
from fairseq_kd.storage.files import write_sealed

RECORD = np.dtype([("rule", "u1"), ("key", "<u8"), ("score", "<f4"), ("reverse", "<f4")])
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
        values = np.full(len(self.rules), np.inf, np.float32)
        for span, column in self._column(name):
            values[span] = column if lowest else -column
        kept = self.rules == KEPT
        unscored = kept & np.isnan(values)
        values[~kept | unscored] = np.inf
        count = round(share * int((kept & ~unscored).sum()))
        if count == 0:
            return None, int(unscored.sum())
        threshold = np.partition(values, count - 1)[count - 1]
        dropped = values < threshold
        equal = np.flatnonzero(values == threshold)
        dropped[equal[: count - int(dropped.sum())]] = True
        self.rules[dropped] = rule
        return float(threshold if lowest else -threshold), int(unscored.sum())
