"""A folder of blocks: work on the rows of a corpus that several runs share and that a kill can interrupt.

A block is the rows that are written at a time. Its files appear whole or not at all, so a run that begins again writes
only the missing blocks. Blocks are cut by absolute row number: what a block's files hold does not depend on which run
wrote them, or when. What the files hold, and how they are read and written, is the business of each user.
"""

import glob
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from fairseq_kd.errors import UserError
from fairseq_kd.storage.files import file_hash, remove_leftover, write_json
from fairseq_kd.storage.processes import alone_in
from fairseq_kd.storage.settings import differences, read_settings

SIGNATURE = "signature.json"
"""The file that tells how a finished output was made, with the hashes of its files; it is written last."""


MOST_BLOCKS = 10_000_000
"""Blocks of a folder. With more, no file system would be of use."""


@dataclass(frozen=True)
class Shard:
    """One run's share of the blocks: those whose number leaves ``number`` when divided by ``shards``.

    Raises:
        UserError: a value is out of range.
    """

    number: int = 0
    shards: int = 1
    """How many runs share the work."""
    block_rows: int = 1000
    """Rows of a block; the last block may have fewer."""

    def __post_init__(self) -> None:
        if self.shards < 1 or not 0 <= self.number < self.shards:
            raise UserError(
                f"--shard {self.number} --shards {self.shards}: give --shards N and --shard from 0 to N - 1"
            )
        if self.block_rows < 1:
            raise UserError(f"--block-rows {self.block_rows}: give 1 or more")


WHOLE = Shard()
"""All blocks, of 1,000 rows each."""


@dataclass(frozen=True)
class Block:
    """Rows that are written together.

    Attributes:
        number: from 0, in the order of the rows.
        rows: of the corpus, from 0.
        paths: the block's files, in the order in which they are written.
    """

    number: int
    rows: range
    paths: tuple[Path, ...]

    @property
    def done(self) -> bool:
        """Whether all files of the block exist; each appears whole."""
        return all(path.exists() for path in self.paths)


def count_rows(blocks: Iterable[Block]) -> int:
    """How many rows ``blocks`` hold together."""
    return sum(len(block.rows) for block in blocks)


@dataclass(frozen=True)
class BlockFolder:
    """The blocks of one piece of work, the settings it keeps to, and the signature of its finished output.

    Attributes:
        output: the folder that messages name; the finished output goes there.
        work: what messages call the work: "decode", "selection", "cache".
        settings: all that the blocks' contents depend on, "rows" and "block_rows" (both int) among them.
        folder: where the blocks' files are.
        endings: of a block's files, in the order in which they are written.
        prefix: of a block's files, before the block's number of five digits.
        settings_name: of the file in ``folder`` that keeps the settings.
    """

    output: Path
    work: str
    settings: dict[str, Any]
    folder: Path
    endings: tuple[str, ...]
    prefix: str = ""
    settings_name: str = SIGNATURE

    @cached_property
    def blocks(self) -> list[Block]:
        """All blocks, in the order of their rows.

        Raises:
            UserError: there are more than :data:`MOST_BLOCKS`.
        """
        rows, size = self.settings["rows"], self.settings["block_rows"]
        if rows > size * MOST_BLOCKS:
            raise UserError(f"{self.output}: {rows} rows need too many blocks; give --block-rows above {size}")
        return [
            Block(number, range(first, min(first + size, rows)), self._paths(number))
            for number, first in enumerate(range(0, rows, size))
        ]

    def _paths(self, number: int) -> tuple[Path, ...]:
        return tuple(self.folder / f"{self.prefix}{number:05d}{ending}" for ending in self.endings)

    def share(self, shard: Shard) -> list[Block]:
        """The blocks of one run, written or not."""
        return [block for block in self.blocks if block.number % shard.shards == shard.number]

    @property
    def signature(self) -> dict[str, Any] | None:
        """What :meth:`finish` wrote; None where the output is not finished.

        Raises:
            UserError: the file is damaged.
        """
        return read_settings(self.output / SIGNATURE, self.work)

    def check(self) -> None:
        """Refuse a folder that holds work with other settings.

        Raises:
            UserError: the settings of the folder, or of its finished output, differ from these, or cannot be read.
        """
        for found in (self.signature, read_settings(self.folder / self.settings_name, self.work)):
            details = "" if found is None else differences(found, self.settings)
            if details:
                raise UserError(
                    f"{self.output} has other settings than this {self.work}: {details}; "
                    "give another --output or delete the folder"
                )

    def claim(self) -> None:
        """Keep the settings in the folder, unless they are there already. Of runs that start together the first wins.

        Raises:
            UserError: as :meth:`check`, or the folder cannot be written.
        """
        self.check()
        path = self.folder / self.settings_name
        try:
            if not path.exists():
                with alone_in(path.parent):
                    if not path.exists():
                        write_json(path, self.settings)
        except OSError as error:
            raise UserError(f"{self.output}: cannot be written: {error.strerror}") from None
        self.check()  # another run may have been faster

    def refuse_gaps(self) -> None:
        """Raise a UserError that names the blocks that are not written yet."""
        missing = [block.number for block in self.blocks if not block.done]
        if missing:
            names = ", ".join(map(str, missing[:10])) + (", …" if len(missing) > 10 else "")
            raise UserError(
                f"{self.output}: {len(missing)} of {len(self.blocks)} blocks are missing: {names}; run their shards "
                "again (of N shards, shard I does the blocks that leave I when divided by N)"
            )

    def sweep(self, outputs: Sequence[Path] = ()) -> None:
        """Delete the temporary files of killed runs; those of runs at work stay. Call it once all blocks are there.

        Args:
            outputs: files of the finished output, whose temporary files go too.
        """
        for path in self.folder.glob("*.tmp"):
            remove_leftover(path)
        self._sweep_output(outputs)

    def _sweep_output(self, outputs: Sequence[Path]) -> None:
        for path in (*outputs, self.output / SIGNATURE):
            for leftover in path.parent.glob(f"{glob.escape(path.name)}.*.tmp"):
                remove_leftover(leftover)

    def finish(self, outputs: Sequence[Path], details: dict[str, Any]) -> dict[str, Any]:
        """Write the signature of the finished output and return it.

        Args:
            outputs: the files of the output, whose hashes the signature keeps under "sha256", by name.
            details: what the signature says beside the settings.
        """
        hashes = {path.name: file_hash(path) for path in outputs}
        signature = {**self.settings, **details, "sha256": hashes}
        write_json(self.output / SIGNATURE, signature)
        return signature

    def finished(self, outputs: Iterable[Path]) -> dict[str, Any] | None:
        """The signature where all ``outputs`` exist and have the hashes that it says; else None.

        Where they have, the temporary files that killed runs left of them are deleted.

        Raises:
            UserError: as :attr:`signature`.
        """
        signature, outputs = self.signature, list(outputs)
        hashes = {} if signature is None else signature.get("sha256", {})
        if not all(path.is_file() and file_hash(path) == hashes.get(path.name) for path in outputs):
            return None
        self._sweep_output(outputs)
        return signature
