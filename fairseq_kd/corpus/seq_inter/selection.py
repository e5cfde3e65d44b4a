"""Choosing from the n-best lists of a whole file, block by block, in several processes."""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from math import fsum
from pathlib import Path
from typing import IO, Any

from tqdm import tqdm

from fairseq_kd.corpus.seq_inter.closest import Selected, closest, most_agreed
from fairseq_kd.corpus.seq_inter.nbest import NBest
from fairseq_kd.corpus.seq_inter.similarity import Similarity
from fairseq_kd.errors import UserError
from fairseq_kd.storage.block_folder import Block, BlockFolder, count_rows
from fairseq_kd.storage.checksums import Damaged, read_sealed
from fairseq_kd.storage.files import write_sealed
from fairseq_kd.storage.processes import in_processes


def select_folder(output: Path, settings: dict[str, Any]) -> BlockFolder:
    """The blocks of a selection into ``output``, one file each: ``parts/NNNNN.tsv``."""
    return BlockFolder(output, "selection", settings, output / "parts", (".tsv",))


def write_block(block: Block, chosen: Iterable[Selected]) -> None:
    """Write a line "rank, similarity of rank 1, of the chosen, distinct texts, subwords" for each row; then a seal."""
    lines = (f"{one.rank}\t{one.first!r}\t{one.best!r}\t{one.distinct}\t{one.tokens}\n" for one in chosen)
    write_sealed(block.paths[0], "".join(lines).encode())


def read_block(block: Block) -> list[Selected]:
    """What :func:`write_block` wrote.

    Raises:
        UserError: the file is missing or damaged.
    """
    (path,) = block.paths
    again = "delete it and run the selection again"
    try:
        *lines, end = read_sealed(path).decode("utf-8").split("\n")  # only "\n" ends a line here
        if end:
            raise Damaged("its last line is not whole")
        fields = [line.split("\t", 4) for line in lines]
        chosen = [Selected(int(a), float(b), float(c), int(d), tokens) for a, b, c, d, tokens in fields]
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: cannot be read ({error}); {again}") from None
    if len(chosen) != len(block.rows):
        raise UserError(f"{path}: {len(chosen)} lines, expected {len(block.rows)}; {again}")
    return chosen


def choose(block: Block, nbest: NBest, gold: Sequence[str], similarity: Similarity) -> int:
    """Choose for each row of a block, given its gold targets, and write the block; returns the number of rows."""
    pairs = zip(nbest.lists(block.number, len(gold)), gold, strict=True)
    if similarity.needs_gold:
        write_block(block, (closest(candidates, target, similarity) for candidates, target in pairs))
    else:
        write_block(block, (most_agreed(candidates, similarity) for candidates, _ in pairs))
    return len(gold)


def write_blocks(
    blocks: Sequence[Block], nbest: NBest, gold: Iterator[str], similarity: Similarity, workers: int
) -> None:
    """Write the blocks that do not exist yet, each in one of ``workers`` processes.

    Only a few blocks' gold targets are in memory at a time; a process reads its block's lists one by one.

    Raises:
        UserError: a process was killed from outside.
    """
    done = {block.number for block in blocks if block.done}
    total, written = count_rows(blocks), count_rows(block for block in blocks if block.number in done)
    if written == total:
        return

    def jobs() -> Iterator[tuple[Block, NBest, list[str], Similarity]]:
        for block in blocks:
            targets = list(islice(gold, len(block.rows)))
            if block.number not in done:
                yield block, nbest.only(block.number), targets, similarity

    with tqdm(total=total, initial=written, unit="row", desc="select", disable=None) as bar:
        for rows in in_processes(choose, jobs(), workers, "selection"):
            bar.update(rows)


class ExactSum:
    """A sum of floats, rounded once at the end as that of ``math.fsum``, in little memory (Shewchuk 1997)."""

    def __init__(self) -> None:
        self.parts: list[float] = []
        """Numbers without common digits, whose sum is exact."""

    def add(self, value: float) -> None:
        """Add a finite number."""
        parts = []
        for part in self.parts:
            larger, smaller = (value, part) if abs(value) >= abs(part) else (part, value)
            value = larger + smaller
            rest = smaller - (value - larger)
            if rest:
                parts.append(rest)
        self.parts = [*parts, value]

    @property
    def total(self) -> float:
        """The rounded sum."""
        return fsum(self.parts)


def write_chosen(blocks: Iterable[Block], output: IO[str]) -> dict[str, Any]:
    """Write the subwords of all blocks, one row a line, and count what the report tells.

    The numbers do not depend on the size of the blocks: sums are exact and rounded once.

    Returns:
        "rows"; "distinct" texts over all lists; the mean similarity of "rank_1" and of the "chosen", and the mean
        "gain"; "improved", rows whose chosen candidate is closer than rank 1; "ranks", rows by chosen rank;
        "untranslated", rows whose candidates are all empty.

    Raises:
        UserError: a block is missing or damaged.
    """
    first, best, gain = ExactSum(), ExactSum(), ExactSum()
    ranks, distinct, improved, untranslated = Counter[int](), 0, 0, 0
    for block in blocks:
        for one in read_block(block):
            output.write(one.tokens + "\n")
            first.add(one.first)
            best.add(one.best)
            gain.add(one.best - one.first)
            improved += one.best > one.first
            if one.tokens or one.distinct > 1:
                ranks[one.rank] += 1
            else:
                untranslated += 1
            distinct += one.distinct
    rows = ranks.total() + untranslated
    return {
        "rows": rows,
        "distinct": distinct,
        "rank_1": first.total / rows,
        "chosen": best.total / rows,
        "gain": gain.total / rows,
        "improved": improved,
        "ranks": {str(rank): ranks[rank] for rank in sorted(ranks)},
        "untranslated": untranslated,
    }
