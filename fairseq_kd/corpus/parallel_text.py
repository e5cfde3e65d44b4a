"""Parallel text: the files ``PREFIX.SOURCE`` and ``PREFIX.TARGET`` of a split, line for line, perhaps compressed."""

import hashlib
import itertools
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from fairseq_kd.corpus.compressed import COMPRESSED, find_text
from fairseq_kd.corpus.text_lines import byte_blocks, not_utf8
from fairseq_kd.data.text.byte_order_mark import MARK, without_mark
from fairseq_kd.errors import UserError
from fairseq_kd.storage.files import whole_file

SPLITS = ("train", "valid", "test")
LONGEST_LINE = 4192
"""sentencepiece learns from no line of more bytes than this, unless it is told another number."""
SAMPLE = 250_000
"""Training pairs that a new sentencepiece model learns from, unless it is told another number.

sentencepiece needs about 18 bytes of memory for each byte of them.
"""


@dataclass(frozen=True)
class Stretch:
    """Lines of a file that follow each other.

    Attributes:
        path: of the file.
        offset: where they begin, in decompressed bytes.
        rows: how many there are.
        content: of a compressed file, which is read from its start alone, their bytes; None: they are read when needed.
    """

    path: Path
    offset: int
    rows: int
    content: bytes | None = None

    def lines(self) -> list[str]:
        """The lines, each with its white space reduced to single spaces.

        Only a newline ends a line. Carriage returns and Unicode's other separators count as white space, because
        fairseq would cut rows or subwords there.

        Raises:
            UserError: the file has become shorter.
        """
        content = self.content
        if content is None:
            with open(self.path, "rb") as handle:
                handle.seek(self.offset)
                content = b"".join(itertools.islice(handle, self.rows))
        texts = content.decode("utf-8", "replace").removesuffix("\n").split("\n")
        if len(texts) != self.rows:
            raise UserError(f"{self.path}: it has changed meanwhile; run the command again")
        if self.offset == 0:
            texts[0] = without_mark(texts[0], str(self.path))
        return [" ".join(text.split()) for text in texts]


@dataclass(frozen=True)
class Side:
    """A UTF-8 text file, perhaps compressed, that was read once, block by block.

    Attributes:
        path: of the file.
        offsets: where its blocks begin, in decompressed bytes.
        block_rows: of each block but the last.
        rows: of the file.
        sha256: of the decompressed text.
    """

    path: Path
    offsets: list[int]
    block_rows: int
    rows: int
    sha256: str

    def stretches(self) -> Iterator[Stretch]:
        """Its blocks, in their order. One block of a compressed file is in memory at a time.

        Raises:
            UserError: a compressed file has become shorter or is damaged.
        """
        contents: Iterator[bytes | None] = itertools.repeat(None)
        if self.path.suffix in COMPRESSED:
            contents = map(b"".join, byte_blocks(self.path, self.block_rows))
        for number, offset in enumerate(self.offsets):
            rows = min(self.block_rows, self.rows - number * self.block_rows)
            yield Stretch(self.path, offset, rows, next(contents, b""))

    def lines(self) -> Iterator[str]:
        """All lines, as :meth:`Stretch.lines` gives them. A block of them is in memory at a time."""
        for stretch in self.stretches():
            yield from stretch.lines()


def read_side(path: Path, block_rows: int) -> Side:
    """Read a file once and find where its blocks begin. Where there is none, a compressed file of that name is read.

    Raises:
        UserError: the file is missing, unreadable or damaged, or a line is not UTF-8; the message gives its number,
            from 1.
    """
    digest, offsets, offset, rows = hashlib.sha256(), list[int](), 0, 0
    path = find_text(path)
    if not path.exists():
        raise UserError(f"{path}: no such file (a prefix and a language make the name PREFIX.LANG)")
    for block in byte_blocks(path, block_rows):
        content = b"".join(block)
        try:
            content.decode("utf-8")
        except UnicodeDecodeError:
            raise not_utf8(block, rows + 1, str(path)) from None
        if content.startswith(MARK.encode()) and not offset:
            without_mark(MARK, str(path))  # told here, once; the blocks may be read elsewhere
        digest.update(content)
        offsets.append(offset)
        offset, rows = offset + len(content), rows + len(block)
    return Side(path, offsets, block_rows, rows, digest.hexdigest())


def no_compressed_names(prefix: str | Path, languages: tuple[str, str]) -> None:
    """Refuse languages that end as the name of a compressed file does.

    Raises:
        UserError: one does; the message says what to give.
    """
    for side, name in zip(("source", "target"), languages, strict=True):
        ending = Path(name).suffix
        if ending in COMPRESSED:
            raise UserError(f"--{side}-lang {name}: give {name.removesuffix(ending)}, and {prefix}.{name} is found")


def read_sides(prefix: str | Path, languages: tuple[str, str], block_rows: int = 10_000) -> tuple[Side, Side]:
    """Both sides of a split, as :func:`read_side` reads them.

    Raises:
        UserError: as :func:`read_side` and :func:`no_compressed_names`, or the languages are equal, or the sides have
            different numbers of lines, or none.
    """
    if languages[0] == languages[1]:
        raise UserError(f"--source-lang and --target-lang are both {languages[0]}: give the endings of two files")
    no_compressed_names(prefix, languages)
    source, target = (read_side(Path(f"{prefix}.{language}"), block_rows) for language in languages)
    if source.rows != target.rows:
        raise UserError(
            f"{source.path} has {source.rows} lines but {target.path} has {target.rows}: they must be parallel"
        )
    if not source.rows:
        raise UserError(f"{source.path}: the file is empty")
    return source, target


def read_lines(path: Path) -> list[str]:
    """All lines of a UTF-8 file, as :meth:`Stretch.lines` gives them.

    Raises:
        UserError: as :func:`read_side`.
    """
    return list(read_side(path, 10_000).lines())


def read_pair(prefix: str | Path, languages: tuple[str, str]) -> tuple[list[str], list[str]]:
    """All lines of both sides of a split, as :func:`read_lines` reads them.

    Raises:
        UserError: as :func:`read_sides`.
    """
    source, target = read_sides(prefix, languages)
    return list(source.lines()), list(target.lines())


def write_lines(path: Path, lines: Iterable[str]) -> None:
    """Write a text file, whole or not at all."""
    with whole_file(path) as handle:
        handle.writelines(f"{line}\n" for line in lines)
