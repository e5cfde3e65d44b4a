"""Lines of text as a stream: from a pipe, from a file, from a compressed file.

A line is what ends with a newline. Carriage returns and Unicode's other separators stay inside the line.
"""

import itertools
from collections.abc import Iterable, Iterator
from pathlib import Path

from fairseq_kd.corpus.compressed import Damaged, open_bytes
from fairseq_kd.data.text.byte_order_mark import without_mark
from fairseq_kd.errors import UserError


def blocks_of(lines: Iterable[bytes], size: int, name: str) -> Iterator[list[str]]:
    """Lines of text, ``size`` at a time, without their line breaks and without a byte order mark at the start.

    Args:
        lines: with their line breaks; the last one may lack it. A binary file gives them.
        size: the number of lines in a block; the last block may have fewer.
        name: what errors call the text.

    Raises:
        UserError: a line is not UTF-8; the message gives its number, from 1.
    """
    rows = iter(lines)
    return _decoded(iter(lambda: list(itertools.islice(rows, size)), []), name)


def _decoded(blocks: Iterable[list[bytes]], name: str) -> Iterator[list[str]]:
    first = 1
    for block in blocks:
        try:
            # One call for the block: a line at a time takes twice as long.
            texts = b"".join(block).decode("utf-8").removesuffix("\n").split("\n")
        except UnicodeDecodeError:
            raise not_utf8(block, first, name) from None
        if first == 1:
            texts[0] = without_mark(texts[0], name)
        yield texts
        first += len(block)


def not_utf8(block: list[bytes], first: int, name: str) -> UserError:
    """The error that names the first of the lines ``block``, counted from ``first``, that is not UTF-8."""
    for number, line in enumerate(block, first):
        try:
            line.decode("utf-8")
        except UnicodeDecodeError as error:
            return UserError(f"{name}: line {number}: not UTF-8 (byte {error.start + 1}); convert the text")
    raise AssertionError("each line is UTF-8, so their sum is")


def byte_blocks(path: Path, size: int, name: str = "") -> Iterator[list[bytes]]:
    """The lines of a file as bytes with their line breaks, ``size`` at a time.

    Args:
        path: of the file, which is compressed if its name ends in .gz, .xz or .zst.
        size: as for :func:`blocks_of`.
        name: what errors call the file; "": its path.

    Raises:
        UserError: the file is missing, unreadable, damaged or cut short.
    """
    name, done = name or str(path), 0
    try:
        with open_bytes(path) as handle:
            while block := list(itertools.islice(handle, size)):
                yield block
                done += len(block)
    except FileNotFoundError:
        raise UserError(f"{name}: no such file") from None
    except Damaged as error:
        reason = f"{name}: damaged or cut short after about {done} lines ({error})"
        raise UserError(f"{reason}; get the file again") from None
    except OSError as error:
        raise UserError(f"{name}: cannot be read: {error.strerror or error}") from None


def file_blocks(path: Path, size: int, name: str = "") -> Iterator[list[str]]:
    """The lines of a file, as :func:`blocks_of` gives them. The arguments are those of :func:`byte_blocks`.

    Raises:
        UserError: as :func:`byte_blocks`, or a line is not UTF-8.
    """
    return _decoded(byte_blocks(path, size, name), name or str(path))


def stream_lines(path: Path, name: str = "") -> Iterator[str]:
    """The lines of a file one by one, as :func:`file_blocks` reads them.

    Raises:
        UserError: as :func:`file_blocks`.
    """
    for block in file_blocks(path, 1000, name):
        yield from block


def count_lines(path: Path, name: str = "") -> int:
    """The number of lines of a file that is read again later; all of it is read, so that a damaged file is refused.

    Raises:
        UserError: as :func:`file_blocks`, or it is a pipe.
    """
    if path.exists() and not path.is_file() and not path.is_dir():
        raise UserError(f"{name or path}: can be read only once, as it is a pipe or a device; write the text to a file")
    return sum(len(block) for block in file_blocks(path, 1000, name))
