"""The quantities that tell tasks apart, and how far two tasks may differ in one and still be called alike."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

FACTOR = 1.5
"""Two values of a quantity without an upper end are alike where neither is more than so many times the other."""
SHARE = 0.1
"""Two values of a quantity on a scale with two ends are alike where they are at most this share of it apart."""
Values = Mapping[str, float | None]
"""A task's quantities by name; None: not measured."""


@dataclass(frozen=True)
class Quantity:
    """What a task is compared with a study by.

    Attributes:
        label: its name with its unit.
        scale: the length of its scale where that has two ends, as a share's 1; None for a number above 0 without end.
        digits: after the point, as it is shown.
    """

    label: str
    scale: float | None
    digits: int

    def steps(self, low: float, high: float) -> float:
        """How far ``high`` is above ``low``, the largest difference between values that are alike being 1."""
        if self.scale is not None:
            return (high - low) / (SHARE * self.scale)
        tiny = 1e-9  # a teacher can be as sure as float32 allows
        return math.log(max(high, tiny) / max(low, tiny)) / math.log(FACTOR)

    def shown(self, value: float) -> str:
        """A value of it as text."""
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
    """Of a study's points the quantities that were measured at each."""
    values = {name: [point.get(name) for point in points] for name in QUANTITIES}
    return {name: [one for one in each if one is not None] for name, each in values.items() if None not in each}


def coordinate(values: Mapping[str, Sequence[float]]) -> str | None:
    """The quantity that stands for a study's axis: of those that rise, or fall, all along it the one that does so most.

    None where none changes by more than what is alike. How much is counted in :meth:`Quantity.steps`, so that a ratio
    and a share can be compared.

    Args:
        values: at each point, in the axis' order.
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
    """Whether ``value`` lies beyond both ends of ``values`` by more than what is alike."""
    steps = QUANTITIES[name].steps
    return steps(max(values), value) > 1 or steps(value, min(values)) > 1
