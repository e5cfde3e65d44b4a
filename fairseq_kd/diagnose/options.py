"""What can be wished for in a diagnosis. It imports neither torch nor fairseq, so that `--help` is quick."""

import math
from dataclasses import dataclass

from fairseq_kd.errors import UserError


@dataclass(frozen=True)
class SpeedWish:
    """How fast a student should be.

    Attributes:
        speedup: how many times as fast as its teacher with the teacher's beam.
        batched: whether sentences are decoded in batches, or one by one.

    Raises:
        UserError: the speedup is not above 0.
    """

    speedup: float
    batched: bool = True

    def __post_init__(self) -> None:
        if not (self.speedup > 0 and math.isfinite(self.speedup)):
            raise UserError(f"--speedup {self.speedup:g}: give a number above 0")

    @property
    def decoding(self) -> str:
        """The way of decoding, in words."""
        return "in batches" if self.batched else "one by one"
