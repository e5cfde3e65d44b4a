"""The quantities by which tasks are compared, and how far two similar tasks may differ in each."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

FACTOR = 1.5
"""Two values of a quantity without an upper end are similar if neither is more than this many times the other."""
SHARE = 0.1
"""Two values on a scale with two ends are similar if they differ by at most this share of the scale."""
Values = Mapping[str, float | None]
"""A task's quantities by name; None: not measured."""


@dataclass(frozen=True)
class Quantity:
    """A quantity of a task.

    Attributes:
        label: its name and unit.
        scale: the length of a scale with two ends (1 for a share); None for a positive number without an upper end.
        digits: how many are shown after the point.
    """

    label: str
    scale: float | None
    digits: int

    def steps(self, low: float, high: float) -> float:
        """How far ``high`` is above ``low``; 1 is the largest difference between similar values."""
        if self.scale is not None:
            return (high - low) / (SHARE * self.scale)
        tiny = 1e-9  # a sure teacher's entropy can be 0
        return math.log(max(high, tiny) / max(low, tiny)) / math.log(FACTOR)

    def shown(self, value: float) -> str:
        """A value as text."""
        return f"{value:.{self.digits}f}"


QUANTITIES = {
    "size_ratio": Quantity("student's parameters over the teacher's", None, 3),
    "token_entropy": Quantity("teacher's mean token entropy (nats)", None, 2),
    "teacher_dist": Quantity("TeacherDist", 1, 3),
    "mode_mass": Quantity("mode mass, beam 5", 1, 3),
    "gap": Quantity("teacher-forced accuracy − greedy BLEU (points)", 100, 2),
    "source_length": Quantity("mean source length (subwords)", None, 1),
}


def common(points: Sequence[Values]) -> dict[str, list[float]]:
    """The quantities that were measured at all of a study's points, with their values."""
    values = {name: [point.get(name) for point in points] for name in QUANTITIES}
    return {name: [one for one in each if one is not None] for name, each in values.items() if None not in each}


def coordinate(values: Mapping[str, Sequence[float]]) -> str | None:
    """The quantity that stands for a study's axis: the one that changes most of those that always rise or always fall.

    Changes are counted by :meth:`Quantity.steps`, so a ratio and a share can be compared. None if no quantity changes
    by more than similar tasks differ.

    Args:
        values: of each quantity at each point, in the axis' order.
    """
    spans = {
        name: QUANTITIES[name].steps(min(each), max(each)) for name, each in values.items() if _strictly_monotone(each)
    }
    widest = max(spans, key=lambda name: spans[name], default=None)
    return widest if widest is not None and spans[widest] > 1 else None


def _strictly_monotone(values: Sequence[float]) -> bool:
    steps = [later - earlier for earlier, later in pairwise(values)]
    return all(step > 0 for step in steps) or all(step < 0 for step in steps)


def is_unlike(name: str, value: float, values: Sequence[float]) -> bool:
    """Whether ``value`` lies outside the range of ``values`` by more than similar values differ."""
    steps = QUANTITIES[name].steps
    return steps(max(values), value) > 1 or steps(value, min(values)) > 1
