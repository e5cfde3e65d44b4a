"""Files that are whole or absent, and the hashes that name them."""

import errno
import fcntl
import hashlib
import json
import os
import secrets
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

from fairseq_kd.errors import UserError
from fairseq_kd.storage.checksums import seal_of, with_checksum

NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
"""A full disk, a used-up quota, a file above the limit: Python does not say which file it was."""


@contextmanager
def one_line_errors() -> Iterator[None]:
    """For a whole program: an error of the file system becomes a :class:`UserError`, which is one line."""
    try:
        yield
    except OSError as error:
        if error.filename is None:
            if error.errno in NO_ROOM:
                raise UserError(f"{error.strerror}; make room and run the same command again") from None
            raise
        # Of a renaming, the second name is the one that the user gave.
        raise UserError(f"{error.filename2 or error.filename}: {error.strerror}") from None


@contextmanager
def whole_file(path: str | os.PathLike, mode: str = "w") -> Iterator[IO[Any]]:
    """Open ``path`` for writing so that it appears complete or not at all.

    The text goes to a temporary file beside it. When the ``with`` block ends, that file is flushed to disk and renamed
    to ``path``; after an exception it is removed, and ``path`` keeps what it held before. A killed process leaves
    ``path.new.tmp``, which the next one that writes ``path`` takes over. A pipe or a device, such as /dev/stdout, is
    written directly and stays.

    Raises:
        OSError: it cannot be written; the error names ``path`` where the disk is full.
    """
    path = Path(path)
    if path.exists() and not (path.is_file() or path.is_dir()):
        with _closing(path, path, mode) as handle:
            yield handle
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary, descriptor = _claim(path, _open_file)
    # Closing the file ends the claim: the temporary name is gone by then, one way or the other.
    with _closing(path, descriptor, mode) as handle:
        try:
            handle.truncate(0)
            yield handle
            handle.flush()
            os.fsync(handle.fileno())
            os.replace(temporary, path)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise


@contextmanager
def whole_folder(path: str | os.PathLike) -> Iterator[Path]:
    """A new, empty folder that becomes ``path`` when the ``with`` block ends; after an exception it is removed.

    Where another process has made ``path`` meanwhile, its folder stays and this one is removed. An empty folder at
    ``path`` is replaced; where that is not possible, as with a mounted disk, it gets the files one by one. A killed
    process leaves ``path.new.tmp``, which the next one that makes ``path`` takes over.
    """
    path = Path(path)
    if path.is_symlink() or path.name in ("", ".."):
        path = path.resolve()
    path.parent.mkdir(parents=True, exist_ok=True)
    held, descriptor = _claim(path, _open_folder)
    # The lock is on the folder around it: a converter may delete the folder that it is given, and make it again.
    new = held / path.name
    try:
        new.mkdir()
        yield new
        for file in new.iterdir():
            with open(file, "rb") as handle:
                os.fsync(handle.fileno())
        _put(new, path)
    finally:
        shutil.rmtree(held, ignore_errors=True)
        os.close(descriptor)


def _put(new: Path, path: Path) -> None:
    """Rename a folder, or fill the empty one that has the name: the file that was written last comes last."""
    try:
        # A shell in a folder that is replaced would be nowhere.
        if not (path.is_dir() and path.samefile(os.curdir)):
            os.rename(new, path)
            return
    except OSError as error:
        if error.errno in (errno.ENOTEMPTY, errno.EEXIST):
            return
        if error.errno not in (errno.EBUSY, errno.EXDEV):
            raise
    if not any(path.iterdir()):
        for file in sorted(new.iterdir(), key=lambda one: one.stat().st_mtime_ns):
            shutil.move(file, path / file.name)


def _claim(path: Path, opened: Callable[[Path], int]) -> tuple[Path, int]:
    """The path of a temporary file or folder for ``path``, and its descriptor.

    A lock on the descriptor says that a process is at work there. Where another one is, or where the file system has no
    locks, the name is a random one; not the process number, which another machine or container may have too.
    """
    shared = path.with_name(f"{path.name}.new.tmp")
    descriptor = opened(shared)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        # Another process may have finished meanwhile: the lock is then that of its result.
        if os.path.samestat(os.fstat(descriptor), os.stat(shared)):
            if shared.is_dir():
                empty_folder(shared)
            return shared, descriptor
    except (BlockingIOError, FileNotFoundError):
        pass
    except OSError:  # no locks: nobody works under the shared name
        with suppress(OSError):
            shared.rmdir() if shared.is_dir() else shared.unlink()
    os.close(descriptor)
    own = path.with_name(f"{path.name}.{secrets.token_hex(4)}.tmp")
    descriptor = opened(own)
    with suppress(OSError):
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    return own, descriptor


def remove_leftover(path: Path) -> None:
    """Delete a temporary file or folder that a killed process left; that of a process at work stays."""
    try:
        descriptor = os.open(path, os.O_RDONLY)
    except OSError:
        return
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
    except OSError:
        pass
    finally:
        os.close(descriptor)


@contextmanager
def _closing(path: Path, opened: int | Path, mode: str) -> Iterator[IO[Any]]:
    """The open file of a descriptor or path; where the disk is full, its error names ``path``."""
    try:
        with open(opened, mode, encoding=None if "b" in mode else "utf-8") as handle:
            yield handle
    except OSError as error:
        if error.filename is None and error.errno in NO_ROOM:
            error.filename = str(path)
        raise


def _open_file(path: Path) -> int:
    # Not O_TRUNC: another process may be at work in the file.
    return os.open(path, os.O_RDWR | os.O_CREAT, 0o666)


def _open_folder(path: Path) -> int:
    while True:
        path.mkdir(exist_ok=True)
        with suppress(FileNotFoundError):  # another process has removed it since
            return os.open(path, os.O_RDONLY | os.O_DIRECTORY)


def empty_folder(folder: Path) -> None:
    """Delete what a folder holds, and leave the folder."""
    for path in folder.iterdir():
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()


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
    text = json.dumps(with_checksum(plain), indent=1, ensure_ascii=False)
    if not is_unicode(text):  # a path may be any bytes
        text = json.dumps(with_checksum(plain), indent=1)
    with whole_file(path) as handle:
        handle.write(f"{text}\n")


def is_unicode(text: str) -> bool:
    """Whether a text can be encoded; a path of bytes that are no UTF-8 cannot."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def file_hash(path: str | os.PathLike) -> str:
    """SHA-256 of a file's bytes, as 64 hexadecimal digits."""
    found = hashlib.sha256()  # hashlib.file_digest needs Python 3.11
    with open(path, "rb") as handle:
        while block := handle.read(2**20):
            found.update(block)
    return found.hexdigest()


def split_paths(paths: str) -> list[str]:
    """The paths in ``CKPT:CKPT``, as a list without empty ones; the path of a file or folder that exists is one."""
    if os.path.exists(paths):
        return [paths]
    return [path for path in paths.split(":") if path]
