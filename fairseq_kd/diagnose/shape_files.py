"""Files of `fairseq-kd table` with costs: students of several shapes, their BLEU and their speed."""

from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import fairseq_kd
from fairseq_kd.report.result_files import read_result
from fairseq_kd.storage.files import file_hash
from fairseq_kd.storage.shapes import Misfit, keys, list_of, map_of, maybe, number, text, truth, whole

Table = dict[str, Any]
_BEAM = keys({"bleu": keys({"mean": number})})
_LINE = keys({"engine": text, "precision": text, "batched": truth, "beam": whole(1)}, {"times_teacher": number})
_ROW = keys(
    {"name": text, "parameters": number, "beams": map_of(_BEAM)},
    {
        "engines": list_of(list_of(text, 2)),
        "cost": list_of(_LINE),
        "cost_of": keys({}, {"teacher_beam": maybe(whole(1)), "teacher": maybe(list_of(text))}),
        "shortlist": text,
    },
)
_TABLE = keys(
    {
        "title": text,
        "teacher": maybe(text),
        "rows": list_of(_ROW),
        "signature": keys({"models": map_of(list_of(keys({"sha256": list_of(text)})))}),
    }
)


@dataclass(frozen=True)
class Measured:
    """One way of running one student.

    Attributes:
        row: the row that has its BLEU.
        engine: what decodes.
        precision: what that computes in.
        batched: whether in batches, or one sentence at a time.
        beam: beam size.
        times_teacher: how many times as fast as the teacher, with the same engine and precision.
        bleu: BLEU with this engine, precision and beam.
        loss: the teacher's BLEU with its beam, minus the student's.
        parameters: of the student.
        table: title of its table.
    """

    row: str
    engine: str
    precision: str
    batched: bool
    beam: int
    times_teacher: float
    bleu: float
    loss: float
    parameters: float
    table: str

    def as_plain(self) -> dict[str, Any]:
        """The fields, for JSON."""
        return asdict(self)


def published_shapes() -> list[Path]:
    """The table of shapes that lies in the clone of this package; none if it was installed without a clone."""
    return sorted(Path(fairseq_kd.__file__).parent.parent.glob("results/shape/table.json"))


def read_tables(paths: Iterable[str | Path]) -> list[Table]:
    """The content of each file of `fairseq-kd table`, and the file's "sha256".

    Raises:
        UserError: a file is missing or damaged, `fairseq-kd table` did not write it, or it has no speeds beside a
            teacher; the message names the key.
    """
    return [{**read_result(path, "table", _with_costs), "sha256": file_hash(path)} for path in paths]


def _with_costs(value: Any, place: str) -> None:
    _TABLE(value, place)
    if value["teacher"] not in [row["name"] for row in value["rows"]]:
        raise Misfit("teacher: it has no row; give fairseq-kd table --teacher")
    if not any("times_teacher" in line for row in value["rows"] for line in row.get("cost", [])):
        raise Misfit("rows: none has a speed beside the teacher; measure it with evaluate --cost --teacher")


def teacher_of(table: Table) -> dict[str, Any]:
    """The teacher's row."""
    return next(row for row in table["rows"] if row["name"] == table["teacher"])


def measured(table: Table) -> Iterator[Measured]:
    """Every student, engine, precision, way of decoding and beam whose BLEU and speed a table has.

    A row measures speeds in several precisions, but BLEU in one. The BLEU of another precision is that of a row of the
    same models and shortlist that was scored in it and measures no speeds itself. Speeds beside another model than the
    teacher of the table are left out.
    """
    teacher, hashes = teacher_of(table), _hashes(table, table["teacher"])
    for row in table["rows"]:
        made = row.get("cost_of", {})
        reference = teacher["beams"].get(str(made.get("teacher_beam")))
        beside = made.get("teacher")  # earlier versions did not record it
        if row is teacher or reference is None or (beside and beside not in hashes):
            continue
        for line in row.get("cost", []):
            scored = _scored(table, row, [line["engine"], line["precision"]])
            bleu = scored and scored["beams"].get(str(line["beam"]))
            if scored and bleu and "times_teacher" in line:
                yield Measured(
                    row=scored["name"],
                    **{key: line[key] for key in ("engine", "precision", "batched", "beam", "times_teacher")},
                    bleu=bleu["bleu"]["mean"],
                    loss=reference["bleu"]["mean"] - bleu["bleu"]["mean"],
                    parameters=row["parameters"],
                    table=table["title"],
                )


def _scored(table: Table, row: dict[str, Any], engine: list[str]) -> dict[str, Any] | None:
    """The row with the BLEU of a row's models with an engine and precision; None if there is none."""
    if row.get("engines") == [engine]:
        return row
    own = _hashes(table, row["name"])
    for other in table["rows"]:
        alike = other.get("engines") == [engine] and other.get("shortlist") == row.get("shortlist")
        if alike and "cost" not in other and _hashes(table, other["name"]) == own != []:
            return other
    return None


def _hashes(table: Table, name: str) -> list[list[str]]:
    """The SHA-256 of the checkpoints of each model of a row."""
    return [one["sha256"] for one in table["signature"]["models"].get(name, [])]
