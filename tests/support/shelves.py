"""The marker ``integration``: on each test that starts a command, and on no other.

The marker is not written by hand. :func:`starts_commands` follows the names that a test and its fixtures use, through
all functions of tests/, to the module ``subprocess``. What it cannot follow, :class:`Guard` stops: a command started by
an unmarked test is an error there. Such a test then needs ``@pytest.mark.integration``.
"""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import CodeType, FunctionType
from typing import Any

import pytest

from tests.forks.fork_server import COMMANDS

MARKER = "integration"
BIN = Path(sys.executable).parent


def codes(code: CodeType) -> Iterator[CodeType]:
    """A function's code and that of the functions inside it."""
    yield code
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from codes(constant)


def used(function: FunctionType) -> Iterator[Any]:
    """The module's globals and the enclosing functions' variables that a function names, and what it wraps."""
    for code in codes(function.__code__):
        yield from (function.__globals__[name] for name in code.co_names if name in function.__globals__)
    for cell in function.__closure__ or ():
        yield cell.cell_contents
    for wrapped in (getattr(function, "__wrapped__", None), getattr(function, "hypothesis", None)):
        yield getattr(wrapped, "inner_test", wrapped)


def starts_commands(functions: list[Any]) -> bool:
    """Whether one of these functions, or a function of tests/ that they use, names the module ``subprocess``."""
    waiting, seen = list(functions), set()
    while waiting:
        one = waiting.pop()
        if one is subprocess:
            return True
        one = getattr(one, "__func__", one)
        if isinstance(one, FunctionType) and one.__module__.startswith("tests.") and id(one) not in seen:
            seen.add(id(one))
            waiting.extend(used(one))
    return False


def mark(item: pytest.Item) -> None:
    """Give a test its marker by its own function and those of all its fixtures."""
    fixtures = getattr(item, "_fixtureinfo").name2fixturedefs.values()  # noqa: B009 (pytest has no public name)
    functions = [definition.func for definitions in fixtures for definition in definitions]
    if starts_commands([getattr(item, "function", None), *functions]):
        item.add_marker(MARKER)


class Guard:
    """Refuses commands to the running test where it lacks the marker."""

    def __init__(self) -> None:
        self.running: pytest.Item | None = None
        sys.addaudithook(self.check)

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Iterator[None]:
        """Remember the test from its fixtures' start to their end."""
        self.running = item
        try:
            return (yield)
        finally:
            self.running = None

    def check(self, event: str, arguments: tuple[Any, ...]) -> None:
        """Python calls it at each event; AssertionError where an unmarked test starts a command."""
        if event != "subprocess.Popen" or self.running is None or self.running.get_closest_marker(MARKER):
            return
        program = Path(os.fsdecode(arguments[0] or arguments[1][0]))
        # The package itself asks git for its commit.
        if program.name in ("bash", "sh", *COMMANDS) or program.parent == BIN:
            raise AssertionError(f"{self.running.nodeid} runs {program} without the marker {MARKER}")
