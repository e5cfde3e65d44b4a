"""The benchmark's table as a picture."""

from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from fairseq_kd.report.pictures.table import COLOURS, save_picture


def write_plot(table: dict[str, Any], path: Path) -> None:
    """Draw speeds as horizontal bars, a colour for each section.

    Args:
        table: table.json's content.
        path: the PNG file.
    """
    entries = table["rows"]
    sections = list(dict.fromkeys(row["section"] for row in entries))
    figure = Figure(figsize=(8, 1.2 + 0.3 * len(entries)))
    axes = figure.add_subplot()
    colours = [COLOURS[sections.index(row["section"]) % len(COLOURS)] for row in entries]
    speeds = [row["speed"] for row in entries]
    axes.barh(range(len(entries)), speeds, color=colours)
    for place, speed in enumerate(speeds):
        axes.annotate(f"{speed:.2f}", (speed, place), (3, 0), textcoords="offset points", va="center", fontsize=8)
    axes.set_yticks(range(len(entries)), [f"{row['section']}: {row['name']}" for row in entries], fontsize=8)
    axes.invert_yaxis()
    axes.axvline(1.0, color="#777777", linestyle=(0, (2, 2)), linewidth=1)
    axes.set_xlabel("speed, the first of its kind = 1")
    axes.spines[["top", "right"]].set_visible(False)
    save_picture(figure, path)
