"""JSON, JSON Lines and YAML files, read with a limit of size and depth and checked against a shape before use."""

import json
from pathlib import Path
from typing import Any

from fairseq_kd.storage.checksums import without_checksum
from fairseq_kd.storage.shapes import Shape, anything, keys, refuse_excess
from fairseq_kd.storage.yaml_lines import line_of, repeated_key

MAPPING = keys({})
"""Any mapping."""
LARGEST_JSON, LARGEST_YAML = 256 << 20, 1 << 20
"""Bytes of the largest files that are read."""
MOST_OF_JSON, MOST_OF_YAML = 50_000_000, 100_000
"""Values of a file that is read."""


class Unreadable(ValueError):
    """A file is damaged, too large or too deeply nested, or has another shape. The message leaves out its name.

    Attributes:
        place: of the key that has another shape; None where the whole file cannot be read.
    """

    def __init__(self, message: str, place: str | None = None):
        super().__init__(message)
        self.place = place


def read_json(path: str | Path, shape: Shape = anything, *, ours: bool = True) -> Any:
    """The object in a JSON file, without its checksum.

    Args:
        path: of the file.
        shape: of the object.
        ours: whether this package wrote the file. Another's file has no checksum, and may hold no object but a list.

    Raises:
        Unreadable: the file holds no such object, or its checksum differs.
        OSError: it cannot be opened.
    """
    data = _bytes(path, LARGEST_JSON)
    try:
        value = json.loads(data)
    except RecursionError:
        raise Unreadable("is nested too deeply") from None
    except ValueError as error:  # UnicodeDecodeError and too long integers are among them
        raise Unreadable(f"is not JSON: {error}") from None
    return _checked(value, shape, MOST_OF_JSON, ours)


def read_json_lines(path: str | Path, shape: Shape = anything) -> list[Any]:
    """The objects of a JSON Lines file, one a line.

    Args:
        path: of the file.
        shape: of each object.

    Raises:
        Unreadable: a line holds no such object, or there is no line. The message names the line, from 1 on.
        OSError: the file cannot be opened.
    """
    lines = _bytes(path, LARGEST_JSON).split(b"\n")
    found = []
    for number, line in enumerate(lines[:-1] if lines[-1] == b"" else lines, start=1):
        try:
            value = json.loads(line)
        except RecursionError:
            raise Unreadable(f"line {number} is nested too deeply") from None
        except ValueError as error:
            raise Unreadable(f"line {number} is not JSON: {error}") from None
        try:
            found.append(_checked(value, shape, MOST_OF_JSON, ours=False))
        except Unreadable as error:
            raise Unreadable(f"line {number}: {error}") from None
    if not found:
        raise Unreadable("has no line")
    return found


def read_yaml(path: str | Path, shape: Shape = MAPPING) -> dict[str, Any]:
    """The mapping in a YAML file.

    Args:
        path: of the file.
        shape: of the mapping.

    Raises:
        Unreadable: the file holds no such mapping; the message names the line and the key.
        OSError: it cannot be opened.
    """
    import yaml  # not above, so that `--help` is quick

    data = _bytes(path, LARGEST_YAML)
    try:
        value = yaml.safe_load(data)
    except RecursionError:
        raise Unreadable("is nested too deeply") from None
    except Exception as error:  # PyYAML lets errors of int(), datetime() and others through
        raise Unreadable(f"is not YAML: {error}") from None
    repeated = repeated_key(data)
    if repeated:
        line, key = repeated
        raise Unreadable(f"line {line}, {key}: this key is there twice, and YAML would drop the first; rename one", key)
    try:
        return _checked(value, shape, MOST_OF_YAML, ours=False)
    except Unreadable as error:
        if not error.place:
            raise
        raise Unreadable(f"line {line_of(data, error.place)}, {error}", error.place) from None


def _bytes(path: str | Path, most: int) -> bytes:
    with open(path, "rb") as handle:
        data = handle.read(most + 1)
    if len(data) > most:
        raise Unreadable(f"is larger than {most >> 20} MiB")
    return data


def _checked(value: Any, shape: Shape, most: int, ours: bool) -> Any:
    try:
        refuse_excess(value, most)
        if ours:
            MAPPING(value, "")
            value = without_checksum(value)
        shape(value, "")
    except ValueError as error:
        raise Unreadable(str(error), getattr(error, "place", None)) from None
    return value
