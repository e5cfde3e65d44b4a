"""The marker ``integration``: what it follows, and what stops a command that it could not follow."""

import functools
import importlib
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.commands import BIN, run_command
from tests.support.corpora import write_text
from tests.support.shelves import MARKER, starts_commands
from tests.support.training import train_on_two_processes


def through_an_inner_function() -> Callable[[], object]:
    return lambda: train_on_two_processes


@given(st.integers())
def through_hypothesis(number: int) -> None:
    run_command("fairseq-kd")


@functools.wraps(write_text)
def through_a_wrapper() -> object:
    return run_command


@pytest.mark.parametrize(
    "function", [through_an_inner_function, through_hypothesis, through_a_wrapper], ids=lambda found: found.__name__
)
def test_commands_are_found_behind_other_functions(function: Callable[..., object]) -> None:
    assert starts_commands([write_text, function]) and not starts_commands([write_text, print, None])


def test_a_test_that_starts_nothing_has_no_marker(request: pytest.FixtureRequest, tiny_text: object) -> None:
    assert request.node.get_closest_marker(MARKER) is None


@pytest.mark.parametrize("command", [[BIN / "python", "--version"], ["bash", "-c", ""], ["fairseq-kd", "--help"]])
def test_a_command_of_an_unmarked_test_is_an_error(command: list[str], request: pytest.FixtureRequest) -> None:
    run = importlib.import_module("subprocess").run
    with pytest.raises(AssertionError, match="without the marker integration"):
        run(command)
    request.node.add_marker(MARKER)
    assert run(["bash", "-c", ""]).returncode == 0


@pytest.fixture
def runs_a_command() -> None:
    run_command("fairseq-kd", "user-dir")


def test_a_fixture_that_starts_a_command_gives_the_marker(request: pytest.FixtureRequest, runs_a_command: None) -> None:
    assert request.node.get_closest_marker(MARKER) is not None
