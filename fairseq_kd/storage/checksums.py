"""Checksums that show damage: a seal at the end of a file of bytes, a key in a JSON object.

A disk, a copy or a hand may change a file after it was written. CRC-32 finds all changes of up to 32 bits in a row, and
misses one of 4 billion others. It is no protection against an attacker. zlib's runs at 2.4 GB a second on one core,
hashlib's SHA-256 at 1.4 and BLAKE2b at 0.6.
"""

import json
import re
import zlib
from collections.abc import Iterable, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

KEY = "checksum"
"""The last key of a JSON object that this package writes."""
SEAL = re.compile(rb"\x1efairseq_kd crc32 ([0-9a-f]{8})\n\Z")
LENGTH = len(b"\x1efairseq_kd crc32 00000000\n")
VALUE = re.compile(r"crc32:[0-9a-f]{8}")
AT_ONCE = 1 << 20
"""Bytes of a file in memory at a time."""


class Damaged(ValueError):
    """A file does not hold what was written. The message says why, without the file's name."""


def seal_of(content: bytes) -> bytes:
    """The last line of a sealed file."""
    return b"\x1efairseq_kd crc32 %08x\n" % zlib.crc32(content)


def read_sealed(path: Path) -> bytes:
    """What :func:`fairseq_kd.storage.files.write_sealed` wrote; of a file without a seal all bytes.

    Earlier versions wrote no seals.

    Raises:
        Damaged: the bytes are not those that were sealed.
        OSError: the file cannot be read.
    """
    data = path.read_bytes()
    end = data[-LENGTH:]
    content = data[:-LENGTH]
    if SEAL.match(end):
        if end != seal_of(content):
            raise Damaged("its checksum differs")
        return content
    if b"fairseq_kd crc32" in data[-2 * LENGTH :]:
        raise Damaged("its last line is not whole")
    return data


def file_checksum(path: Path) -> str:
    """CRC-32 of a file's bytes, as ``crc32:`` and 8 hexadecimal digits.

    The file is read piece by piece, and by one process once until it changes.
    """
    now = path.stat()
    return _file_checksum(path, now.st_ino, now.st_mtime_ns, now.st_size)


@lru_cache(maxsize=4096)
def _file_checksum(path: Path, *version: int) -> str:
    found = 0
    with open(path, "rb") as handle:
        while piece := handle.read(AT_ONCE):
            found = zlib.crc32(piece, found)
    return f"crc32:{found:08x}"


def checksums_of(folder: Path, names: Iterable[str]) -> dict[str, str]:
    """The checksum of each file of a folder, by its name."""
    return {name: file_checksum(folder / name) for name in names}


def first_changed(folder: Path, recorded: Mapping[str, str], names: Iterable[str] | None = None) -> str | None:
    """The name of the first file that is missing or differs from its recorded checksum; None: there is none.

    Args:
        folder: that holds the files.
        recorded: what :func:`checksums_of` gave.
        names: of the files to look at; a name that is not recorded is passed over. None: all that are recorded.
    """
    for name in recorded if names is None else names:
        try:
            if name in recorded and file_checksum(folder / name) != recorded[name]:
                return name
        except OSError:
            return name
    return None


def with_checksum(value: Mapping[str, Any]) -> dict[str, Any]:
    """A JSON object with the checksum of its content as the last key."""
    content = {key: value[key] for key in value if key != KEY}
    return {**content, KEY: _of_json(content)}


def without_checksum(value: dict[str, Any]) -> dict[str, Any]:
    """A JSON object without its checksum. One from an earlier version has none and stays as it is.

    Raises:
        Damaged: the content is not that of which the checksum was taken.
    """
    content = {key: found for key, found in value.items() if key != KEY}
    if KEY in value:
        if value[KEY] != _of_json(content):
            raise Damaged(f"its {KEY} differs; if you changed the file on purpose, take the key {KEY} out")
    elif any(isinstance(found, str) and VALUE.fullmatch(found) for found in content.values()):
        raise Damaged(f"the key {KEY} has another name")
    return content


def _of_json(content: dict[str, Any]) -> str:
    # Of the values, not of the bytes: a file that was only indented anew is whole.
    text = json.dumps(content, ensure_ascii=False, separators=(",", ":"))
    return f"crc32:{zlib.crc32(text.encode('utf-8', 'surrogatepass')):08x}"
