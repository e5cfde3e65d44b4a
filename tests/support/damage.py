"""Random damage to files, and what a reader makes of it."""

import os
import random
import re
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from fairseq_kd.errors import UserError

SAME, TOLD, WRONG, TRACEBACK = "same answer", "one line", "wrong", "traceback"
Change = Callable[[bytearray, random.Random], bytes]


def _flip(data: bytearray, draw: random.Random) -> bytes:
    data[draw.randrange(len(data))] ^= 1 << draw.randrange(8)
    return bytes(data)


def _bytes(data: bytearray, draw: random.Random) -> bytes:
    for _ in range(draw.randint(1, 8)):
        data[draw.randrange(len(data))] = draw.randrange(256)
    return bytes(data)


def _span(data: bytearray, draw: random.Random) -> tuple[int, int]:
    first = draw.randrange(len(data))
    return first, min(len(data), first + draw.choice([1, 2, 8, 64, 512]))


def _zeros(data: bytearray, draw: random.Random) -> bytes:
    first, end = _span(data, draw)
    data[first:end] = bytes(end - first)
    return bytes(data)


def _lose(data: bytearray, draw: random.Random) -> bytes:
    first, end = _span(data, draw)
    return bytes(data[:first] + data[end:])


def _twice(data: bytearray, draw: random.Random) -> bytes:
    first, end = _span(data, draw)
    return bytes(data[:end] + data[first:])


def _cut(data: bytearray, draw: random.Random) -> bytes:
    return bytes(data[: draw.randrange(len(data))])


def _insert(data: bytearray, draw: random.Random) -> bytes:
    place = draw.randrange(len(data) + 1)
    return bytes(data[:place]) + draw.randbytes(draw.randint(1, 16)) + bytes(data[place:])


def _digit(data: bytearray, draw: random.Random) -> bytes:
    """Another digit for a digit: JSON and numbers stay sound."""
    places = [match.start() for match in re.finditer(rb"[0-9]", data)]
    if places:
        data[draw.choice(places)] = draw.choice(b"0123456789")
    return bytes(data)


def _line(data: bytearray, draw: random.Random) -> bytes:
    """A line is lost, comes twice, or changes places with the next."""
    lines = bytes(data).splitlines(keepends=True)
    place = draw.randrange(len(lines))
    pair = lines[place : place + 2]
    lines[place : place + 2] = draw.choice([pair[1:], pair[:1] + pair, pair[::-1]])
    return b"".join(lines)


def _word(data: bytearray, draw: random.Random) -> bytes:
    """A JSON value becomes one of another kind."""
    values = list(re.finditer(rb'(?<=: )("[^"]*"|-?[0-9.]+|null|true|false)', data))
    if values:
        first, end = draw.choice(values).span()
        others = [b"null", b"true", b"-1", b"1e999", b'"x"', b"[]", b"{}", b"NaN", b"9" * 30, b"[" * 9 + b"]" * 9]
        data[first:end] = draw.choice(others)
    return bytes(data)


CHANGES: Sequence[Change] = (_flip, _bytes, _zeros, _lose, _twice, _cut, _insert, _digit, _line, _word)


def damaged(data: bytes, draw: random.Random) -> bytes:
    """The bytes of a file after one random change."""
    changed = data
    while changed == data:
        changed = draw.choice(CHANGES)(bytearray(data), draw)
    return changed


def replace(path: Path, data: bytes) -> None:
    """Put ``data`` in the place of a file; maps of the old file keep the old bytes."""
    new = path.with_name(f"{path.name}.new")
    new.write_bytes(data)
    os.replace(new, path)


def outcome(read: Callable[[], Any], answer: Any) -> tuple[str, str]:
    """How ``read`` ends, and what it raised."""
    try:
        found = read()
    except UserError as error:
        return (TOLD, str(error)) if "\n" not in str(error) and len(str(error)) < 2000 else (TRACEBACK, repr(error))
    except Exception as error:
        return TRACEBACK, repr(error)
    return (SAME, "") if found == answer else (WRONG, "")


def fuzz(
    kind: str, files: Sequence[Path], read: Callable[[], Any], tries: int = 300, *, may_differ: bool = False
) -> Counter[str]:
    """Damage one of ``files`` at a time, read, and count the ends; prints a line of Markdown.

    Args:
        kind: names the format in that line.
        files: that are damaged; each is whole again afterwards.
        read: the answer as plain data, made from the files.
        tries: how often.
        may_differ: whether another answer is no fault, and is not listed.
    """
    draw, ends, answer = random.Random(1), Counter[str](), read()
    faults = []
    for _ in range(tries):
        path = draw.choice(files)
        whole = path.read_bytes()
        changed = damaged(whole, draw)
        replace(path, changed)
        end, told = outcome(read, answer)
        replace(path, whole)
        ends[end] += 1
        if end in (WRONG, TRACEBACK):
            faults.append((path.name, end, told))
    print(f"\n| {kind} | {tries} | {ends[SAME]} | {ends[TOLD]} | {ends[WRONG]} | {ends[TRACEBACK]} |")
    if ends[TRACEBACK] or not may_differ:
        for fault in faults[:20]:
            print("  ", *fault)
    assert read() == answer
    return ends


def assert_noticed(
    kind: str, files: Sequence[Path], read: Callable[[], Any], tries: int = 300, least: float = 0.25
) -> None:
    """Each damage leads to the same answer or to one line; to a line in a share of ``least`` of the tries or more."""
    ends = fuzz(kind, files, read, tries)
    assert not ends[WRONG] and not ends[TRACEBACK], ends
    assert ends[TOLD] >= least * tries


def without_checksum(path: Path) -> None:
    """Make a JSON file what an earlier version wrote."""
    text = path.read_text(encoding="utf-8")
    older = re.sub(r',\s*"checksum": "crc32:[0-9a-f]{8}"', "", text)
    assert older != text
    path.write_text(older, encoding="utf-8")


def assert_told(kind: str, files: Sequence[Path], read: Callable[[], Any], tries: int = 300) -> None:
    """No damage leads to a traceback. Files without checksums may give another answer."""
    ends = fuzz(kind, files, read, tries, may_differ=True)
    assert not ends[TRACEBACK], ends
