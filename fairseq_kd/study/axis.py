"""The axis of a study. It imports no other package, so that `--help` is quick."""

from dataclasses import dataclass
from typing import Literal, get_args

Scale = Literal["linear", "log"]
SCALES: tuple[Scale, ...] = get_args(Scale)


@dataclass(frozen=True)
class Axis:
    """What changes from point to point.

    Attributes:
        label: what the places are, for pictures and headings.
        scale: of the axis in pictures; between two places, lines are straight on it.
    """

    label: str
    scale: Scale = "linear"
