"""Files that are whole or absent, and the hashes that name them."""

import errno
import hashlib
import json
import os
import secrets
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from fairseq_kd.storage.checksums import seal_of, with_checksum


@contextmanager
def whole_file(path: str | os.PathLike, mode: str = "w") -> Iterator[IO[Any]]:
    """Open ``path`` for writing so that it appears complete or not at all.

    The text goes to ``path.PROCESS.tmp``. When the ``with`` block ends, that file is flushed to disk and renamed to
    ``path``; after an exception it is removed, and ``path`` keeps what it held before.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    try:
        with open(temporary, mode, encoding=None if "b" in mode else "utf-8") as handle:
            yield handle
            handle.flush()
            os.fsync(handle.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def whole_folder(path: str | os.PathLike) -> Iterator[Path]:
    """A new, empty folder that becomes ``path`` when the ``with`` block ends; after an exception it is removed.

    Where another process has made ``path`` meanwhile, its folder stays and this one is removed. An empty folder at
    ``path`` is replaced.
    """
    path = Path(path)
    # Not the process number: another machine or the next container may have the same.
    temporary = path.with_name(f"{path.name}.{secrets.token_hex(4)}.tmp")
    temporary.mkdir(parents=True)
    try:
        yield temporary
        for file in temporary.iterdir():
            with open(file, "rb") as handle:
                os.fsync(handle.fileno())
        try:
            os.rename(temporary, path)
        except OSError as error:
            if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                raise
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def write_sealed(path: str | os.PathLike, content: bytes, covered: bytes | None = None) -> None:
    """Write ``content`` and a last line with its checksum, whole or not at all.

    Args:
        path: of the file.
        content: what :func:`fairseq_kd.storage.checksums.read_sealed` gives back.
        covered: the bytes whose checksum the line has; None: all of ``content``.
    """
    with whole_file(path, "wb") as handle:
        handle.write(content)
        handle.write(seal_of(content if covered is None else covered))


def write_json(path: str | os.PathLike, value: Mapping[str, Any]) -> None:
    """Write an object as indented JSON, whole or not at all; a last key ``checksum`` shows later damage."""
    # As JSON has it: tuples as lists, numbers as keys in words.
    plain = json.loads(json.dumps(value, ensure_ascii=False))
    with whole_file(path) as handle:
        json.dump(with_checksum(plain), handle, indent=1, ensure_ascii=False)
        handle.write("\n")


def file_hash(path: str | os.PathLike) -> str:
    """SHA-256 of a file's bytes, as 64 hexadecimal digits."""
    found = hashlib.sha256()  # hashlib.file_digest needs Python 3.11
    with open(path, "rb") as handle:
        while block := handle.read(2**20):
            found.update(block)
    return found.hexdigest()


def split_paths(paths: str) -> list[str]:
    """The paths in ``CKPT:CKPT``, as a list without empty ones."""
    return [path for path in paths.split(":") if path]
