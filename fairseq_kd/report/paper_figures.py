"""A paper's figures for rows of an experiment, beside what was measured."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fairseq_kd.report.experiment.paper import FORCED, OF_SAMPLES
from fairseq_kd.report.experiment.reader import read_experiment
from fairseq_kd.report.table_line import table_head, table_line

SHOWN = {
    "bleu": "BLEU",
    "chrf": "chrF",
    "ter": "TER",
    "rouge1": "ROUGE-1",
    "rouge2": "ROUGE-2",
    "rougeL": "ROUGE-L",
    "bleu1": "BLEU-1",
    "bleu2": "BLEU-2",
    "bleu3": "BLEU-3",
    "likelihood": "likelihood risk",
    "coverage": "coverage risk",
    "likelihood_per_token": "likelihood risk per token",
    "coverage_per_token": "coverage risk per token",
    "teacher_dist": "TeacherDist",
}
Figures = dict[str, dict[str, float]]
"""A paper's figures of a row: by beam size, or under "teacher_forced" or "risks", by measure."""


def read_paper(config: str | Path, teacher: str | None) -> dict[str, Figures]:
    """The figures that an experiment's YAML holds, by the names of their rows.

    Args:
        config: the YAML file. ``rows`` may have the key ``paper`` beside ``name``, and the file ``paper_teacher``.
        teacher: the row that ``paper_teacher`` belongs to; None leaves it out.

    Raises:
        UserError: the file is no YAML, or figures have another form; the message names file, line and key.
    """
    content = read_experiment(config)
    rows = content.get("rows") or {}
    found = {str(row.get("name", key)): _by_words(row["paper"]) for key, row in rows.items() if "paper" in row}
    if teacher is not None and "paper_teacher" in content:
        found[teacher] = _by_words(content["paper_teacher"])
    return found


def _by_words(given: Mapping[Any, Mapping[str, float]]) -> Figures:
    """Figures with their beam sizes as words, like those of table.json."""
    return {
        str(beam): {measure: float(figure) for measure, figure in figures.items()} for beam, figures in given.items()
    }


def beside_paper(summaries: list[dict[str, Any]], paper: Mapping[str, Figures]) -> list[dict[str, Any]]:
    """The paper's figures of the table's rows, each beside what was measured.

    Args:
        summaries: "rows" of table.json.
        paper: as :func:`read_paper` gives it; figures of rows that the table lacks are left out.

    Returns:
        For each figure "row", "beam" (a beam size, "teacher_forced" or "risks"), "measure", "paper", and "measured" and
        "difference" (None where the row was not scored so).
    """
    lines = []
    for row in summaries:
        for beam, figures in paper.get(row["name"], {}).items():
            for measure, value in figures.items():
                scores = row.get(beam, {}) if beam in (FORCED, OF_SAMPLES) else row["beams"].get(beam, {})
                measured = scores[measure]["mean"] if measure in scores else None
                difference = None if measured is None else measured - value
                line = {"row": row["name"], "beam": beam, "measure": measure}
                lines.append({**line, "paper": value, "measured": measured, "difference": difference})
    return lines


def measure_shown(line: Mapping[str, Any]) -> str:
    """The measure of a line of :func:`beside_paper` in words, with its beam size if it has one."""
    measure, beam = SHOWN.get(line["measure"], line["measure"]), line["beam"]
    if beam == OF_SAMPLES:
        return measure
    return f"teacher-forced {measure}" if beam == FORCED else f"{measure}, beam {beam}"


def paper_section(table: dict[str, Any]) -> list[str]:
    """The paper's figures beside those measured, as Markdown; empty if there are none."""
    if not table.get("paper"):
        return []
    header = ["row", "measure", "paper", "measured", "difference"]
    lines = table_head(header, words=2)
    for line in table["paper"]:
        known = line["measured"] is not None
        cells = [f"{line['measured']:.2f}", f"{line['difference']:+.2f}"] if known else ["–", "–"]
        lines.append(table_line([line["row"], measure_shown(line), f"{line['paper']:g}", *cells]))
    note = "- The paper's figures are of its own data, models and scorer; the configuration says where these differ."
    return ["", "## Beside the paper's figures", "", *lines, "", note]
