"""A paper's figures for rows of an experiment, beside what was measured."""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fairseq_kd.errors import UserError
from fairseq_kd.evaluate.result_shapes import METRICS
from fairseq_kd.report.experiment import read_experiment
from fairseq_kd.report.table_line import table_line

FORCED = "teacher_forced"
SHOWN = {"bleu": "BLEU", "chrf": "chrF", "ter": "TER"}
Figures = dict[str, dict[str, float]]
"""A paper's figures of a row: by beam size, or under "teacher_forced", by metric."""


def read_paper(config: str | Path, teacher: str | None) -> dict[str, Figures]:
    """The figures that an experiment's YAML holds, by the names of their rows.

    Args:
        config: the YAML file. ``rows`` may have the key ``paper`` beside ``name``, and the file ``paper_teacher``.
        teacher: the row that ``paper_teacher`` belongs to; None leaves it out.

    Raises:
        UserError: the file is no YAML, or figures have another form; the message names file, row and key.
    """
    content = read_experiment(config)
    rows = content.get("rows")
    found = {}
    for key, row in rows.items() if isinstance(rows, Mapping) else ():
        if isinstance(row, Mapping) and "paper" in row:
            found[str(row.get("name", key))] = _checked(row["paper"], f"--config {config}: row {key!r}, paper")
    if "paper_teacher" in content:
        figures = _checked(content["paper_teacher"], f"--config {config}: paper_teacher")
        found |= {teacher: figures} if teacher is not None else {}
    return found


def _checked(given: Any, where: str) -> Figures:
    """Figures with their beam sizes as words, like those of table.json.

    Raises:
        UserError: they have another form; the message begins with ``where``.
    """
    if not isinstance(given, Mapping):
        raise UserError(f"{where}: give a mapping from beam sizes to figures, such as 5: {{bleu: 34.5}}")
    found: Figures = {}
    for beam, figures in given.items():
        if beam != FORCED and (not isinstance(beam, int) or isinstance(beam, bool) or beam < 1):
            raise UserError(f"{where}, {beam}: is no beam size; give a whole number from 1 on, or {FORCED}")
        metrics = ("bleu",) if beam == FORCED else METRICS
        if not isinstance(figures, Mapping) or not figures:
            raise UserError(f"{where}, {beam}: give a mapping from {', '.join(metrics)} to a number")
        for metric, value in figures.items():
            if metric not in metrics:
                raise UserError(f"{where}, {beam}, {metric}: is no measure; give {', '.join(metrics)}")
            if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
                raise UserError(f"{where}, {beam}, {metric}: {value!r} is no number")
        found[str(beam)] = {str(metric): float(value) for metric, value in figures.items()}
    return found


def beside_paper(summaries: list[dict[str, Any]], paper: Mapping[str, Figures]) -> list[dict[str, Any]]:
    """The paper's figures of the table's rows, each beside what was measured.

    Args:
        summaries: "rows" of table.json.
        paper: as :func:`read_paper` gives it; figures of rows that the table lacks are left out.

    Returns:
        For each figure "row", "beam" (a beam size, or "teacher_forced"), "measure", "paper", and "measured" and
        "difference" (None where the row was not scored so).
    """
    lines = []
    for row in summaries:
        for beam, figures in paper.get(row["name"], {}).items():
            for measure, value in figures.items():
                scores = row.get(FORCED, {}) if beam == FORCED else row["beams"].get(beam, {})
                measured = scores[measure]["mean"] if measure in scores else None
                difference = None if measured is None else measured - value
                line = {"row": row["name"], "beam": beam, "measure": measure}
                lines.append({**line, "paper": value, "measured": measured, "difference": difference})
    return lines


def paper_section(table: dict[str, Any]) -> list[str]:
    """The paper's figures beside those measured, as Markdown; empty if there are none."""
    if not table.get("paper"):
        return []
    header = ["row", "measure", "paper", "measured", "difference"]
    lines = [table_line(header), table_line(["---", "---", *["---:"] * 3])]
    for line in table["paper"]:
        measure = SHOWN[line["measure"]]
        measure = f"teacher-forced {measure}" if line["beam"] == FORCED else f"{measure}, beam {line['beam']}"
        known = line["measured"] is not None
        cells = [f"{line['measured']:.2f}", f"{line['difference']:+.2f}"] if known else ["–", "–"]
        lines.append(table_line([line["row"], measure, f"{line['paper']:g}", *cells]))
    note = "- The paper's figures are of its own data, models and scorer; the configuration says where these differ."
    return ["", "## Beside the paper's figures", "", *lines, "", note]
