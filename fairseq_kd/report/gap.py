"""How much of the gap between the undistilled student and its teacher each row closes, beside what it cost."""

import statistics
from typing import Any

from fairseq_kd.report.table_line import table_head, table_line


def gap_section(table: dict[str, Any]) -> list[str]:
    """A line for each row but teacher and baseline; empty unless both are named and the teacher is better.

    A beam with which the teacher is no better has no gap.
    """
    rows = {row["name"]: row for row in table["rows"]}
    teacher, baseline = rows.get(table["teacher"]), rows.get(table["baseline"])
    beams = list(table["rows"][0]["beams"])
    if not teacher or not baseline or all(_bleu(teacher, beam) <= _bleu(baseline, beam) for beam in beams):
        return []
    between = [row for row in table["rows"] if row is not teacher and row is not baseline]
    if not between:
        return []
    timed = any("training" in row for row in between)
    header = ["row", *(f"gap closed, beam {beam}" for beam in beams), *(["training, seconds"] if timed else [])]
    lines = table_head(header)
    for row in between:
        closed = [_share(row, beam, baseline, teacher) for beam in beams]
        cells = [row["name"], *closed, *([_seconds(row)] if timed else [])]
        lines.append(table_line(cells))
    low, high = baseline["name"], teacher["name"]
    note = f"(BLEU of the row − BLEU of {low}) / (BLEU of {high} − BLEU of {low}), with the same beam."
    return ["", f"## How much of the gap to {high} is closed", "", *lines, "", f"- {note}"]


def _bleu(row: dict[str, Any], beam: str) -> float:
    return row["beams"][beam]["bleu"]["mean"]


def _share(row: dict[str, Any], beam: str, baseline: dict[str, Any], teacher: dict[str, Any]) -> str:
    lowest = _bleu(baseline, beam)
    gap = _bleu(teacher, beam) - lowest
    return f"{(_bleu(row, beam) - lowest) / gap:.0%}" if gap > 0 else "–"


def _seconds(row: dict[str, Any]) -> str:
    if "training" not in row:
        return "–"
    return f"{statistics.fmean(training['seconds'] for training in row['training']):,.0f}"
