"""Measurements that are compared: each in a process of its own and in turn, several times over."""

import json
import statistics
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from tqdm import tqdm

from fairseq_kd.errors import UserError

Rounds = Sequence[Sequence[dict[str, float]]]
"""For each case what was measured in each round; among it "seconds"."""


@dataclass(frozen=True)
class Case:
    """One line of a table of measurements.

    Attributes:
        section: the lines it is compared with.
        name: what the line says.
        kind: what of :mod:`fairseq_kd.benchmark.measure` measures it.
        arguments: of that.
    """

    section: str
    name: str
    kind: str
    arguments: dict[str, Any]


def run_module(words: Sequence[str]) -> str:
    """What ``python -m WORDS…`` prints.

    Raises:
        UserError: it failed.
    """
    done = subprocess.run([sys.executable, "-m", *words], capture_output=True, text=True)
    if done.returncode:
        reason = (done.stderr.strip().splitlines() or ["no message"])[-1]
        raise UserError(f"python -m {' '.join(words[:2])} failed: {reason}")
    return done.stdout


def measure(case: Case) -> dict[str, float]:
    """One case's figures, from a process of its own.

    Raises:
        UserError: it failed.
    """
    words = ["fairseq_kd.benchmark.measure", case.kind, json.dumps(case.arguments)]
    return json.loads(run_module(words).splitlines()[-1])


def measure_in_turn(cases: Sequence[Case], rounds: int, title: str) -> Rounds:
    """All cases one after another, ``rounds`` times.

    Raises:
        UserError: a measurement failed.
    """
    found: list[list[dict[str, float]]] = [[] for _ in cases]
    with tqdm(total=rounds * len(cases), unit="measurement", desc=title, disable=None) as bar:
        for _ in range(rounds):
            for case, figures in zip(cases, found, strict=True):
                figures.append(measure(case))
                bar.update()
    return found


def rows(cases: Sequence[Case], rounds: Rounds) -> Iterator[dict[str, Any]]:
    """A line for each case: medians over the rounds, and ratios within each round to the first case of its section."""
    first: dict[str, Sequence[dict[str, float]]] = {}
    for case, figures in zip(cases, rounds, strict=True):
        base = first.setdefault(case.section, figures)
        ratios = [one["seconds"] / own["seconds"] for one, own in zip(base, figures, strict=True)]
        yield {
            "section": case.section,
            "name": case.name,
            **{key: statistics.median(one[key] for one in figures) for key in figures[0]},
            "speed": statistics.median(ratios),
            "speed_range": [min(ratios), max(ratios)],
        }
