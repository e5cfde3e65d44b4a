"""How many positions a CTranslate2 model has, read from the head of each variable in its model.bin."""

import os
import struct
from pathlib import Path
from typing import IO

VERSIONS = (5, 6)
"""Versions of the file format that :func:`positions` reads; CTranslate2 has written 6 since 2021."""

UNLIMITED = 1 << 30
"""Stands for a model without position encodings, such as T5 with its relative positions."""


def positions(folder: Path) -> tuple[int, int]:
    """The positions of a model's encoder and decoder, :data:`UNLIMITED` for a side that has no limit.

    The format is ``ctranslate2.specs.ModelSpec._serialize``: each variable is its name, its shape, its type and its
    bytes, which are skipped.

    Args:
        folder: a CTranslate2 model's.

    Raises:
        ValueError: model.bin is damaged or of another version.
        OSError: it cannot be read.
    """
    found: dict[str, tuple[int, ...]] = {}
    with open(folder / "model.bin", "rb") as handle:
        (version,) = _read(handle, "<I")
        if version not in VERSIONS:
            raise ValueError(f"model.bin has the format {version}")
        _string(handle)
        _, variables = _read(handle, "<II")
        for _ in range(variables):
            name = _string(handle)
            (rank,) = _read(handle, "<B")
            shape = _read(handle, f"<{rank}I")
            _, size = _read(handle, "<BI")
            handle.seek(size, os.SEEK_CUR)
            found[name] = shape
        (aliases,) = _read(handle, "<I")  # variables with the same content are stored once
        found |= {_string(handle): found.get(_string(handle), ()) for _ in range(aliases)}
    source, target = (found.get(f"{side}/position_encodings/encodings") for side in ("encoder", "decoder"))
    return (source[0] if source else UNLIMITED, target[0] if target else UNLIMITED)


def _read(handle: IO[bytes], layout: str) -> tuple[int, ...]:
    content = handle.read(struct.calcsize(layout))
    try:
        return struct.unpack(layout, content)
    except struct.error:
        raise ValueError("model.bin is cut short") from None


def _string(handle: IO[bytes]) -> str:
    """A string: its length, its bytes and a zero."""
    (length,) = _read(handle, "<H")
    return handle.read(length)[:-1].decode("utf-8", "replace")
