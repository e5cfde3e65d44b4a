"""The scores of `fairseq-kd evaluate --metrics` as a section of the table's Markdown."""

from typing import Any

from fairseq_kd.evaluate.result_shapes import MORE_METRICS
from fairseq_kd.report.paper_figures import SHOWN
from fairseq_kd.report.table_line import spread_cell, table_head, table_line


def more_metrics_section(table: dict[str, Any]) -> list[str]:
    """ROUGE and short BLEU of each row, a column for each metric and beam; empty where nothing measured them."""
    signatures = table["signature"]["scores"]
    measured = [metric for metric in MORE_METRICS if metric in signatures]
    if not measured:
        return []
    beams = list(table["rows"][0]["beams"])
    header = ["row", *(f"{SHOWN[metric]}, beam {beam}" for metric in measured for beam in beams)]
    lines = table_head(header)
    for row in table["rows"]:
        found = [row["beams"][beam][metric] for metric in measured for beam in beams]
        lines.append(table_line([row["name"], *(spread_cell(one, 2) for one in found)]))
    made = "; ".join(f"{SHOWN[metric]}: `{signatures[metric]}`" for metric in measured)
    return ["", "## Other metrics", "", *lines, "", f"- {made}"]
