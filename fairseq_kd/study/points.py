"""The points of a study, read from what `fairseq-kd evaluate` and `fairseq-kd diagnose` wrote."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from fairseq_kd.diagnose.quantities import QUANTITIES
from fairseq_kd.errors import UserError
from fairseq_kd.report.result_files import Row, Run, group_runs, read_result


@dataclass
class Point:
    """A place of the axis, what was evaluated there, and the quantities of its task where they were measured."""

    at: float
    rows: list[Row]
    diagnosis: dict[str, float | None] | None = None

    @property
    def runs(self) -> list[Run]:
        """Those of all rows."""
        return [run for row in self.rows for run in row.runs]

    @property
    def first(self) -> Run:
        """One whose test set is all the others'."""
        return self.rows[0].runs[0]


def read_points(words: Sequence[str]) -> list[Point]:
    """The points that ``AT=FILE`` tell, in ascending order.

    Raises:
        UserError: one has another form, AT is no number, a point's files do not fit together, points have other rows or
            beams, or a file is of an evaluate that did not yet write what is needed here.
    """
    paths: dict[float, list[str]] = {}
    for word in words:
        at, path = _split(word, "evaluate")
        paths.setdefault(at, []).append(path)
    points = [Point(at, group_runs(files)) for at, files in sorted(paths.items())]
    for point in points:
        for what, own, first in (
            ("rows", {row.name for row in point.rows}, {row.name for row in points[0].rows}),
            ("beams", list(point.first["beams"]), list(points[0].first["beams"])),
        ):
            if own != first:
                raise UserError(f"point {point.at:g}: its {what} differ from those of point {points[0].at:g}")
        if any(not {"teacher_forced", "source_lengths"} <= run.keys() for run in point.runs):
            raise UserError(f"point {point.at:g}: scored by an earlier fairseq-kd evaluate; evaluate it again")
    return points


def _split(word: str, verb: str) -> tuple[float, str]:
    at, equals, path = word.partition("=")
    try:
        if not (equals and path and math.isfinite(float(at))):
            raise ValueError
    except ValueError:
        raise UserError(f"{word}: give AT=FILE, a number and what fairseq-kd {verb} wrote") from None
    return float(at), path


def add_diagnoses(points: Sequence[Point], words: Sequence[str], teacher: str | None) -> None:
    """Give each point the quantities in the file that ``AT=FILE`` names for it.

    Raises:
        UserError: one has another form, is for no point or a second for one, only some points have theirs, or a file is
            no diagnosis, or of another teacher than the row ``teacher`` of its point.
    """
    by_place = {point.at: point for point in points}
    for word in words:
        at, path = _split(word, "diagnose")
        if at not in by_place:
            raise UserError(f"--diagnosis {word}: there is no point {at:g}")
        point, found = by_place[at], read_result(path, "diagnose", check_diagnosis)
        if point.diagnosis is not None:
            raise UserError(f"--diagnosis {word}: a second one of point {at:g}")
        own = [
            model["sha256"] for row in point.rows if row.name == teacher for run in row.runs for model in run["models"]
        ]
        if own and found["signature"]["teacher"] not in own:
            raise UserError(f"{path}: of another teacher than the row {teacher!r} of point {at:g}; diagnose that one")
        point.diagnosis = {name: found["quantities"][name] for name in QUANTITIES}
    lacking = [f"{point.at:g}" for point in points if point.diagnosis is None]
    if words and lacking:
        raise UserError(f"--diagnosis: point {', '.join(lacking)} has none; give one for each point")


def check_diagnosis(found: Run) -> None:
    """Raise an error unless ``found`` is what `fairseq-kd diagnose` writes."""
    if not isinstance(found["signature"]["teacher"], str):
        raise TypeError
    for name in QUANTITIES:
        value = found["quantities"][name]
        if value is not None and not math.isfinite(value):
            raise ValueError


def read_methods(config: str | None, names: Sequence[str]) -> dict[str, dict[str, Any]]:
    """What an experiment's YAML says of its rows: the "data" that they are trained on and their "options", by name.

    Raises:
        UserError: there is no such file, or it is no YAML.
    """
    if config is None:
        return {}
    if not Path(config).is_file():
        raise UserError(f"--config {config}: no such file")
    try:
        content = yaml.safe_load(Path(config).read_bytes())
    except (yaml.YAMLError, OSError) as error:
        raise UserError(f"--config {config}: no YAML that can be read: {error}") from None
    rows = content.get("rows") if isinstance(content, dict) else None
    complete = [row for row in (rows or {}).values() if {"name", "data", "options"} <= set(row)]
    return {row["name"]: {"data": row["data"], "options": row["options"]} for row in complete if row["name"] in names}
