"""What students gain and lose against their teacher with beam search, in `fairseq-kd table`: speed, size, BLEU."""

from typing import Any

from fairseq_kd.report.cost_table import times_fewer
from fairseq_kd.report.named_teacher import is_teacher
from fairseq_kd.report.table_line import table_head, table_line


def headline_section(table: dict[str, Any]) -> list[str]:
    """A table with a line for each beam of each row whose cost was measured beside the teacher's row."""
    names, teacher = [row["name"] for row in table["rows"]], table["teacher"]
    rows = [
        row
        for row in table["rows"]
        if row["name"] != teacher and "cost" in row and is_teacher(table, row["cost_of"]["teacher"] or [])
    ]
    if not rows:
        return []
    beam = str(rows[0]["cost_of"]["teacher_beam"])
    score = table["rows"][names.index(teacher)]["beams"][beam]["bleu"]["mean"]
    found = [(row, own, _speeds(row, int(own))) for row in rows for own in row["beams"]]
    settings = [one for one in found[0][2] if all(one in speeds for _, _, speeds in found)]
    header = ["row", "beam", "BLEU", "Δ BLEU", "non-zero parameters", *map(_named, settings)]
    lines = table_head(header)
    for row, own, speeds in found:
        bleu = row["beams"][own]["bleu"]["mean"]
        cells = [row["name"], own, f"{bleu:.2f}", f"{bleu - score:+.2f}", _fewer(row, table)]
        lines.append(table_line([*cells, *(f"{speeds[one]:.1f} ×" for one in settings)]))
    note = (
        f"Against the teacher with beam {beam} (BLEU {score:.2f}): the difference in BLEU, how many times fewer "
        "parameters are not zero, how many times as fast with the same engine and decoding within the same rounds."
    )
    return ["", f"## Against the teacher with beam {beam}", "", *lines, "", f"- {note}"]


def _speeds(row: dict[str, Any], beam: int) -> dict[tuple[str, str, bool], float]:
    """How many times as fast as the teacher, by engine, precision and whether in batches."""
    return {
        (line["engine"], line["precision"], line["batched"]): line["times_teacher"]
        for line in row["cost"]
        if line["beam"] == beam and "times_teacher" in line
    }


def _named(setting: tuple[str, str, bool]) -> str:
    engine, precision, batched = setting
    return f"speed, {engine} {precision}, {'in batches' if batched else 'one by one'}"


def _fewer(row: dict[str, Any], table: dict[str, Any]) -> str:
    fewer = times_fewer(row, table)
    return f"{fewer:.1f} × fewer" if fewer else "–"
