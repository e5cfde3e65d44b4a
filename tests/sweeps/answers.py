"""What a stage's output says: its files, entry by entry, so that two outputs can be compared."""

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

Answer = dict[str, str]
"""A digest of each entry by its name: a file, a tensor of a checkpoint, a value of a JSON file."""


def answer(folder: Path) -> Answer:
    """All entries of the files under a folder; logs and locks tell of runs and not of results."""
    found: Answer = {}
    for path in sorted(folder.rglob("*")):
        if path.is_file() and path.suffix not in (".log", ".lock"):
            name = str(path.relative_to(folder))
            found |= {f"{name}{entry}": digest for entry, digest in _entries(path)}
    return found


def differences(expected: Answer, found: Answer, stable: set[str]) -> list[str]:
    """The names of the entries that differ or are missing, and of files that are too many."""
    files = {name.partition("::")[0] for name in expected}
    extra = sorted({name.partition("::")[0] for name in found} - files)
    return [name for name in sorted(stable) if found.get(name) != expected[name]] + extra


def stable_entries(one: Answer, other: Answer) -> set[str]:
    """The entries that two unbroken runs have in common; the others hold times."""
    return {name for name, digest in one.items() if other.get(name) == digest}


def _entries(path: Path) -> Iterator[tuple[str, str]]:
    data = path.read_bytes()
    if path.suffix == ".pt":
        for name, tensor in torch.load(path, map_location="cpu", weights_only=False)["model"].items():
            yield f"::{name}", _digest(tensor.numpy().tobytes())
    elif path.suffix == ".json":
        yield from ((f"::{name}", _digest(repr(value).encode())) for name, value in _leaves(json.loads(data)))
    else:
        yield "", _digest(data)


def _leaves(value: Any, name: str = "") -> Iterator[tuple[str, Any]]:
    pairs = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else None
    if pairs is None:
        yield name, value
    else:
        for key, inner in pairs:
            yield from _leaves(inner, f"{name}/{key}")


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
