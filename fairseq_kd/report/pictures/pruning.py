"""A picture of BLEU against sparsity."""

from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from fairseq_kd.errors import UserError
from fairseq_kd.report.pictures.table import COLOURS, MARKERS, as_text, reference_lines, save_picture


def pruned_rows(table: dict[str, Any]) -> list[dict[str, Any]]:
    """The rows that --pruning names, from the densest to the sparsest.

    Args:
        table: table.json's content.

    Raises:
        UserError: the rows' models differ in size, or an old result has no count of non-zero parameters.
    """
    rows = [row for row in table["rows"] if row["name"] in table["pruning"]]
    for row in rows:
        if "nonzero_parameters" not in row:
            raise UserError(f"--pruning: {row['name']!r} has no count of non-zero parameters; evaluate it again")
        if row["parameters"] != rows[0]["parameters"]:
            raise UserError(
                f"--pruning: {row['name']!r} and {rows[0]['name']!r} differ in size; name rows of one model"
            )
    return sorted(rows, key=lambda row: -row["nonzero_parameters"])


def without_pruned(table: dict[str, Any]) -> dict[str, Any]:
    """table.json's content for the other pictures, which show only the densest of the rows that --pruning names.

    The baseline and the teacher stay in any case: the pictures have lines at their scores.
    """
    names = {row["name"] for row in pruned_rows(table)[1:]} - {table["baseline"], table["teacher"]}
    return {**table, "rows": [row for row in table["rows"] if row["name"] not in names]}


def sparsity(row: dict[str, Any]) -> float:
    """The percentage of a row's parameters that are zero."""
    return 100 * (1 - row["nonzero_parameters"] / row["parameters"])


def write_pruning(table: dict[str, Any], path: str | Path) -> None:
    """Draw BLEU with 95 % intervals over sparsity: a line for each beam.

    Args:
        table: table.json's content.
        path: the PNG file.

    Raises:
        UserError: as :func:`pruned_rows`.
    """
    rows = pruned_rows(table)
    figure = Figure(figsize=(7, 4.5))
    axes = figure.add_subplot()
    places, beams = [sparsity(row) for row in rows], list(rows[0]["beams"])
    for number, beam in enumerate(beams):
        scores = [row["beams"][beam]["bleu"] for row in rows]
        axes.errorbar(
            places, [score["mean"] for score in scores], yerr=[score["interval"] for score in scores],
            color=COLOURS[number % len(COLOURS)], marker=MARKERS[number % len(MARKERS)], markersize=5,
            linewidth=1, elinewidth=0.7, capsize=2, label=f"beam {beam}" + (" (greedy)" if beam == "1" else ""),
        )  # fmt: skip
    reference_lines(axes.axhline, table, beams[-1])
    size = rows[0]["parameters"] / 1e6

    def parameters(percent: Any) -> Any:
        return size * (1 - percent / 100)

    def percentage(parameters: Any) -> Any:
        return 100 * (1 - parameters / size)

    top = axes.secondary_xaxis("top", functions=(parameters, percentage))
    top.set_xlabel("parameters that are not zero (millions)")
    axes.set_xlabel("parameters that are zero (%)")
    axes.set_ylabel("BLEU with 95 % bootstrap intervals")
    axes.set_title(as_text(f"{table['title']}\n{rows[0]['name']}"), fontsize=10)
    axes.legend(fontsize=8, frameon=False)
    save_picture(figure, path)
