"""The files that a report is made from, recognised by what they hold."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fairseq_kd.errors import UserError
from fairseq_kd.evaluate.result_shapes import MEASURED, evaluated
from fairseq_kd.report.page.shapes import OUTPUT, studied, tabled
from fairseq_kd.storage.shapes import Shape
from fairseq_kd.storage.structured import Unreadable, read_json, read_json_lines

KINDS: dict[str, tuple[set[str], Shape]] = {
    "evaluate": ({"references", "beams", "models"}, evaluated),
    "risks": ({"risks", "settings"}, MEASURED),
    "table": ({"rows", "signature", "sentences"}, tabled),
    "study": ({"over_axis", "axis"}, studied),
}
"""The verb that writes a kind of file: the keys by which one is recognised, and its shape."""
Line = dict[str, Any]


@dataclass
class Outputs:
    """What `fairseq-kd evaluate --save-outputs` wrote: the file, and its lines in the order of the test set."""

    path: Path
    lines: list[Line]

    def hypotheses(self, beam: str) -> list[str]:
        """The translations of one beam size, which each line must have."""
        return [line["beams"][beam]["hypothesis"] for line in self.lines]


@dataclass
class Given:
    """The files that were given, by kind.

    Attributes:
        paths: the files of each verb in :data:`KINDS`.
        outputs: what --save-outputs wrote.
        table: the content of table.json; None if there is none.
        studies: the content of each study.json.
    """

    paths: dict[str, list[Path]] = field(default_factory=lambda: {verb: [] for verb in KINDS})
    outputs: list[Outputs] = field(default_factory=list)
    table: dict[str, Any] | None = None
    studies: list[dict[str, Any]] = field(default_factory=list)


def read_given(files: Sequence[str | Path]) -> Given:
    """Read the files of a report.

    Args:
        files: what `fairseq-kd evaluate`, `evaluate --save-outputs`, `risks`, `table` and `study` wrote, in any order.

    Raises:
        UserError: a file is missing, damaged or of another kind, or there are two tables.
    """
    given = Given()
    for path in map(Path, files):
        try:
            kind, value = _read(path)
        except OSError as error:
            raise UserError(f"{path}: cannot be read ({error.strerror}); give a result file of fairseq-kd") from None
        except Unreadable as error:
            raise UserError(f"{path}: no result file of fairseq-kd: {error}") from None
        if kind == "outputs":
            given.outputs.append(Outputs(path, value))
            continue
        given.paths[kind].append(path)
        if kind == "table" and given.table is not None:
            raise UserError(
                f"{path}: a second table; a report shows one, so leave out {given.paths['table'][0]} or this"
            )
        if kind == "table":
            given.table = value
        if kind == "study":
            given.studies.append(value)
    return given


def _read(path: Path) -> tuple[str, Any]:
    """The kind of a file, a verb of :data:`KINDS` or "outputs", and its content."""
    try:
        value = read_json(path)
    except Unreadable:
        if path.suffix == ".jsonl" or _has_lines(path):
            return "outputs", _checked(read_json_lines(path, OUTPUT))
        raise
    if {"row", "source", "reference"} <= value.keys():  # of a test set of one sentence
        return "outputs", _checked(read_json_lines(path, OUTPUT))
    for verb, (needed, shape) in KINDS.items():
        if needed <= value.keys():
            return verb, read_json(path, shape)
    raise Unreadable(f"it is none of {', '.join(KINDS)} or evaluate --save-outputs")


def _has_lines(path: Path) -> bool:
    try:
        read_json_lines(path)
    except Unreadable:
        return False
    return True


def _checked(lines: list[Line]) -> list[Line]:
    beams = list(lines[0]["beams"])
    for number, line in enumerate(lines):
        if line["row"] != number or list(line["beams"]) != beams:
            raise Unreadable(f"line {number + 1}: its row is not {number}, or it has other beams than the first line")
    return lines
