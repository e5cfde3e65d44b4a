"""Which shape of student is fast enough and loses least, from measured shapes."""

from collections.abc import Sequence
from typing import Any

from fairseq_kd.diagnose.advice import LEANING, NOT_KNOWN
from fairseq_kd.diagnose.options import SpeedWish
from fairseq_kd.diagnose.quantities import FACTOR
from fairseq_kd.diagnose.shape_files import Measured, Table, measured, teacher_of
from fairseq_kd.report.front import pareto_front


def advise_shape(tables: Sequence[Table], wish: SpeedWish, parameters: float) -> dict[str, Any]:
    """The measured student that is as fast as wished and loses least BLEU against its teacher.

    Args:
        tables: as :func:`fairseq_kd.diagnose.shape_files.read_tables` gives them. A table counts if its teacher has
            about as many parameters as this task's: a speed beside another teacher is another number.
        wish: the speed.
        parameters: of this task's teacher.

    Returns:
        "speedup" and "batched"; "certainty": at most leaning, since shapes were measured on other tasks, or not known;
        "reason"; "shape", the fields of :class:`fairseq_kd.diagnose.shape_files.Measured`, or None; "front", the Pareto
        front of speed and loss, the fastest first; "tables", what was read.
    """
    alike = [table for table in tables if _alike(teacher_of(table)["parameters"], parameters)]
    front = pareto([one for table in alike for one in measured(table) if one.batched == wish.batched])
    found = next((one for one in reversed(front) if one.times_teacher >= wish.speedup), None)
    return {
        "speedup": wish.speedup,
        "batched": wish.batched,
        "certainty": LEANING if found else NOT_KNOWN,
        "reason": _reason(tables, alike, front, found, wish, parameters),
        "shape": found and found.as_plain(),
        "front": [one.as_plain() for one in front],
        "tables": [{"title": table["title"], "sha256": table["sha256"]} for table in tables],
    }


def pareto(students: Sequence[Measured]) -> list[Measured]:
    """Those on the Pareto front of speed and loss, the fastest first; equal ones stay together."""
    front = pareto_front([(one.times_teacher, -one.loss) for one in students])
    return [students[place] for place in reversed(front)]


def _alike(there: float, here: float) -> bool:
    return max(there, here) <= FACTOR * min(there, here)


def _reason(
    tables: Sequence[Table],
    alike: Sequence[Table],
    front: Sequence[Measured],
    found: Measured | None,
    wish: SpeedWish,
    parameters: float,
) -> str:
    if found:
        return f"measured on another task: {found.table}"
    if not tables:
        return "no table of shapes; give --shapes"
    if not alike:
        sizes = ", ".join(f"{teacher_of(table)['parameters'] / 1e6:.2f}" for table in tables)
        return f"the teacher has {parameters / 1e6:.2f} million parameters here, {sizes} there"
    if not front:
        return f"no table has both BLEU and speed {wish.decoding}"
    fastest = front[0]
    return f"no measured student is as fast {wish.decoding}; {fastest.row} is {fastest.times_teacher:.1f} times as fast"
