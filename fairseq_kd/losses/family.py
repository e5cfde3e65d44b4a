"""A divergence, or a family of divergences, as the registry holds it: its value, its parameter, its prefixes."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from torch import Tensor

Divergence = Callable[..., Tensor]
"""From teacher's and student's log-probabilities, both (tokens, symbols), to one value per token, shape (tokens,).

With a mixture of whole sequences the third argument is the log-odds of
:func:`fairseq_kd.losses.divergences.sequence_log_odds`."""


@dataclass(frozen=True)
class Family:
    """A registered divergence, or a family of divergences with one parameter in [0, 1) or (0, 1).

    Attributes:
        value: the step-wise divergence; a family takes its parameter as the keyword ``weight``.
        generator: f(u) of D_f(p‖q) = Σ q·f(p/q), with the same parameter; None where it is no f-divergence.
        prefixes: whose sequences give the prefixes in its authors' method: "teacher", "student" or "both".
        halves: for "both", the parts computed on teacher prefixes and on student prefixes. On equal prefixes they sum
            to ``value``. None: half of ``value`` on each.
        default: the parameter where the user gives none; None where there is no parameter.
        takes_zero: whether the parameter can be 0.
        mixes: whether it compares with a mixture of teacher and student; β is the teacher's share in the mixture.
        bits: whether it is made of logarithms, and so a log shows it in bits; a distance like TVD has no unit.
    """

    value: Callable[..., Tensor]
    generator: Callable[..., float] | None
    prefixes: str
    halves: tuple[Callable[..., Tensor], Callable[..., Tensor]] | None = None
    default: float | None = None
    takes_zero: bool = False
    mixes: bool = False
    bits: bool = True

    def at(self, parameter: float | None) -> "Bound":
        """The divergence with its parameter set; ``None`` sets the default.

        Raises:
            ValueError: the parameter is out of range, or the divergence has none.
        """
        if parameter is not None and self.default is None:
            raise ValueError("it has no parameter")
        parameter = self.default if parameter is None else parameter
        fixed = parameter is None
        if parameter is not None and not (0 < parameter < 1 or (parameter == 0 and self.takes_zero)):
            raise ValueError(f"give a parameter {'of at least' if self.takes_zero else 'above'} 0 and below 1")

        def settled(one: Divergence) -> Divergence:
            return one if fixed else partial(one, weight=parameter)

        half = _half(settled(self.value))
        on_teacher, on_student = map(settled, self.halves) if self.halves else (half, half)
        share = (0.5 if fixed else parameter) if self.mixes else None
        return Bound(settled(self.value), on_teacher, on_student, share, math.log(2) if self.bits else 1.0)


@dataclass(frozen=True)
class Bound:
    """A divergence whose parameter is set, and its parts on teacher and on student prefixes; see :class:`Family`."""

    value: Divergence
    on_teacher_prefixes: Divergence
    on_student_prefixes: Divergence
    teacher_share: float | None
    """β of its mixture; None where it has none."""
    unit: float
    """What a value is divided by in a log: log 2 to give bits, or 1."""


def _half(value: Divergence) -> Divergence:
    def half(teacher_log_probs: Tensor, student_log_probs: Tensor) -> Tensor:
        return value(teacher_log_probs, student_log_probs) / 2

    return half
