"""Text files that may be compressed: the ending of the name says how."""

import contextlib
import gzip
import io
import lzma
import zlib
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import IO, Any

from fairseq_kd.errors import UserError

COMPRESSED = (".gz", ".xz", ".zst")
"""Endings of the names of compressed files."""
AT_ONCE = 1 << 14
"""Bytes of a .zst file that are decompressed together; they can become thousands of times as many."""


class Damaged(Exception):
    """A compressed file is damaged or cut short."""


def plain_name(path: Path) -> str:
    """The name of a text file without the ending of a compressed file."""
    return path.stem if path.suffix in COMPRESSED else path.name


def find_text(path: Path) -> Path:
    """``path``; where there is none but a compressed file of that name, this file."""
    compressed = (path.with_name(f"{path.name}{ending}") for ending in COMPRESSED)
    return path if path.exists() else next(filter(Path.is_file, compressed), path)


@contextlib.contextmanager
def open_bytes(path: Path) -> Iterator[IO[bytes]]:
    """The decompressed bytes of a file.

    Raises:
        UserError: a .zst file cannot be read, because its package is not installed.
        Damaged: the file is damaged; also while it is read.
        OSError: it cannot be opened.
    """
    opener: Any = {".gz": gzip.open, ".xz": lzma.open, ".zst": _open_zst}.get(path.suffix, open)
    try:
        with opener(path, "rb") as handle:
            yield handle
    except (EOFError, zlib.error, lzma.LZMAError, gzip.BadGzipFile) as error:
        raise Damaged(error) from None


@contextlib.contextmanager
def _open_zst(path: Path, mode: str) -> Iterator[IO[bytes]]:
    try:
        zstandard = import_module("zstandard")
    except ImportError:
        raise UserError(f"{path}: a .zst file needs the package zstandard; pip install zstandard") from None
    try:
        with open(path, mode) as handle:
            yield io.BufferedReader(_Pieces(_frames(handle, zstandard)))
    except zstandard.ZstdError as error:
        raise Damaged(error) from None


def _frames(handle: IO[bytes], zstandard: Any) -> Iterator[bytes]:
    """Decompress a .zst file piece by piece; several frames may follow each other, as those that ``pzstd`` writes.

    zstandard's own readers take the first frame for the whole file, and a file that was cut short for a whole one.
    """
    frame = None
    while compressed := handle.read(AT_ONCE):
        while compressed:
            frame = frame or zstandard.ZstdDecompressor().decompressobj()
            yield frame.decompress(compressed)
            compressed = frame.unused_data
            frame = None if frame.eof else frame
    if frame is not None:
        raise EOFError("its last frame has no end")


class _Pieces(io.RawIOBase):
    """Pieces of bytes as a file."""

    def __init__(self, pieces: Iterator[bytes]):
        self.pieces, self.left = pieces, memoryview(b"")

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        while not self.left:
            piece = next(self.pieces, None)
            if piece is None:
                return 0
            self.left = memoryview(piece)
        size = min(len(buffer), len(self.left))
        buffer[:size], self.left = self.left[:size], self.left[size:]
        return size
