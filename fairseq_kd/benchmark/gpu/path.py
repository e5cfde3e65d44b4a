"""One path of the GPU check, and what all paths work on."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

DRAWN = 0.2
"""How far a figure may be from the CPU's where sequences are drawn at random, relative to it.

A GPU has other random numbers than a CPU."""


@dataclass(frozen=True)
class Material:
    """What the paths work on.

    Attributes:
        teacher: the checkpoint of a Transformer.
        data: its data-bin.
        folder: where the paths write.
        gpu: False on a machine without a GPU: there every path runs on the CPU.
    """

    teacher: str
    data: str
    folder: Path
    gpu: bool

    def of(self, name: str, gpu: bool) -> str:
        """Where one path writes on the GPU or on the CPU."""
        return str(self.folder / f"{name}-{'gpu' if gpu else 'cpu'}")


@dataclass(frozen=True)
class Measured:
    """How far the GPU's answer is from the CPU's, and what else is worth telling."""

    difference: float
    note: str


@dataclass(frozen=True)
class GpuPath:
    """One path.

    Attributes:
        name: what the table calls it.
        limit: the greatest difference from the CPU that is no fault.
        measure: runs the path.
    """

    name: str
    limit: float
    measure: Callable[[], Measured]


def model_options(given: Material) -> list[str]:
    """The teacher and its data-bin as options of ``fairseq-kd``."""
    return ["--model", given.teacher, "--data", given.data]
