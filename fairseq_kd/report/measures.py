"""What the models of a table cost: their speed, or their size. Pictures show quality over it."""

from dataclasses import dataclass
from typing import Any

from fairseq_kd.report.machines import machines_notes
from fairseq_kd.report.named_teacher import other_teacher

Values = dict[str, dict[str, float]]
"""A measure of each row, by the row's name and beam."""


@dataclass(frozen=True)
class Measure:
    """What the horizontal axis shows.

    Attributes:
        label: of the axis.
        values: of each row, by beam.
        smaller: whether less is better.
        note: further words below the picture.
    """

    label: str
    values: Values
    smaller: bool = False
    note: str = ""


def measures(table: dict[str, Any]) -> list[Measure]:
    """What speed and size the table's rows have. Speed beside the teacher comes first where all rows have it.

    Args:
        table: table.json's content.
    """
    rows = table["rows"]
    beams = list(rows[0]["beams"])
    rates = {row["name"]: {beam: row["beams"][beam]["sentences_per_second"] for beam in beams} for row in rows}
    plain = Measure("sentences a second", _positive(rates), note="".join(f" {one}" for one in machines_notes(table)))
    sizes = {
        row["name"]: dict.fromkeys(beams, row["nonzero_parameters"] / 1e6)
        for row in rows
        if "nonzero_parameters" in row
    }
    found = [_beside_teacher(table, batched) for batched in (True, False)]
    ratios = [one for one in found if one.values]
    complete = bool(ratios) and len(ratios[0].values) == len(rows)
    speeds = [*ratios, plain] if complete else [plain, *ratios]
    size = Measure("non-zero parameters (millions), fewer is better", _positive(sizes), smaller=True)
    return [one for one in (*speeds, size) if one.values]


def _positive(values: Values) -> Values:
    """The values that a logarithmic axis can show."""
    kept = {name: {beam: value for beam, value in own.items() if value > 0} for name, own in values.items()}
    return {name: own for name, own in kept.items() if own}


def _beside_teacher(table: dict[str, Any], batched: bool) -> Measure:
    """How many times as fast as the teacher the rows are, with the engine and precision that made their scores."""
    found: Values = {}
    beside: dict[str, Any] = {}
    for row in table["rows"]:
        own = {
            str(line["beam"]): line["times_teacher"]
            for line in row.get("cost", ())
            if line["batched"] == batched
            and [[line["engine"], line["precision"]]] == row.get("engines")
            and "times_teacher" in line
            and str(line["beam"]) in row["beams"]
        }
        if own:
            found[row["name"]] = own
            beside = row.get("cost_of", {})
    how = "in batches" if batched else "one sentence at a time"
    label = f"times as fast as the teacher with beam {beside.get('teacher_beam')}, {how}"
    return Measure(label, _positive(found), note=other_teacher(table, beside.get("teacher")))
