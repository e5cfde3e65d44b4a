"""A picture of BLEU against speed."""

from pathlib import Path
from typing import Any

from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter, StrMethodFormatter

from fairseq_kd.report.pictures.table import COLOURS, MARKERS, as_text, save_picture


def speeds(table: dict[str, Any]) -> tuple[list[dict[str, float]], str]:
    """Each row's speed by beam, and the label of that.

    Speeds are relative to the teacher's if `evaluate --cost --teacher` measured every row in batches with the engine
    and precision that made its scores. Otherwise they are sentences a second.
    """
    found: list[dict[str, float]] = []
    for row in table["rows"]:
        ratios = {
            str(line["beam"]): line["times_teacher"]
            for line in row.get("cost", ())
            if line["batched"] and [line["engine"], line["precision"]] in row["engines"] and "times_teacher" in line
        }
        found.append(ratios if len(row["engines"]) == 1 else {})
    if all(ratios.keys() == row["beams"].keys() for ratios, row in zip(found, table["rows"], strict=True)):
        beam = table["rows"][0]["cost_of"]["teacher_beam"]
        return found, f"speed: times that of the teacher with beam {beam}"
    plain = [{beam: row["beams"][beam]["sentences_per_second"] for beam in row["beams"]} for row in table["rows"]]
    return plain, "speed: sentences a second"


def write_speed(table: dict[str, Any], path: str | Path) -> None:
    """Draw BLEU with 95 % intervals over speed: each row is a line from beam to beam.

    Args:
        table: table.json's content.
        path: the PNG file.
    """
    figure = Figure(figsize=(8, 5))
    axes = figure.add_subplot()
    found, label = speeds(table)
    for number, (row, speed) in enumerate(zip(table["rows"], found, strict=True)):
        colour, marker = COLOURS[number % len(COLOURS)], MARKERS[number // len(COLOURS) % len(MARKERS)]
        scores = [beam["bleu"] for beam in row["beams"].values()]
        axes.errorbar(
            [speed[beam] for beam in row["beams"]], [score["mean"] for score in scores],
            yerr=[score["interval"] for score in scores], color=colour, marker=marker, markersize=5,
            linewidth=1, elinewidth=0.7, capsize=2, label=as_text(row["name"]),
        )  # fmt: skip
        for beam, score in zip(row["beams"], scores, strict=True):
            place = (speed[beam], score["mean"])
            axes.annotate(beam, place, (5, 4), textcoords="offset points", fontsize=8, color=colour)
    axes.set_xscale("log")
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.xaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.set_xlabel(label)
    axes.set_ylabel("BLEU with 95 % bootstrap intervals; numbers are beams")
    axes.set_title(as_text(table["title"]))
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.12), ncols=3, fontsize=8, frameon=False)
    save_picture(figure, path)
