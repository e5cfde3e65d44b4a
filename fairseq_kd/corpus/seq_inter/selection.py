"""Choosing from the n-best lists of a whole file: blocks of rows, in several processes."""

import functools
import os
import signal
import threading
import time
from array import array
from collections import Counter, deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from itertools import islice
from math import fsum
from pathlib import Path
from typing import IO, Any

from tqdm import tqdm

from fairseq_kd.corpus.seq_inter.closest import Selected, Similarity, closest
from fairseq_kd.corpus.seq_inter.nbest import NBest
from fairseq_kd.errors import UserError
from fairseq_kd.storage.files import whole_file
from fairseq_kd.storage.shards import spans


@dataclass(frozen=True)
class Part:
    """The file of what was chosen for a block of rows, and the block's number."""

    number: int
    rows: range
    path: Path

    def write(self, choices: Iterable[Selected]) -> None:
        """A line "rank, similarity of rank 1, of the chosen, distinct texts, subwords" for each row."""
        with whole_file(self.path) as handle:
            for choice in choices:
                numbers = f"{choice.rank}\t{choice.first!r}\t{choice.best!r}\t{choice.distinct}"
                handle.write(f"{numbers}\t{choice.tokens}\n")

    def read(self) -> list[Selected]:
        """What :meth:`write` wrote.

        Raises:
            UserError: the file is missing or damaged.
        """
        try:
            # Only "\n" ends a line here
            with open(self.path, encoding="utf-8", newline="\n") as handle:
                fields = [line.removesuffix("\n").split("\t", 4) for line in handle]
            choices = [Selected(int(a), float(b), float(c), int(d), tokens) for a, b, c, d, tokens in fields]
        except (OSError, ValueError) as error:
            raise UserError(f"{self.path}: cannot be read ({error}); delete it and run the selection again") from None
        if len(choices) != len(self.rows):
            raise UserError(
                f"{self.path}: {len(choices)} lines, not {len(self.rows)}; delete it and run the selection again"
            )
        return choices


def parts(directory: Path, rows: int, block_rows: int) -> list[Part]:
    """Of a selection into ``directory``."""
    return [Part(number, span, directory / "parts" / f"{number:05d}.tsv") for number, span in spans(rows, block_rows)]


def choose(nbest: NBest, block: int, gold: Sequence[str], similarity: Similarity) -> Iterator[Selected]:
    """What is chosen for each row of a block, given its gold targets."""
    for candidates, target in zip(nbest.lists(block, len(gold)), gold, strict=True):
        yield closest(candidates, target, similarity)


def _write(part: Part, nbest: NBest, gold: Sequence[str], similarity: Similarity) -> int:
    part.write(choose(nbest, part.number, gold, similarity))
    return len(gold)


def write_parts(every: Sequence[Part], nbest: NBest, gold: Iterator[str], similarity: Similarity, workers: int) -> None:
    """Write the parts that are not there yet, each by one of so many processes.

    No more than a few blocks' gold targets are in memory; a process reads its block's lists one by one.

    Raises:
        UserError: a process was ended from outside.
    """
    total, done = (sum(len(part.rows) for part in some) for some in (every, [p for p in every if p.path.exists()]))
    if done == total:
        return
    waiting: deque[Future[int]] = deque()
    initialise = functools.partial(_follow, os.getpid())
    try:
        with (
            ProcessPoolExecutor(workers, initializer=initialise) as pool,
            tqdm(total=total, initial=done, unit="row", desc="select", disable=None) as bar,
        ):
            for part in every:
                block = list(islice(gold, len(part.rows)))
                if part.path.exists():
                    continue
                waiting.append(pool.submit(_write, part, nbest, block, similarity))
                if len(waiting) > 2 * workers:
                    bar.update(waiting.popleft().result())
            while waiting:
                bar.update(waiting.popleft().result())
    except BrokenProcessPool:
        raise UserError("a process of the selection was killed, for want of memory perhaps; run it again") from None


def _follow(parent: int) -> None:
    """Leave Ctrl-C to the parent, and end when it has been killed: a worker would wait for it for ever."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(0.5)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def join(every: Iterable[Part], output: IO[str]) -> dict[str, Any]:
    """Write the subwords of all parts, one row a line, and count: what the report says of them.

    The numbers do not depend on the blocks: sums are exact ones, rounded once.
    """
    first, best, ranks, distinct = array("d"), array("d"), Counter[int](), 0
    for part in every:
        for choice in part.read():
            output.write(choice.tokens + "\n")
            first.append(choice.first)
            best.append(choice.best)
            ranks[choice.rank] += 1
            distinct += choice.distinct
    return {
        "rows": len(best),
        "distinct": distinct,
        "rank_1": fsum(first) / len(first),
        "chosen": fsum(best) / len(best),
        "gain": fsum(one - other for one, other in zip(best, first, strict=True)) / len(best),
        "improved": sum(one > other for one, other in zip(best, first, strict=True)),
        "ranks": {str(rank): ranks[rank] for rank in sorted(ranks)},
    }
