"""Measurements that are compared with each other: each in a process of its own, all in turn, several times over.

In turn, because a machine's speed drifts: two measurements of the same round saw about the same machine.
"""

import json
import os
import statistics
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from tqdm import tqdm

from fairseq_kd.errors import UserError

Figures = dict[str, float]
"""What one measurement gives, by name; "seconds" is always among them."""


@dataclass(frozen=True)
class TimedCall:
    """A function to measure, and the line of a table that shows its figures.

    Attributes:
        section: heading of the table's lines that are compared with each other.
        name: what the line is called.
        function: a function of a module; it measures itself and returns figures, "seconds" among them.
        arguments: its keyword arguments, as JSON can hold them.
    """

    section: str
    name: str
    function: Callable[..., Figures]
    arguments: dict[str, Any]


def run_module(words: Sequence[str]) -> str:
    """Run ``python -m WORDS…`` and return what it prints. Modules in the working folder do not count.

    Raises:
        UserError: it failed; the message ends with the last line of its error output.
    """
    environment = {**os.environ, "PYTHONSAFEPATH": "1"}
    done = subprocess.run([sys.executable, "-m", *words], capture_output=True, text=True, env=environment)
    if done.returncode:
        reason = (done.stderr.strip().splitlines() or ["no message"])[-1]
        raise UserError(f"python -m {' '.join(words[:2])} failed: {reason}")
    return done.stdout


def measure(call: TimedCall) -> Figures:
    """Call the function once in a new process, so that its memory is its own.

    Raises:
        UserError: the process failed.
    """
    name = f"{call.function.__module__}:{call.function.__name__}"
    printed = run_module(["fairseq_kd.timing.call", name, json.dumps(call.arguments)])
    return json.loads(printed.splitlines()[-1])


def measure_in_turn(calls: Sequence[TimedCall], rounds: int, title: str) -> list[list[Figures]]:
    """Measure all calls one after another, ``rounds`` times; ``title`` stands before the progress bar.

    Returns:
        For each call its figures, one for each round.

    Raises:
        UserError: a measurement failed.
    """
    found: list[list[Figures]] = [[] for _ in calls]
    with tqdm(total=rounds * len(calls), unit="measurement", desc=title, disable=None) as bar:
        for _ in range(rounds):
            for call, figures in zip(calls, found, strict=True):
                figures.append(measure(call))
                bar.update()
    return found


def table_lines(calls: Sequence[TimedCall], measured: Sequence[Sequence[Figures]]) -> list[dict[str, Any]]:
    """A table's line for each call: medians over the rounds, and its speed beside the first call of its section.

    Args:
        calls: in the table's order.
        measured: as :func:`measure_in_turn` gives it.

    Returns:
        "section", "name", each figure's median, and "speed": how many times as fast as the section's first call, the
        median of the ratios within each round; "speed_range" holds the least and the greatest of these ratios. Where
        calls count their "sentences", the ratio is of the seconds for one.
    """
    first: dict[str, Sequence[Figures]] = {}
    lines = []
    for call, figures in zip(calls, measured, strict=True):
        base = first.setdefault(call.section, figures)
        ratios = [_times_as_fast(own, one) for one, own in zip(base, figures, strict=True)]
        medians = {name: statistics.median(one[name] for one in figures) for name in figures[0]}
        speed = {"speed": statistics.median(ratios), "speed_range": [min(ratios), max(ratios)]}
        lines.append({"section": call.section, "name": call.name, **medians, **speed})
    return lines


def _times_as_fast(own: Figures, other: Figures) -> float:
    """How many times as fast ``own`` is as ``other``; where calls count their sentences, for one of these."""
    done, of_other = (max(1, one.get("sentences", 1)) for one in (own, other))
    return other["seconds"] / own["seconds"] * (done / of_other)
