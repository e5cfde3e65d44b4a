"""The points of a study, read from files of `fairseq-kd evaluate` and `fairseq-kd diagnose`."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fairseq_kd.diagnose.quantities import QUANTITIES
from fairseq_kd.errors import UserError
from fairseq_kd.report.experiment.reader import read_experiment
from fairseq_kd.report.result_files import Result, Row, group_results, read_result, signatures
from fairseq_kd.storage.shapes import keys, maybe, number, text

DIAGNOSED = keys(
    {
        "signature": keys({"teacher": text}),
        "quantities": keys(dict.fromkeys(QUANTITIES, maybe(number))),
    }
)
"""What `fairseq-kd diagnose` writes."""


@dataclass
class Point:
    """A place of the axis and what was measured there.

    Attributes:
        at: the place.
        rows: the results of `fairseq-kd evaluate`, by name.
        diagnosis: the quantities of the point's task, or None.
    """

    at: float
    rows: list[Row]
    diagnosis: dict[str, float | None] | None = None

    @property
    def results(self) -> list[Result]:
        """The results of all rows."""
        return [result for row in self.rows for result in row.results]

    @property
    def first(self) -> Result:
        """One of the results; they all have the same test set."""
        return self.rows[0].results[0]


def read_points(files: Mapping[float, Sequence[str | Path]]) -> list[Point]:
    """The points of a study, in ascending order of their places.

    Args:
        files: JSON files of `fairseq-kd evaluate`, by place.

    Raises:
        UserError: a file cannot be used, a point's files do not fit together, points differ in their rows, beams or
            kind of BLEU, or a file of an earlier version lacks what a study needs.
    """
    points = [Point(at, group_results(paths)) for at, paths in sorted(files.items())]
    for point in points:
        for what, own, first in (
            ("rows", {row.name for row in point.rows}, {row.name for row in points[0].rows}),
            ("beams", list(point.first["beams"]), list(points[0].first["beams"])),
        ):
            if own != first:
                raise UserError(f"point {point.at:g}: its {what} differ from those of point {points[0].at:g}")
        made, expected = (signatures(one.first)["bleu"] for one in (point, points[0]))
        if made != expected:
            raise UserError(
                f"point {point.at:g}: its BLEU is {made}, but that of point {points[0].at:g} is {expected}; evaluate "
                "all points in the same way"
            )
        if not all(_complete(result) for result in point.results):
            raise UserError(f"point {point.at:g}: scored by an earlier fairseq-kd evaluate; evaluate it again")
    return points


def _complete(result: Result) -> bool:
    """Whether a result has what a study needs; a model without gold targets has no teacher-forced figures."""
    if not {"teacher_forced", "source_lengths"} <= result.keys():
        return False
    return result["teacher_forced"] is None or {"correct", "tokens"} <= result["teacher_forced"].keys()


def add_diagnoses(points: Sequence[Point], files: Mapping[float, str | Path], teacher: str | None) -> None:
    """Give each point the quantities of its task.

    Args:
        points: their ``diagnosis`` is set; without files it stays None.
        files: JSON files of `fairseq-kd diagnose`, by place.
        teacher: name of the row whose models the diagnoses must be of.

    Raises:
        UserError: a file cannot be used, has no point or another teacher than its point, or a point has no file.
    """
    by_place = {point.at: point for point in points}
    for at, path in files.items():
        if at not in by_place:
            raise UserError(f"--diagnosis {at:g}={path}: there is no point {at:g}")
        point, found = by_place[at], read_result(path, "diagnose", DIAGNOSED)
        hashes = [
            model["sha256"]
            for row in point.rows
            if row.name == teacher
            for result in row.results
            for model in result["models"]
        ]
        if hashes and found["signature"]["teacher"] not in hashes:
            raise UserError(f"{path}: of another teacher than the row {teacher!r} of point {at:g}; diagnose that one")
        point.diagnosis = {name: found["quantities"][name] for name in QUANTITIES}
    lacking = [f"{point.at:g}" for point in points if point.diagnosis is None]
    if files and lacking:
        raise UserError(f"--diagnosis: point {', '.join(lacking)} has none; give one for each point")


def read_methods(config: str | Path | None, names: Sequence[str]) -> dict[str, dict[str, Any]]:
    """The training "data" and the "options" of an experiment's rows, by name.

    "texts" has the names in "data" that are parallel text of the experiment's own, where there are some.

    Args:
        config: the experiment's YAML; None for no rows.
        names: of the rows to return; a row that the file does not describe in full is left out.

    Raises:
        UserError: there is no such file, it is not YAML, or a key has a value of another kind.
    """
    if config is None:
        return {}
    experiment = read_experiment(config)
    rows = [row for row in (experiment.get("rows") or {}).values() if {"name", "data", "options"} <= set(row)]
    found: dict[str, dict[str, Any]] = {}
    for row in (one for one in rows if one["name"] in names):
        texts = [name for name in row["data"].split("+") if name in (experiment.get("texts") or {})]
        own = {"data": row["data"], "options": row["options"]}
        found[row["name"]] = {**own, "texts": texts} if texts else own
    return found
