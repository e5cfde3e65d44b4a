"""Functions of a room that are imported when they are first asked for, so that `fairseq-kd VERB --help` is quick."""

from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any


def lazily(room: str, modules: Mapping[str, str]) -> Callable[[str], Any]:
    """The ``__getattr__`` of a room.

    Args:
        room: its ``__name__``.
        modules: the module of the room that each function is in, by the function's name.
    """

    def find(name: str) -> Any:
        if name not in modules:
            raise AttributeError(f"module {room!r} has no attribute {name!r}")
        return getattr(import_module(f"{room}.{modules[name]}"), name)

    return find
