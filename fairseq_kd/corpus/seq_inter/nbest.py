"""Files of n-best lists, as `fairseq-kd merge` writes them: a line "row, rank, score, subwords" for each candidate.

Tabs separate the four fields. Rows count from 0, ranks from 1, and every row has as many candidates as the first.
"""

import hashlib
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from tqdm import tqdm

from fairseq_kd.errors import UserError


@dataclass(frozen=True)
class Candidate:
    """One line of the file: rank, the model's score (higher is better) and subwords."""

    rank: int
    score: float
    tokens: str


@dataclass(frozen=True)
class NBest:
    """A file of n-best lists that :func:`check_nbest` has checked.

    Attributes:
        path: of the file.
        size: candidates of each row.
        block_rows: rows of a block; the last block may have fewer.
        offsets: where in the file each block begins, in bytes, by the block's number.
        sha256: of the file.
    """

    path: Path
    size: int
    block_rows: int
    offsets: Mapping[int, int]
    sha256: str

    def only(self, block: int) -> "NBest":
        """This file with the place of one block, for another process: a file of 10 million rows has 10,000 places."""
        return replace(self, offsets={block: self.offsets[block]})

    def lists(self, block: int, rows: int) -> Iterator[list[Candidate]]:
        """The candidates of the first ``rows`` rows of a block."""
        with open(self.path, "rb") as handle:
            handle.seek(self.offsets[block])
            for _ in range(rows):
                yield [self._candidate(handle.readline()) for _ in range(self.size)]

    def _candidate(self, line: bytes) -> Candidate:
        _, rank, score, tokens = line.removesuffix(b"\n").decode("utf-8").split("\t", 3)
        return Candidate(int(rank), float(score), tokens.removesuffix("\r"))


def check_nbest(path: Path, rows: int, block_rows: int) -> NBest:
    """Read the whole file once, line by line, and find where its blocks begin.

    Raises:
        UserError: the file is missing or empty, a line is damaged or misnumbered, a row is missing or has fewer or
            more candidates than the first, or the file does not have ``rows`` rows. The message gives the number of
            the first wrong line, from 1.
    """
    size = _first_size(path)
    digest, offsets, position, number = hashlib.sha256(), dict[int, int](), 0, 0
    with open(path, "rb") as handle, tqdm(total=rows, unit="row", desc="check", disable=None) as bar:
        for number, line in enumerate(handle, 1):
            row, rank = divmod(number - 1, size)
            if rank == 0:
                bar.update()
                if row % block_rows == 0:
                    offsets[row // block_rows] = position
            problem = _problem(line, row, rank + 1, size, rows)
            if problem:
                raise UserError(f"{path}: line {number}: {problem}")
            digest.update(line)
            position += len(line)
    if number < rows * size:
        row, rank = divmod(number, size)
        raise UserError(
            f"{path}: it ends after line {number}, before rank {rank + 1} of row {row} (from 0): the reference has "
            f"{rows} rows, and the first row {size} candidates; merge the decode again, or give its own reference"
        )
    return NBest(path, size, block_rows, offsets, digest.hexdigest())


def _first_size(path: Path) -> int:
    """How many candidates row 0 has: the lines at the start that are its ranks 1, 2, …; at least 1."""
    size = 0
    with open(path, "rb") as handle:
        for size, line in enumerate(handle):
            if line.split(b"\t", 2)[:2] != [b"0", b"%d" % (size + 1)]:
                return max(size, 1)
        if not handle.tell():
            raise UserError(f"{path}: the file is empty; give the SUBSET.nbest.tsv of fairseq-kd decode --nbest N")
    return size + 1


def _problem(line: bytes, row: int, rank: int, size: int, rows: int) -> str | None:
    """What is wrong with a line that should be this rank of this row, or None."""
    fields = line.split(b"\t", 3)
    if len(fields) != 4:
        return "it is not 'row, rank, score, subwords' with tabs between them"
    if fields[0] != b"%d" % row or fields[1] != b"%d" % rank:
        found = ", rank ".join(field.decode("utf-8", "replace") for field in fields[:2])
        return (
            f"it is row {found}, expected row {row}, rank {rank} (rows count from 0, ranks from 1, and the first row "
            f"has {size} candidates)"
        )
    if row >= rows:
        return f"it is row {row} (from 0), but the reference has only {rows} rows"
    return _damaged(fields[2], fields[3])


def _damaged(score: bytes, tokens: bytes) -> str | None:
    try:
        if not math.isfinite(float(score)):
            raise ValueError
    except ValueError:
        return f"the score {score.decode('utf-8', 'replace')!r} is not a finite number"
    try:
        tokens.decode("utf-8")
    except UnicodeDecodeError as error:
        return f"not UTF-8 (byte {error.start + 1} of the subwords)"
    return None
